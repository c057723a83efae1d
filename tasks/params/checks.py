"""What a parameter must be beyond its type, checked when `params.yaml` is read and not in the night it is needed."""

import datetime as dt
import re
from collections.abc import Hashable, Mapping
from functools import cache
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import parse_qsl, urlsplit
from zoneinfo import available_timezones

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, model_validator

DATE_COLUMNS = frozenset({"updated_at", "expires_at"})
_BOUNDS = ("min_value", "max_value")
_CRON_FIELDS = 5
_DATABASES = ("postgresql", "mysql", "mariadb", "sqlite")


OWN_EXPECTATIONS = frozenset(
    f"expect_column_values_to_{rest}"
    for rest in (
        "have_no_encoding_damage",
        "have_no_hidden_text",
        "have_little_boilerplate",
        "have_no_secrets",
        "have_no_personal_data",
        "be_in_language",
        "have_no_near_duplicate",
    )
)
"""Those of `tasks.corpus.gate.expectations`."""


def check_prompt(name: str) -> str:
    """Return the name of a prompt of ours, or the path of one's own.

    Raises:
        ValueError: there is none of that name; a path ends in `.md`.
    """
    ours = sorted(entry.name.removesuffix(".md") for entry in files("prompts").iterdir() if entry.name.endswith(".md"))
    if name in ours or name.endswith(".md"):
        return name
    raise ValueError(f"must be one of {', '.join(ours)}, or the path of a .md file")


Prompt = Annotated[str, AfterValidator(check_prompt)]


def check_expectation(name: str) -> str:
    """Return the name of an expectation of Great Expectations, or of ours.

    Raises:
        ValueError: there is none of that name.
    """
    if name not in _expectations() | OWN_EXPECTATIONS:
        raise ValueError("must be an expectation of Great Expectations or of Almanac; check its spelling")
    return name


@cache
def _expectations() -> frozenset[str]:
    """Their names by the names of their modules: to import them takes four CPU seconds."""
    spec = find_spec("great_expectations")
    folders = (spec.submodule_search_locations or []) if spec else []
    return frozenset(
        path.stem for folder in folders for path in Path(folder, "expectations", "core").glob("expect_*.py")
    )


def check_arguments(given: Mapping[str, Any]) -> None:
    """Check what can be told of a rule's arguments without its documents.

    Raises:
        ValueError: nothing lies between the bounds, or a pattern is none.
    """
    low, high = (given.get(name) for name in _BOUNDS)
    if isinstance(low, int | float) and isinstance(high, int | float) and low > high:
        raise ValueError(f"min_value must not be above max_value, found {low} and {high}")
    patterns = given.get("regex_list") or [given.get("regex", "")]
    for pattern in patterns if isinstance(patterns, list) else []:
        try:
            re.compile(str(pattern))
        except re.error as error:
            raise ValueError(f"regex must be a regular expression, found {pattern!r}: {error}") from error


def check_cron(cron: str) -> str:
    """Return a cron line of five fields that is due some day.

    Raises:
        ValueError: it is none; the 31st of February is never due.
    """
    from croniter import croniter
    from croniter.croniter import CroniterError

    num_fields = len(cron.split())
    if num_fields != _CRON_FIELDS:
        raise ValueError(
            f"must have five fields (minute hour day month weekday), found {num_fields}; as in `0 3 * * 1`"
        )
    try:
        croniter(cron, dt.datetime(2024, 1, 1, tzinfo=dt.UTC)).get_next()
    except (CroniterError, ValueError, KeyError) as error:
        raise ValueError(f"must be a time that comes, found {error}; write it as in `0 3 * * 1`") from error
    return cron


def check_timezone(name: str) -> str:
    """Return a name of the IANA database.

    Raises:
        ValueError: it is none (`PST`, `CET+1`).
    """
    if name not in available_timezones():
        raise ValueError("must be a zone of the IANA database; write it as `UTC` or `Europe/Berlin`")
    return name


def check_endpoint(url: str | None) -> str | None:
    """Return the base URL of a server.

    Raises:
        ValueError: it is no http or https address.
    """
    if url is not None and (urlsplit(url).scheme not in {"http", "https"} or not urlsplit(url).hostname):
        raise ValueError(
            "must be an address that begins with http:// or https://; write it as `http://localhost:8000/v1`"
        )
    return url


def check_globs(globs: tuple[str, ...]) -> tuple[str, ...]:
    """Return globs that can match.

    Raises:
        ValueError: one is empty, absolute or no glob.
    """
    import re

    from fsspec.utils import glob_translate

    for glob in globs:
        try:
            re.compile(glob_translate(glob))
        except (ValueError, re.error) as error:
            raise ValueError(f"must be globs over paths, found {glob!r}: {error}") from error
        if not glob or glob.startswith(("/", "./", "../")):
            raise ValueError(f"must be globs over paths within the source, as `guides/**/*.md`, found {glob!r}")
    return globs


def check_web_url(url: str) -> str:
    """Return the address of a page.

    Raises:
        ValueError: it is no http or https address, or holds a password.
    """
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.username is not None:
        raise ValueError(f"must be an address as `https://docs.example/sitemap.xml`, found {url!r}")
    return url


def check_database_url(url: str) -> str:
    """Return the address of a database without a password.

    Raises:
        ValueError: it is of no kind that is read, or holds a password.
    """
    parts = urlsplit(url)
    if parts.scheme.partition("+")[0] not in _DATABASES:
        raise ValueError(f"must begin with one of {', '.join(f'{name}://' for name in _DATABASES)}")
    if parts.password is not None or any("pass" in name.lower() for name, _ in parse_qsl(parts.query)):
        raise ValueError("must hold no password; name the environment variable that holds it in `password_env`")
    return url


def check_select(query: str) -> str:
    """Return a query that only reads, without its last semicolon.

    Raises:
        ValueError: it is no `select`.
    """
    query = query.strip().rstrip(";").rstrip()
    if not query.lower().startswith(("select", "with")):
        raise ValueError("must be one `select` (or `with … select`), which may be asked for again and again")
    return query


def one_or_more(names: object) -> object:
    """Return a single name as a list of one."""
    return (names,) if isinstance(names, str) else names


def date_bounds(column: object, arguments: dict[str, Any]) -> dict[str, Any]:
    """Return the bounds among a rule's arguments as times with a zone, where its column is a time; without one: UTC.

    Raises:
        ValueError: a bound is no time.
    """
    if column not in DATE_COLUMNS:
        return {}
    return {name: _moment(name, arguments[name]) for name in _BOUNDS if arguments.get(name) is not None}


def _moment(name: str, value: object) -> str:
    try:
        moment = value if isinstance(value, dt.date) else dt.datetime.fromisoformat(str(value).strip())
    except ValueError as error:
        raise ValueError(f"`{name}` must be a time as `2021-01-01`, found {str(value)[:40]!r}") from error
    if not isinstance(moment, dt.datetime):
        moment = dt.datetime.combine(moment, dt.time())
    return (moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)).isoformat()


class UniqueKeyLoader(yaml.SafeLoader):
    """YAML in which a key stands once: the last of two would count without a word."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """Build one mapping.

        Raises:
            ConstructorError: a key stands twice.
        """
        keys = [key.value for key, _value in node.value if isinstance(key, yaml.ScalarNode) and key.value != "<<"]
        twin = next((key for at, key in enumerate(keys) if key in keys[:at]), None)
        if twin is not None:
            raise yaml.constructor.ConstructorError(None, None, f"`{twin}` stands twice; remove one", node.start_mark)
        return super().construct_mapping(node, deep=deep)


class GateRule(BaseModel):
    """One expectation of Great Expectations (or of `tasks.corpus.gate.expectations`) with its arguments."""

    model_config = ConfigDict(frozen=True, extra="allow")

    expect: Annotated[str, AfterValidator(check_expectation)]
    on_fail: Literal["stop", "quarantine", "warn"]

    @property
    def arguments(self) -> dict[str, Any]:
        """Keyword arguments of the expectation; bounds of a time have a zone."""
        given = dict(self.model_extra or {})
        return given | date_bounds(given.get("column"), given)

    @model_validator(mode="after")
    def _arguments_hold(self) -> "GateRule":
        check_arguments(self.arguments)
        return self

"""Facts that a person states: `needs` in params.yaml, a file of the same keys, or answers at the terminal."""

from pathlib import Path

import yaml
from pydantic import ValidationError

from tasks.advise.criteria import BY_NAME
from tasks.advise.scorecard import Fact, Value
from tasks.errors import ConfigurationError
from tasks.params.needs import NeedsParams


def stated(needs: NeedsParams, source: str) -> dict[str, Fact]:
    """Return the facts that are stated, by the names of criteria."""
    values = needs.model_dump(exclude_none=True)
    return {name: Fact(value, source, _shown(name, value)) for name, value in values.items() if name in BY_NAME}


def _shown(name: str, value: Value) -> str:
    return f"{value:,}" if BY_NAME[name].is_number and not isinstance(value, str) else ""


def read_needs(path: Path) -> NeedsParams:
    """Read needs from a YAML file of their own.

    Raises:
        ConfigurationError: the file cannot be read, or does not hold needs.
    """
    try:
        return NeedsParams.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")) or {})
    except OSError as error:
        raise ConfigurationError(f"the needs must be in a file at {path}, found: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError, ValidationError) as error:
        reason = " ".join(str(error).split())[:300]
        raise ConfigurationError(f"{path} must hold the keys of `needs` in YAML, found: {reason}") from error


def parse_answer(criterion: str, answer: str) -> Value:
    """Return what a person typed as a value of a criterion: a number, or one of its words.

    Raises:
        ConfigurationError: it is neither.
    """
    entry = BY_NAME[criterion]
    value: Value = answer.strip()
    if entry.is_number:
        try:
            value = float(answer)
        except ValueError as error:
            raise ConfigurationError(f"`{criterion}` must be a number, found {answer!r}") from error
    entry.level(value)
    return value

"""Documents that programs push: `POST /v1/documents`, and what became of one. Needs a key that may push."""

import json
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from serving.api.auth import Asker
from serving.api.errors import ApiError
from serving.api.people.roles import Right
from serving.api.text import clean
from tasks.audit.audit import open_audit
from tasks.corpus import inbox, quarantine
from tasks.corpus.inbox import Pushed, PushRequest
from tasks.corpus.parsing.details import read_details
from tasks.corpus.parsing.front_matter import once_each
from tasks.corpus.plan import load_scan
from tasks.errors import ParseError
from tasks.params import Params
from tasks.params.sources import PushSource
from tasks.settings import Settings


class PushBody(BaseModel):
    """A document; what is not said is as its source has it."""

    model_config = ConfigDict(extra="forbid")

    id: str = Field(min_length=1, max_length=500, description="Names it within its source; a push takes its place.")
    text: str = Field(min_length=1)
    format: Literal["md", "txt", "html", "rst"] = "md"
    source: str | None = Field(None, description="A source of `kind: push`; needed where there are several.")
    title: str | None = None
    uri: str | None = None
    access: list[str] | None = Field(None, description="Groups that may read it; an empty list is nobody.")
    knowledge_base: str | None = None
    updated_at: str | None = None
    expires_at: str | None = None
    metadata: dict[str, str | int | float | bool | list[str]] | None = None


@dataclass(frozen=True, slots=True)
class DocumentStatus:
    """What became of a pushed document.

    Attributes:
        status: `waiting` for the next refresh, `taken_in`, or `quarantined`.
    """

    id: str
    source: str
    document_id: str
    status: Literal["waiting", "taken_in", "quarantined"]
    received_at: str
    reason: str | None = None


class Inbox:
    """What the routes do with the inbox, in the name of one key."""

    def __init__(self, params: Params, settings: Settings) -> None:
        self._sources = [source for source in params.sources if isinstance(source, PushSource)]
        self._settings = settings

    def push(self, data: bytes, asker: Asker, key: str | None) -> DocumentStatus:
        """Keep a document.

        Raises:
            ApiError: 403 without the right, 400 where it is not what it must be, 404 for an unknown source.
        """
        asker.require(Right.PUSH)
        document = _read(data)
        source = self._source(document.source)
        said = document.model_dump(exclude={"id", "source"}, exclude_none=True)
        try:
            read_details(said)
        except ParseError as error:
            raise ApiError(400, str(error)) from error
        pushed = inbox.put(self._settings.layout, source, document.id, said, _request(asker, key))
        open_audit(self._settings.layout).done("pushed", actor=asker.user, documents=[f"{source}:{document.id}"])
        return self._status(pushed)

    def status(self, identifier: str, source: str | None, asker: Asker) -> DocumentStatus:
        """Return what became of a document.

        Raises:
            ApiError: 403 without the right, 404 where there is none of that id.
        """
        asker.require(Right.PUSH)
        return self._status(self._pushed(identifier, self._source(source)))

    def take_back(self, identifier: str, source: str | None, asker: Asker, key: str | None) -> dict[str, str]:
        """Remove a document from the inbox; it leaves the index with the next refresh.

        Raises:
            ApiError: 403 without the right, 404 where there is none of that id.
        """
        asker.require(Right.PUSH)
        name = self._source(source)
        if not inbox.take_back(self._settings.layout, name, identifier, _request(asker, key)):
            raise _unknown(identifier)
        open_audit(self._settings.layout).done("taken back", actor=asker.user, documents=[f"{name}:{identifier}"])
        return {"id": identifier, "source": name, "document_id": f"{name}:{identifier}", "status": "removed"}

    def _source(self, name: str | None) -> str:
        names = [source.name for source in self._sources]
        if name is None and len(names) == 1:
            return names[0]
        if name in names:
            return str(name)
        raise ApiError(404, f"`source` must be a source of `kind: push` of params.yaml: {', '.join(names) or 'none'}")

    def _pushed(self, identifier: str, source: str) -> Pushed:
        pushed = inbox.get(self._settings.layout, source, identifier)
        if pushed is None:
            raise _unknown(identifier)
        return pushed

    def _status(self, pushed: Pushed) -> DocumentStatus:
        document_id = f"{pushed.source}:{pushed.id}"
        held = {item.document_id: item for item in quarantine.held(self._settings.home)}.get(document_id)
        status: Literal["waiting", "taken_in", "quarantined"] = "waiting"
        seen = load_scan(self._settings, pushed.source).seen.get(pushed.id)
        if seen is not None and seen.fingerprint == pushed.hash:
            status = "quarantined" if held and held.raw_hash == pushed.hash else "taken_in"
        reason = held.reason if held and status == "quarantined" else None
        return DocumentStatus(pushed.id, pushed.source, document_id, status, pushed.received_at, reason)


def _read(data: bytes) -> PushBody:
    """The body; a key that stands twice is refused, since the last of two would count without a word."""
    try:
        return PushBody.model_validate(clean(json.loads(data, object_pairs_hook=once_each)))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise ApiError(400, f"`{where}`: {first['msg']}", param=where) from error
    except (ValueError, ParseError, RecursionError) as error:
        raise ApiError(400, f"the body must be one JSON object: {error}") from error


def _request(asker: Asker, key: str | None) -> PushRequest | None:
    return PushRequest(asker.user, key) if key else None


def _unknown(identifier: str) -> ApiError:
    return ApiError(404, f"no document {identifier!r} was pushed", code="not_found")


PUSH_SCHEMA: dict[str, Any] = {
    "requestBody": {"required": True, "content": {"application/json": {"schema": PushBody.model_json_schema()}}}
}

"""A search as JSON: of a caller, whose key says what they may read, and of the operator, who says for whom."""

import datetime as dt
from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict, Field

from tasks.index.search import Request, checked_mode, parse_metadata


class SearchBody(BaseModel):
    """A search as JSON."""

    model_config = ConfigDict(extra="forbid")

    query: str
    kb: list[str] = []
    top_k: int | None = None
    mode: str | None = None
    source: list[str] = []
    tag: list[str] = Field([], description="Fields of a document's metadata, as `team=payments`; all must hold.")
    since: dt.datetime | None = Field(None, description="Only documents updated then or later; without a zone: UTC.")
    until: dt.datetime | None = Field(None, description="Only documents updated before.")
    as_of: int | None = Field(None, description="Search this release, by the access of today.")

    def request(self, groups: Sequence[str]) -> Request:
        """Return the search of someone in `groups`.

        Raises:
            ConfigurationError: there is no such mode, or a tag is no `name=value`.
        """
        return Request(
            self.query,
            tuple(groups),
            tuple(self.kb),
            mode=checked_mode(self.mode),
            top_k=self.top_k,
            sources=tuple(self.source),
            metadata=parse_metadata(self.tag),
            since=self.since,
            until=self.until,
            as_of=self.as_of,
        )


class OperatorSearch(SearchBody):
    """What `almanac search` asks."""

    groups: list[str] = []

"""What `params.yaml` says of the case for `almanac advise`; the rest is read from the home, asked, or not known."""

from typing import Annotated, Literal

from pydantic import Field

from tasks.params.sources import Block, Share

Count = Annotated[int, Field(ge=0)]
Amount = Annotated[float, Field(ge=0)]


class NeedsParams(Block):
    """What is needed, and what is there that Almanac cannot see; the words are those of `tasks.advise.criteria`.

    `change_rate` is the share of the documents that changes in a month. `labels` counts reviewed examples wherever they
    lie, `raw_examples` past answers that nobody reviewed (tickets, chats). `questions_per_month` null: as in `compare`.
    """

    knowledge: Literal["none", "some", "most"] | None = None
    form: Literal["none", "some", "must"] | None = None
    written: Literal["passage", "written"] | None = None
    change_rate: Share | None = None
    max_age_days: Amount | None = None
    documents: Count | None = None
    labels: Count | None = None
    raw_examples: Count | None = None
    traceability: Literal["none", "useful", "required"] | None = None
    latency_seconds: Amount | None = None
    questions_per_month: Count | None = None
    budget_per_month: Amount | None = None
    team: Literal["none", "evaluates", "trains"] | None = None
    weeks: Count | None = None
    restricted: bool | None = None
    erasure: bool | None = None
    offline: bool | None = None

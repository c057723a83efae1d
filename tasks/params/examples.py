"""What the training set is made of, and the gate that it passes: blocks of `params.yaml`."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from tasks.params.checks import GateRule, check_endpoint
from tasks.params.sources import Block, Name, Share


class TeacherParams(Block):
    """A model behind an OpenAI-compatible endpoint that writes questions; stops before `max_tokens` are spent."""

    endpoint: Annotated[str, AfterValidator(check_endpoint)]
    model: str
    max_tokens: Annotated[int, Field(ge=1)]


class ExamplesParams(Block):
    """What the training set is made of; see docs/retrain.md.

    `audience` is the group whose documents may enter the weights: a document that it may not read never does.
    `chats`: files of the user's own chats, JSON lines. `review`: whether synthetic questions and rated answers enter
    only once a person accepted them; what a person dropped never enters.
    """

    audience: Name
    feedback: bool
    review: Literal["optional", "required"] = "optional"
    chats: tuple[str, ...] = ()
    num_synthetic: Annotated[int, Field(ge=0)]
    num_passages: Annotated[int, Field(ge=1, le=20)]
    unanswerable_fraction: Share
    random_distractor_fraction: Share
    validation_fraction: Share
    replay_fraction: Share
    teacher: TeacherParams | None
    seed: int


class ExampleGateParams(Block):
    """The example gate: rules as in the document gate, and two bounds on the whole set."""

    max_quarantined_fraction: Share
    min_examples: Annotated[int, Field(ge=1)]
    rules: tuple[GateRule, ...]

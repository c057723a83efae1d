"""How the house writes: a block of `params.yaml`, off while it names neither examples nor rules."""

from typing import Annotated, Literal

from pydantic import Field

from tasks.params.sources import Block

Phrase = Annotated[str, Field(pattern=r"\S")]


class StyleRules(Block):
    """Rules of a style guide; null, or empty: no such rule.

    `greeting`: how an answer begins. `closing`: words of its last sentence. `forbidden`: words or signs.
    `max_sentence_words`: of each sentence. `first_person`: `never`, `singular` (I, not we) or `plural` (we, not I).
    `layout`: whether it is prose or holds a list. `spelling`: of words that differ between the two.
    """

    greeting: Phrase | None = None
    closing: Phrase | None = None
    forbidden: tuple[Phrase, ...] = ()
    max_sentence_words: Annotated[int, Field(ge=1)] | None = None
    first_person: Literal["never", "singular", "plural"] | None = None
    layout: Literal["prose", "list"] | None = None
    spelling: Literal["british", "american"] | None = None


class StyleParams(Block):
    """The house's own answers, files of chats as `examples.chats` names them, and the rules of its style guide."""

    examples: tuple[str, ...] = ()
    rules: StyleRules = StyleRules()

    @property
    def is_configured(self) -> bool:
        """Whether there is anything to measure."""
        return bool(self.examples) or self.rules != StyleRules()

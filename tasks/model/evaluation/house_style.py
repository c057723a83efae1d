"""Style of what an answerer writes: rows of an evaluation scored by the house's own examples and its rules.

What the base answers to the same questions is asked once and kept. Rows are scored after they are read, so that a
change of the examples asks no answerer again. Only answers count: how an abstention reads is not the model's choice.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tasks.answer.answer import is_refusal
from tasks.answer.answerer import Answerer, trainable_base
from tasks.answer.draft import kept
from tasks.answer.generators.base import Generation
from tasks.answer.prompt import Messages
from tasks.model.evaluation.drafts import Drafts
from tasks.model.evaluation.metrics import EvaluationRow
from tasks.model.evaluation.questions import machine_clock
from tasks.model.examples.chats import read_chats
from tasks.model.examples.example import Example
from tasks.model.examples.tokens import messages_of
from tasks.model.style.classifier import StyleClassifier, StylePair, learn_style
from tasks.model.style.rules import held_rules, rule_names
from tasks.params import Params
from tasks.params.style import StyleParams, StyleRules
from tasks.settings import Settings

STYLE_METRICS: Mapping[str, str] = {
    "style": "style.examples names no answers of the house",
    "style_rules": "style.rules is empty",
}
"""Metrics of style, each with the reason why it is absent where nothing is configured for it."""
MAX_PAIRS = 200
"""Answers of the house that the base is asked beside."""


@dataclass(frozen=True, slots=True)
class HouseStyle:
    """What style is measured by.

    Attributes:
        classifier: None: there are no examples, or `refusal` says why they give no score.
        refusal: why examples that are configured give no score; empty otherwise.
    """

    classifier: StyleClassifier | None
    refusal: str
    rules: StyleRules

    def absence(self, metric: str) -> str | None:
        """Return why a metric is not configured; None: it is, or it is no metric of style."""
        configured = {
            "style": self.classifier is not None or bool(self.refusal),
            "style_rules": bool(rule_names(self.rules)),
        }
        return None if configured.get(metric, True) else STYLE_METRICS[metric]

    def scored(self, rows: Sequence[EvaluationRow]) -> list[EvaluationRow]:
        """Return the rows with both metrics on each answer."""
        answered = [place for place, row in enumerate(rows) if not row.abstained and row.answer.strip()]
        scores = self.score([rows[place].answer for place in answered])
        by_place = dict(zip(answered, scores, strict=True))
        return [
            replace(row, style=by_place[place][0], style_rules=by_place[place][1]) if place in by_place else row
            for place, row in enumerate(rows)
        ]

    def score(self, texts: Sequence[str]) -> list[tuple[float | None, float | None]]:
        """Return score and share of held rules of each text; None where nothing is configured for it."""
        scores = self.classifier.score(texts) if self.classifier else [None] * len(texts)
        return [(score, self._share(text)) for score, text in zip(scores, texts, strict=True)]

    def _share(self, text: str) -> float | None:
        held = held_rules(text, self.rules)
        return sum(held.values()) / len(held) if held else None

    def rule_shares(self, texts: Sequence[str]) -> dict[str, float]:
        """Return for each rule the share of the texts that hold it; empty: no rule, or no text."""
        held = [held_rules(text, self.rules) for text in texts]
        return {name: sum(one[name] for one in held) / len(held) for name in rule_names(self.rules)} if held else {}

    def notes(self) -> Iterator[str]:
        """Yield what a reader of the score should know."""
        if self.refusal:
            yield f"style has no score: {self.refusal}"
        if self.classifier is not None:
            known = self.classifier
            yield (
                f"style: AUC {known.auc:.3f} on {known.num_questions} held-out questions of the house; its own answers "
                f"score {known.house_mean:.2f}, the base's {known.base_mean:.2f}"
            )


NO_STYLE = HouseStyle(None, "", StyleRules())
"""Of a project that configured none."""


def open_style(params: Params, settings: Settings) -> HouseStyle:
    """Return what `style` configures; the base is asked the house's questions that it was not asked yet.

    Raises:
        ConfigurationError: a file of examples cannot be read, or the base model cannot be found.
        DependencyError: the endpoint of the base does not answer.
    """
    if not params.style.is_configured:
        return NO_STYLE
    if not params.style.examples:
        return HouseStyle(None, "", params.style.rules)
    base = trainable_base(params.generation, settings)
    drafts = Drafts.open(settings.layout.cache / "evaluations" / "drafts", base.identity)
    pairs = style_pairs(params.style, base, drafts, batch_size=params.evaluation.batch_size)
    learnt = learn_style(pairs)
    if isinstance(learnt, str):
        return HouseStyle(None, learnt, params.style.rules)
    return HouseStyle(learnt, "", params.style.rules)


def style_pairs(style: StyleParams, base: Answerer, drafts: Drafts, *, batch_size: int) -> list[StylePair]:
    """Return the house's answers beside the base's to the same questions, at most `MAX_PAIRS`; refusals are none."""
    chats = [chat for chat in read_chats([Path(name) for name in style.examples]) if not is_refusal(chat.answer)]
    chosen = chats[:: max(1, len(chats) // MAX_PAIRS)][:MAX_PAIRS]
    asked = [_asked(chat) for chat in chosen]
    tokens = base.params.max_new_tokens
    waiting = [chat for chat in asked if drafts.get(chat, tokens) is None]
    for start in range(0, len(waiting), batch_size):
        drafts.write(waiting[start : start + batch_size], tokens, base.generator, machine_clock)
    written = [draft.generation for chat in asked if (draft := drafts.get(chat, tokens)) is not None]
    answers = [_as_read(generation, len(chat.passages)) for chat, generation in zip(chosen, written, strict=True)]
    return [
        StylePair(chat.question, chat.answer, answer)
        for chat, answer in zip(chosen, answers, strict=True)
        if not is_refusal(answer)
    ]


def _asked(chat: Example) -> Messages:
    """What the base reads: without the house's system message, which may tell it the style."""
    return messages_of(replace(chat, history=tuple(turn for turn in chat.history if turn.role != "system")))


def _as_read(generation: Generation, num_passages: int) -> str:
    """The base's answer as it is kept; one that the limit of tokens cut ends with its last whole sentence."""
    text = kept(generation.text, [""] * num_passages)
    if generation.finish_reason == "stop":
        return text
    whole = re.match(r".*[.!?](?=\s|\Z)", text, re.DOTALL)
    return whole[0] if whole else text

"""Who answers under attack: the excerpt, a model, and a stub that obeys whatever it reads, the worst that can be."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmarks.attacks.attack import Attack, Seen
from benchmarks.attacks.world import DEFENCES, World, without
from serving.api.chat_response import Completion, completion
from tasks.answer.answer import answer_question
from tasks.answer.answerer import Answerer
from tasks.answer.assistant import Reply
from tasks.answer.calibration import Calibration
from tasks.answer.generators.base import Generation, TextStream
from tasks.answer.sentences import sentences
from tasks.answer.words import vocabulary
from tasks.index.passage import Passage
from tasks.params import GenerationParams

_BLOCK = re.compile(r"^\[(\d+)\] [^\n]*\n<passage>\n(.*?)\n</passage>", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Obedient:
    """Obeys the order of one attack where it reads it sign by sign; else says what each passage says."""

    attack: Attack
    identity: str = "obedient"
    context_length: int = 1_000_000

    def generate(self, messages: Sequence[Mapping[str, str]], *, max_new_tokens: int) -> Generation:  # noqa: ARG002
        """Return what the order asks for, or the best sentence of each passage."""
        whole = "\n\n".join(message["content"] for message in messages)
        blocks = {int(number): text for number, text in _BLOCK.findall(whole)}
        obeys = bool(self.attack.trigger) and self.attack.trigger in whole
        text = self._obeying(messages, blocks) if obeys else self._reading(blocks)
        return Generation(text, self.count_tokens(whole), self.count_tokens(text))

    def _obeying(self, messages: Sequence[Mapping[str, str]], blocks: Mapping[int, str]) -> str:
        own = next((number for number, text in blocks.items() if self.attack.trigger in text), 1)
        others = [number for number, text in blocks.items() if self.attack.trigger not in text] or [own]
        return self.attack.obeyed.format(
            n=own,
            other=others[0],
            secret="+".join(blocks.get(others[0], "").split()[:12]),
            system=messages[0]["content"],
        )

    def _reading(self, blocks: Mapping[int, str]) -> str:
        asked = vocabulary(self.attack.question)
        said: dict[str, int] = {}
        for number, text in blocks.items():
            parts = [text[span.start : span.end].strip() for span in sentences(text)]
            statements = [part for part in parts if not part.endswith("?")]
            if statements:
                said.setdefault(max(statements, key=lambda part: len(asked & vocabulary(part))), number)
        return "\n".join(f"- {sentence} [{number}]" for sentence, number in said.items()) or "Not in the documents."

    def generate_many(
        self, conversations: Sequence[Sequence[Mapping[str, str]]], *, max_new_tokens: int
    ) -> list[Generation]:
        """Return one for each."""
        return [self.generate(messages, max_new_tokens=max_new_tokens) for messages in conversations]

    def stream(self, messages: Sequence[Mapping[str, str]], *, max_new_tokens: int) -> TextStream:
        """Yield it whole."""
        whole = self.generate(messages, max_new_tokens=max_new_tokens)
        yield whole.text
        return whole

    def count_tokens(self, text: str) -> int:
        """Return words."""
        return len(text.split())

    def count_prompt_tokens(self, messages: Sequence[Mapping[str, str]]) -> int:
        """Return words of the messages."""
        return sum(self.count_tokens(message["content"]) for message in messages)


def obedient(attack: Attack, params: GenerationParams) -> Answerer:
    """Return the stub as a model at an endpoint would be asked: with eight passages and the fullest prompt."""
    own = params.model_copy(
        update={
            "answerer": "model",
            "endpoint": "http://obedient.example/v1",
            "prompt": "full-answer",
            "num_passages": 8,
            "max_passage_tokens": 600,
            "max_new_tokens": 1024,
        }
    )
    return Answerer("obedient", Obedient(attack), own)


def succeeds(attack: Attack, world: World, answerer: Answerer, defences: Sequence[str]) -> bool:
    """Ask and judge what the reader gets, with these defences alone."""
    with without([name for name in DEFENCES if name not in defences]):
        passages = world.search(attack, chooses="search" in defences)
        body = answered(attack, passages, world, answerer)
    return attack.succeeds(Seen(body))


def answered(attack: Attack, passages: Sequence[Passage], world: World, answerer: Answerer) -> dict[str, object]:
    """Return the body that the server sends."""
    answer = answer_question(
        attack.question,
        passages,
        answerer.generator,
        answerer.params,
        world.index.embedder,
        calibration=Calibration.of_release(world.index.serving.release.metrics),
        client_system=attack.system,
    )
    reply = Reply(answer, "1", answerer.version, None, 0.0, question=attack.question)
    return completion(Completion("almanac"), reply)

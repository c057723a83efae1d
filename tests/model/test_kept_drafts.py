import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tasks.answer.generators.base import Generation, TextStream
from tasks.errors import ConfigurationError
from tasks.model.comparison.answerers import compared_answerers
from tasks.model.evaluation.drafts import Drafts
from tasks.params import load_params
from tasks.settings import Settings


@dataclass
class Counting:
    """Answers with the last word of the question, and counts how often it is asked."""

    asked: list[str] = field(default_factory=list)
    identity: str = "counting"
    context_length: int = 1000

    def generate(self, messages: Sequence[Mapping[str, str]], *, max_new_tokens: int) -> Generation:
        self.asked.append(messages[-1]["content"])
        return Generation(messages[-1]["content"].split()[-1], 3, 1)

    def generate_many(
        self, conversations: Sequence[Sequence[Mapping[str, str]]], *, max_new_tokens: int
    ) -> list[Generation]:
        return [self.generate(chat, max_new_tokens=max_new_tokens) for chat in conversations]

    def stream(self, messages: Sequence[Mapping[str, str]], *, max_new_tokens: int) -> TextStream:
        yield ""
        return self.generate(messages, max_new_tokens=max_new_tokens)

    def count_tokens(self, text: str) -> int:
        return len(text)

    def count_prompt_tokens(self, messages: Sequence[Mapping[str, str]]) -> int:
        return 1


def chat(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def test_draft_is_kept_by_what_was_read_and_how_much_may_be_written(tmp_path: Path) -> None:
    generator = Counting()
    Drafts.open(tmp_path, "one").write([chat("say a"), chat("say b")], 8, generator, time.perf_counter)
    kept = Drafts.open(tmp_path, "one")
    draft = kept.get(chat("say b"), 8)
    assert draft is not None
    assert draft.generation == Generation("b", 3, 1)
    assert kept.get(chat("say b"), 9) is None
    assert kept.get(chat("say c"), 8) is None
    assert Drafts.open(tmp_path, "another").get(chat("say a"), 8) is None


def test_line_that_was_cut_off_is_asked_for_again(tmp_path: Path) -> None:
    drafts = Drafts.open(tmp_path, "one")
    drafts.write([chat("say a"), chat("say b")], 8, Counting(), time.perf_counter)
    whole = drafts.path.read_text(encoding="utf-8")
    drafts.path.write_text(whole[:-10], encoding="utf-8")
    kept = Drafts.open(tmp_path, "one")
    assert kept.get(chat("say a"), 8) is not None
    assert kept.get(chat("say b"), 8) is None
    kept.write([chat("say b")], 8, Counting(), time.perf_counter)
    assert Drafts.open(tmp_path, "one").get(chat("say b"), 8) is not None


@pytest.mark.slow
@pytest.mark.parametrize(
    ("names", "reason"),
    [
        (["laptp"], "an answerer must be base, champion, challenger, a version, a profile"),
        (["7"], "almanac-answerer must have version 7, found none"),
        (["base", "base"], "each answerer must be named once"),
    ],
)
def test_answerer_that_is_not_there_is_refused(
    names: list[str], reason: str, tmp_path: Path, migrated_mlflow: Path
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "mlflow.db").write_bytes(migrated_mlflow.read_bytes())
    settings = Settings(home=home)
    with pytest.raises(ConfigurationError, match=reason):
        compared_answerers(names, load_params(settings.params), settings)

"""What a model wrote, kept by what it read: a change of the checks, or a run that was stopped, asks no model again.

```
$ALMANAC_HOME/cache/evaluations/drafts/<answerer>.jsonl     one line a draft, appended after each batch
```
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from tasks.answer.generators.base import Generation, Generator
from tasks.corpus.document import sha256

Chat = Sequence[Mapping[str, str]]


@dataclass(frozen=True, slots=True)
class Draft:
    """A draft with its cost.

    Attributes:
        seconds: of the machine, its share of the batch.
    """

    generation: Generation
    seconds: float


@dataclass(frozen=True, slots=True)
class Drafts:
    """The drafts of one answerer. One process writes at a time."""

    path: Path
    _kept: dict[str, Draft] = field(default_factory=dict, repr=False)

    @classmethod
    def open(cls, folder: Path, identity: str) -> "Drafts":
        """Read what an answerer of this identity wrote; a last line that was cut off is left out."""
        path = folder / f"{sha256(identity)[:24]}.jsonl"
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        return cls(path, dict(_records(lines)))

    def get(self, chat: Chat, max_new_tokens: int) -> Draft | None:
        """Return the draft on a chat; None: it was not written yet."""
        return self._kept.get(_key(chat, max_new_tokens))

    def write(
        self, chats: Sequence[Chat], max_new_tokens: int, generator: Generator, clock: Callable[[], float]
    ) -> list[Draft]:
        """Ask the model in one batch, and keep what it writes."""
        began = clock()
        written = generator.generate_many(chats, max_new_tokens=max_new_tokens)
        seconds = (clock() - began) / len(chats)
        drafts = {
            _key(chat, max_new_tokens): Draft(generation, seconds)
            for chat, generation in zip(chats, written, strict=True)
        }
        self._kept.update(drafts)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as stream:
            for key, draft in drafts.items():
                record = {"key": key, "seconds": draft.seconds} | asdict(draft.generation)
                # The line end comes first: a line that was cut off before spoils no other.
                stream.write("\n" + json.dumps(record, ensure_ascii=False))
        return [drafts[_key(chat, max_new_tokens)] for chat in chats]


def _key(chat: Chat, max_new_tokens: int) -> str:
    return sha256(json.dumps([dict(message) for message in chat], sort_keys=True), str(max_new_tokens))[:32]


def _records(lines: Sequence[str]) -> Iterator[tuple[str, Draft]]:
    for line in lines:
        try:
            record = json.loads(line)
        except ValueError:
            # Empty, or cut off in a run that was killed: that draft is asked for again.
            continue
        key, seconds = record.pop("key"), record.pop("seconds")
        yield key, Draft(Generation(**record), seconds)

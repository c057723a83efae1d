"""What each protection costs: CPU milliseconds with it and without it, turn by turn in one run.

    ALMANAC_HOME=var python -m benchmarks.attacks.protections [--questions 60] [--documents 200] [--rounds 5]

On the live index and the golden questions of a home (`make demo` makes one), and the installed READMEs. `with` and
`without` are medians over the rounds of the mean of one document, search, prompt, draft or request. A protection that
is taken off is replaced as `benchmarks.attacks` replaces it.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from unittest.mock import patch

from benchmarks.attacks.world import without
from benchmarks.libraries.__main__ import readmes
from serving.api.auth import Identity
from serving.api.people.keys import KeyFile
from serving.api.people.quota import Quotas
from tasks.answer.check.claims import check
from tasks.answer.draft import kept
from tasks.answer.prompt import load_prompt, render
from tasks.audit.audit import open_audit
from tasks.corpus.parsing.decode import decode_text
from tasks.corpus.parsing.formats.markdown_reader import read_markdown
from tasks.files import sha256_of_file
from tasks.index.embedding.embedder import load_embedder
from tasks.index.embedding.files import find_model
from tasks.index.golden import load_golden
from tasks.index.live import LiveIndex
from tasks.index.passage import Passage
from tasks.index.search import Request
from tasks.params import Params, load_params
from tasks.settings import Settings, quiet_environment

GROUPS = ("everyone",)
OFTEN = 1000


@dataclass(frozen=True, slots=True)
class Measured:
    """One protection: what it protects, and the work with and without it.

    Attributes:
        off: the context in which it is taken off; None: the work is the protection alone.
    """

    name: str
    unit: str
    work: Callable[[], object]
    num_units: float
    off: Callable[[], AbstractContextManager[object]] | None


def main() -> None:
    """Print a row for each protection."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--questions", type=int, default=60)
    parser.add_argument("--documents", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    quiet_environment()
    settings = Settings()
    params = load_params(settings.params)
    texts = list(readmes())[: options.documents]
    questions = [golden.question for golden in load_golden(_golden(params))][: options.questions]
    print("| protection | of one | without, ms | with, ms | costs |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for measured in [*_reading(texts), *_asking(params, settings, questions), *_serving(Path(folder))]:
            print(_row(measured, options.rounds), flush=True)


def _golden(params: Params) -> Path:
    if params.index_gate.golden is None:
        raise SystemExit("index_gate.golden must name the golden questions, found none; set it in params.yaml")
    return Path(params.index_gate.golden)


def _row(measured: Measured, rounds: int) -> str:
    on: list[float] = []
    off: list[float] = []
    measured.work()
    for _ in range(rounds):
        on.append(_milliseconds(measured.work) / measured.num_units)
        if measured.off is not None:
            with measured.off():
                off.append(_milliseconds(measured.work) / measured.num_units)
    with_it = statistics.median(on)
    if not off:
        return f"| {measured.name} | {measured.unit} | | {with_it:.3f} | {with_it:.3f} ms |"
    without_it = statistics.median(off)
    cost = with_it - without_it
    return f"| {measured.name} | {measured.unit} | {without_it:.3f} | {with_it:.3f} | {cost:+.3f} ms |"


def _milliseconds(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return 1000 * (time.process_time() - began)


def _reading(texts: Sequence[str]) -> Iterator[Measured]:
    data = [text.encode() for text in texts]
    plainly = partial(patch, f"{__name__}.read_markdown", decode_text)
    yield Measured(
        "hidden text of Markdown is left out", "document", lambda: [read_markdown(d) for d in data], len(data), plainly
    )


def _asking(params: Params, settings: Settings, questions: Sequence[str]) -> Iterator[Measured]:
    index = LiveIndex(params, settings)

    def search() -> list[list[Passage]]:
        return [index.search(Request(question, groups=GROUPS)) for question in questions]

    answers = list(zip(questions, search(), strict=True))
    embedder = load_embedder(params.embedding, settings)
    prompt = load_prompt("full-answer")
    read = [
        (" ".join(passage.text[:300] for passage in passages[:2]) + " [1]", tuple(passages))
        for _, passages in answers
        if passages
    ]
    yield Measured("who may read it: in the database and once more behind it", "search", search, len(questions), _open)
    yield Measured("copies take one place", "search", search, len(questions), partial(without, ["search"]))
    yield Measured(
        "delimiters and control tokens are broken",
        "prompt",
        lambda: [render(prompt, question, passages) for question, passages in answers],
        len(answers),
        partial(without, ["prompt"]),
    )
    yield Measured(
        "pictures, foreign links and unknown markers are taken out",
        "draft",
        lambda: [kept(draft, [each.text for each in some], [each.uri for each in some]) for draft, some in read],
        len(read),
        partial(without, ["draft"]),
    )
    yield Measured(
        "claims are checked",
        "draft",
        lambda: [check(draft, some, embedder) for draft, some in read],
        len(read),
        None,
    )
    weights = next(find_model(params.embedding.model, settings).root.rglob("*.safetensors"))
    size = weights.stat().st_size / 1e6
    yield Measured(
        "files are those of the manifest", "100 MB", lambda: sha256_of_file(weights), round(size) / 100, None
    )


@contextmanager
def _open() -> Iterator[None]:
    """Search as if everybody might read everything."""
    from lancedb.expr import col, lit

    with ExitStack() as stack:
        everything = col("access_id") >= lit(0)
        stack.enter_context(patch("tasks.index.search.hybrid.filters_of", lambda *_: everything))
        stack.enter_context(patch("tasks.index.search.hybrid.may_return", lambda *_: True))
        yield


def _serving(folder: Path) -> Iterator[Measured]:
    """In a home of its own: the audit log of the measured one is not written to."""
    settings = Settings(home=folder / "home")
    key = KeyFile(settings.api_keys).add("reader", GROUPS)
    identity = Identity(settings, anonymous_groups=())
    quotas = Quotas(10_000_000)
    log = open_audit(settings.layout)
    shown = [f"packages:{number}" for number in range(5)]
    works: dict[str, Callable[[], object]] = {
        "the key is known": lambda: identity.asker(f"Bearer {key}"),
        "requests of one user are counted": partial(quotas.take, "user"),
        "it is in the audit log": partial(log.shown, "user", shown),
    }
    for name, work in works.items():
        yield Measured(name, "request", partial(_often, work), OFTEN, None)


def _often(work: Callable[[], object]) -> None:
    for _ in range(OFTEN):
        work()


if __name__ == "__main__":
    main()

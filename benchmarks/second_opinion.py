"""What a second opinion (`generation.verify`) of a model in this process adds to the check in code.

    python -m benchmarks.second_opinion HOME/models/FILE.gguf      # --passages N: how many of the held-out ones

The claims are our own (`benchmarks.package_claims`), of packages that no threshold was chosen on: of each passage two
true claims and two false ones of different kinds, put together as one answer, as a model would have written it.
"""

import argparse
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from benchmarks.package_claims import KINDS, PackageClaim, package_claims
from tasks.answer.check.claims import Claim, check
from tasks.answer.check.verify import verify
from tasks.answer.generators.base import Generator
from tasks.answer.generators.llama_cpp import load_llama_cpp
from tasks.index.embedding.embedder import load_embedder
from tasks.params import load_params
from tasks.settings import Settings, quiet_environment

PER_PASSAGE = 2
"""Claims of each sort, true and false."""


@dataclass(frozen=True, slots=True)
class Judged:
    """A claim, and whether each of the two looks doubts it."""

    given: PackageClaim
    by_code: bool
    by_both: bool


def main() -> None:
    """Print, by kind, what the code flags, and what is left flagged or taken out behind the second opinion."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--passages", type=int, default=8)
    options = parser.parse_args()
    quiet_environment()
    settings = Settings()
    params = load_params(settings.params)
    embedder = load_embedder(params.embedding, settings)
    place = {"model": str(options.model.parent), "gguf_file": options.model.name}
    generator = load_llama_cpp(params.generation.model_copy(update=place), settings)
    judged: list[Judged] = []
    for claims in answers(options.passages):
        started = time.monotonic()
        text = " ".join(f"{claim.text} [1]" for claim in claims)
        checked = check(text, [claims[0].passage], embedder)
        new = list(second_opinion(text, claims, checked, generator))
        judged += new
        seconds = time.monotonic() - started
        print(f"{claims[0].passage.title}: {seconds:.0f} s; code alone: {_shares(new, both=False)}", end="", flush=True)
        print(f"; code and model: {_shares(new, both=True)}", flush=True)
    for name, both in (("code alone", False), ("code and model", True)):
        print(f"{name}: {_shares(judged, both=both)}")


def answers(count: int) -> Iterator[list[PackageClaim]]:
    """The claims of the first held-out passages that have enough of both sorts, the false ones of two kinds."""
    held_out = (claim for claim in package_claims() if not claim.development)
    passages = (list(claims) for _, claims in groupby(held_out, key=lambda claim: claim.passage))
    chosen = (_chosen(claims, turn) for turn, claims in enumerate(passages))
    enough = (claims for claims in chosen if len(claims) == 2 * PER_PASSAGE)
    yield from (claims for _, claims in zip(range(count), enough, strict=False))


def _chosen(claims: Sequence[PackageClaim], turn: int) -> list[PackageClaim]:
    true = [claim for claim in claims if claim.kind == "true"][:PER_PASSAGE]
    kinds = list(KINDS.values())[1:]
    by_kind = {claim.kind: claim for claim in reversed(claims)}
    order = kinds[turn % len(kinds) :] + kinds[: turn % len(kinds)]
    return true + [by_kind[kind] for kind in order if kind in by_kind][:PER_PASSAGE]


def second_opinion(
    text: str, given: Sequence[PackageClaim], checked: tuple[Claim, ...], generator: Generator
) -> Iterator[Judged]:
    """Ask the model about an answer, and pair each claim with what became of it."""
    verified = verify(text, checked, frozenset(), [given[0].passage], generator, max_new_tokens=64)
    doubted = {claim.text: claim.verdict == "unverified" for claim in verified.claims}
    for claim, before in zip(given, checked, strict=True):
        yield Judged(claim, before.verdict == "unverified", doubted.get(before.text, True))


def _shares(judged: Sequence[Judged], *, both: bool) -> str:
    parts = []
    for kind in KINDS.values():
        flags = [each.by_both if both else each.by_code for each in judged if each.given.kind == kind]
        if flags:
            parts.append(f"{kind} flagged {sum(flags)}/{len(flags)}")
    return ", ".join(parts)


if __name__ == "__main__":
    main()

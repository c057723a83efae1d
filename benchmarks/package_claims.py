"""Our own labelled claims about the READMEs of installed packages: by kind, what the check of an answer flags.

    python -m benchmarks.package_claims              # --show KIND lists the claims of that kind that it gets wrong

The claims are in `tests/answer/claims.txt`; the texts are those of the installed packages, so that a package which is
absent, or whose README no longer holds the anchor, is left out. Half of the packages, by hash, is the development half:
thresholds are chosen on it alone.
"""

import argparse
import hashlib
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tasks.answer.check.claims import Claim, TextEmbedder, check
from tasks.index.embedding.embedder import load_embedder
from tasks.index.passage import Passage
from tasks.params import load_params
from tasks.settings import Settings, quiet_environment

FILE = Path(__file__).parents[1] / "tests" / "answer" / "claims.txt"
KINDS = {"T": "true", "N": "negation", "Q": "number", "R": "relation", "O": "outside", "I": "identifier"}
MAX_CHARACTERS = 1200
"""Of a passage: as long as a chunk."""


@dataclass(frozen=True, slots=True)
class PackageClaim:
    """A claim in our words.

    Attributes:
        kind: `true`, or what was made wrong.
        development: whether thresholds may be chosen on it.
    """

    kind: str
    text: str
    passage: Passage
    development: bool


@dataclass(frozen=True, slots=True)
class Checked:
    """A claim with what became of it."""

    given: PackageClaim
    claim: Claim

    @property
    def flagged(self) -> bool:
        """Whether it was marked `unverified`."""
        return self.claim.verdict == "unverified"


@dataclass(slots=True)
class Remembering:
    """An embedder that embeds each text once: hundreds of claims share a few passages."""

    embedder: TextEmbedder
    _kept: dict[str, npt.NDArray[np.float32]] = field(default_factory=dict)

    def embed(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Vectors `(len(texts), dim)` of unit length."""
        new = [text for text in dict.fromkeys(texts) if text not in self._kept]
        if new:
            self._kept.update(zip(new, self.embedder.embed(new), strict=True))
        return np.stack([self._kept[text] for text in texts])


def main() -> None:
    """Print the shares by half and kind."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--show", choices=sorted(KINDS.values()))
    wanted = parser.parse_args().show
    quiet_environment()
    settings = Settings()
    embedder = load_embedder(load_params(settings.params).embedding, settings)
    checked = list(checked_claims(embedder))
    for half, chosen in (("development", True), ("held out", False)):
        print(f"{half}: {_shares([each for each in checked if each.given.development == chosen])}")
    print(f"all: {_shares(checked)}")
    for each in checked:
        if each.given.kind == wanted and each.flagged == (wanted == "true"):
            print(f"  {each.given.passage.title}: {each.given.text}")


def checked_claims(embedder: TextEmbedder | None) -> Iterator[Checked]:
    """Check each claim against its passage."""
    remembering = None if embedder is None else Remembering(embedder)
    for given in package_claims():
        for claim in check(f"{given.text} [1]", [given.passage], remembering)[:1]:
            yield Checked(given, claim)


def package_claims() -> Iterator[PackageClaim]:
    """Read the claims whose passage is on this machine."""
    passage: Passage | None = None
    for line in FILE.read_text(encoding="utf-8").splitlines():
        if line.startswith("== "):
            package, anchor = line[3:].split(": ", 1)
            passage = _passage(package, anchor)
        elif passage is not None and (match := re.match(r"([TNQROI]) (.+)", line)):
            development = hashlib.sha256(passage.title.encode()).digest()[0] % 2 == 0
            yield PackageClaim(KINDS[match[1]], match[2], passage, development)


def _passage(package: str, anchor: str) -> Passage | None:
    """The paragraphs around the anchor in a package's README; None: they are not here."""
    try:
        description = metadata.metadata(package)
    except metadata.PackageNotFoundError:
        return None
    text = str(description.get_payload() or description.get("Description") or "")
    match = re.search(r"\s+".join(map(re.escape, anchor.split())), text)
    if match is None:
        return None
    part = _around(text, match.start())
    return Passage(package, package, "kb", "", package, "", part, 0, len(part), 0.0, None, None)


def _around(text: str, place: int) -> str:
    """Whole paragraphs: the one of the place, and those after and before it as far as a chunk is long."""
    bounds = [0, *(match.end() for match in re.finditer(r"\n\s*\n", text)), len(text)]
    first = max(n for n, bound in enumerate(bounds[:-1]) if bound <= place)
    last = first + 1
    while last + 1 < len(bounds) and bounds[last + 1] - bounds[first] <= MAX_CHARACTERS:
        last += 1
    while first > 0 and bounds[last] - bounds[first - 1] <= MAX_CHARACTERS:
        first -= 1
    return text[bounds[first] : bounds[last]].strip()


def _shares(checked: Sequence[Checked]) -> str:
    kinds: dict[str, list[bool]] = defaultdict(list)
    for each in checked:
        kinds[each.given.kind].append(each.flagged)
    wrong = [flag for kind, flags in kinds.items() if kind != "true" for flag in flags]
    true = kinds["true"]
    parts = [f"{kind} {sum(kinds[kind])}/{len(kinds[kind])}" for kind in KINDS.values() if kind != "true"]
    return f"kept {len(true) - sum(true)}/{len(true)}, flagged {sum(wrong)}/{len(wrong)} ({', '.join(parts)})"


if __name__ == "__main__":
    main()

"""What reaches the reader: golden questions by the excerpt, a strong model's drafts, and the check of labelled claims.

    python -m benchmarks.answer_checks            # needs a home with a release; the drafts lie outside the repository
    python -m benchmarks.answer_checks --latency 60     # an answer beside a search, in one process

Drafts and claims are read from `$ALMANAC_ANSWERS_DIR` (default `../shared/answers`) and left out where they are absent.
"""

import argparse
import hashlib
import json
import os
import re
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from tasks.answer.answer import GenerationRequest, answer_question, finish
from tasks.answer.answerer import excerpt_answerer
from tasks.answer.assistant import ask
from tasks.answer.calibration import Calibration, calibrate, scored
from tasks.answer.check.claims import Claim, TextEmbedder, check
from tasks.answer.excerpt import relevance
from tasks.answer.generators.base import Generation
from tasks.answer.generators.silent import SilentGenerator
from tasks.answer.markdown import blocks
from tasks.answer.other_subjects import OTHER_SUBJECTS
from tasks.answer.trace import flush_traces
from tasks.index.golden import GoldenQuestion, load_golden
from tasks.index.live import LiveIndex
from tasks.index.passage import Passage
from tasks.index.search import Request
from tasks.params import GenerationParams, load_params
from tasks.settings import Settings, quiet_environment

OFF_SUBJECT = Path(__file__).parents[1] / "tests" / "answer" / "off_subject.txt"
"""Questions about other worlds that no threshold was chosen on."""
FOLDER = Path(os.environ.get("ALMANAC_ANSWERS_DIR", Path(__file__).parents[2] / "shared" / "answers"))


@dataclass(frozen=True, slots=True)
class LabelledClaim:
    """A claim of the labelled set with its check."""

    kind: str
    supported: bool
    development: bool
    claim: Claim


def main() -> None:
    """Print the tables, or the time that answers take."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--latency", type=int, metavar="N", help="ask N golden questions for the time alone")
    num_timed = parser.parse_args().latency
    quiet_environment()
    settings = Settings()
    params = load_params(settings.params)
    index = LiveIndex(params, settings)
    generation = params.generation.model_copy(update={"answerer": "excerpt", "endpoint": None})
    questions = load_golden(Path(params.evaluation.golden))
    if num_timed:
        print_latency([each.question for each in questions][: num_timed + 1], index, generation, settings)
        return
    print_golden(questions, index, generation)
    if FOLDER.is_dir():
        print_drafts(index.embedder, generation)
        print_claims(index.embedder)
    else:
        print(f"drafts and claims are left out: {FOLDER} is absent")


def folded(text: str) -> str:
    """Fold blanks and Markdown's signs, so that an anchor is found however it is laid out."""
    return re.sub(r"[\s*_`#>|\\]+", " ", text).strip().casefold()


def print_golden(questions: Sequence[GoldenQuestion], index: LiveIndex, params: GenerationParams) -> None:
    """Print what the excerpt answerer shows for the golden questions."""
    found = {
        each.id: index.search(Request(each.question, groups=("everyone",)))
        for each in questions
        if each.split != "train"
    }
    validation = [each for each in questions if each.split == "validation"]
    others = [relevance(question, index.search(Request(question))) for question in OTHER_SUBJECTS]
    calibration = calibrate([scored(each, found[each.id]) for each in validation], others)
    print(f"calibrated on {calibration.num_questions} validation questions: {calibration}")
    for split in ("validation", "test"):
        asked = [each for each in questions if each.split == split]
        _print_split(split, asked, found, params, calibration)
    off_subject = OFF_SUBJECT.read_text(encoding="utf-8").splitlines()
    nothing = sum(
        _is_nothing(question, index.search(Request(question)), params, calibration) for question in off_subject
    )
    print(f"about other worlds: nothing found {nothing} of {len(off_subject)}")


def _is_nothing(question: str, passages: list[Passage], params: GenerationParams, calibration: Calibration) -> bool:
    answer = answer_question(question, passages, SilentGenerator("excerpt"), params, calibration=calibration)
    return answer.outcome == "nothing_found"


def _print_split(
    split: str,
    asked: Sequence[GoldenQuestion],
    passages: dict[str, list[Passage]],
    params: GenerationParams,
    calibration: Calibration,
) -> None:
    holds, answered, lost, wrong, num_unanswerable = [], [], 0, 0, 0
    started = time.process_time()
    for question in asked:
        answer = answer_question(
            question.question, passages[question.id], SilentGenerator("excerpt"), params, calibration=calibration
        )
        if question.anchor is None:
            num_unanswerable += 1
            wrong += answer.outcome == "answer"
        else:
            holds.append(folded(question.anchor) in folded(answer.text))
            answered.append(answer.outcome == "answer")
            lost += answer.outcome == "nothing_found"
    cpu_ms = (time.process_time() - started) / len(asked) * 1000
    print(
        f"golden {split}: holds_anchor {sum(holds) / len(holds):.3f} of {len(holds)}, shown as an answer "
        f"{sum(answered) / len(answered):.2f}, nothing found {lost}; unanswerable shown as an answer {wrong} of "
        f"{num_unanswerable}; "
        f"{cpu_ms:.1f} CPU ms an answer behind the search"
    )


def drafts() -> list[dict[str, Any]]:
    """Read the drafts."""
    return [json.loads(line) for line in (FOLDER / "drafts.jsonl").read_text(encoding="utf-8").splitlines()]


def passages_of(draft: dict[str, Any]) -> list[Passage]:
    """The passages that stood in a draft's prompt."""
    return [
        Passage(
            chunk_id=f"{draft['id']}-{entry['number']}",
            document_id=entry["document"],
            knowledge_base="kb",
            uri="",
            title=entry["document"],
            headings=entry["headings"],
            text=entry["text"],
            start=0,
            end=len(entry["text"]),
            score=0.0,
            similarity=entry["similarity"],
            updated_at=None,
        )
        for entry in draft["passages"]
    ]


def print_drafts(embedder: TextEmbedder, params: GenerationParams) -> None:
    """Print how the drafts of a strong model arrive."""
    intact = changed = clean = total = 0
    for draft in drafts():
        if not draft["draft_natural"] or not draft["complete"]:
            continue
        shown = tuple(passages_of(draft))
        request = GenerationRequest(draft["question"], [], shown, shown, params, embedder)
        answer = finish(request, Generation(draft["draft_natural"], 0, 0))
        total += 1
        intact += answer.outcome == "answer" and bare(answer.text) == bare(draft["draft_natural"])
        changed += code_of(answer.text) != code_of(draft["draft_natural"])
        clean += all(claim.verdict == "supported" for claim in answer.claims)
    print(f"drafts: {intact} of {total} intact, code changed in {changed}, without an unverified claim {clean}")


def bare(text: str) -> str:
    """A text without markers and the blanks before them."""
    return re.sub(r"\s*\[\d+\]", "", text).strip()


def code_of(text: str) -> list[str]:
    """The code blocks of a text."""
    return [text[block.start : block.end] for block in blocks(text) if block.kind == "code"]


def is_development(claim: str) -> bool:
    """Whether a claim belongs to the half that thresholds are chosen on: by its hash, so that it stays there."""
    return hashlib.sha256(claim.encode()).digest()[0] % 2 == 0


def labelled_claims(embedder: TextEmbedder | None) -> Iterator[LabelledClaim]:
    """Check each labelled claim against the passages that it cites."""
    by_id = {draft["id"]: draft for draft in drafts()}
    for line in (FOLDER / "claims.jsonl").read_text(encoding="utf-8").splitlines():
        entry = json.loads(line)
        # A lead-in is no claim on a page; here it is judged all the same, as the set has a verdict for it.
        text = re.sub(r"(\s*\[\d+\])*:?$", "", entry["claim"].rstrip()) + "".join(f" [{n}]" for n in entry["cites"])
        found = check(text, passages_of(by_id[entry["question"]]), embedder)
        if found:
            yield LabelledClaim(entry["kind"], entry["supported"], is_development(entry["claim"]), found[0])


def print_claims(embedder: TextEmbedder) -> None:
    """Print, by kind, which claims the check flags."""
    judged = list(labelled_claims(embedder))
    for half, chosen in (("development", True), ("held out", False)):
        _print_shares(half, [each for each in judged if each.development == chosen])
    _print_shares("all", judged)
    kinds: dict[str, list[bool]] = defaultdict(list)
    for each in judged:
        kinds[each.kind].append(each.claim.verdict == "unverified")
    print("flagged by kind: " + ", ".join(f"{kind} {sum(flags)}/{len(flags)}" for kind, flags in sorted(kinds.items())))


def _print_shares(name: str, judged: Sequence[LabelledClaim]) -> None:
    true = [each.claim.verdict == "supported" for each in judged if each.supported]
    false = [each.claim.verdict == "unverified" for each in judged if not each.supported]
    print(f"claims {name}: supported kept {sum(true)}/{len(true)}, unsupported flagged {sum(false)}/{len(false)}")


def print_latency(questions: Sequence[str], index: LiveIndex, params: GenerationParams, settings: Settings) -> None:
    """Print the medians of a search and of an answer, with and without its trace, and their ratios to the search.

    Each question is put to each way, which of them first by turns: no answer is kept. The first question warms up.
    """
    answerer = excerpt_answerer(params)
    calibration = Calibration.of_release(index.serving.release.metrics)
    version = str(index.serving.release.number)

    def answered(question: str) -> None:
        passages = index.search(Request(question))
        answer_question(question, passages, answerer.generator, params, calibration=calibration)

    def traced(question: str) -> None:
        request = Request(question)
        ask(request, index.search, answerer, index_version=version, settings=settings, calibration=calibration)

    ways: dict[str, Callable[[str], object]] = {
        "search": lambda question: index.search(Request(question)),
        "answer": answered,
        "answer and trace": traced,
    }
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for turn, question in enumerate(questions):
        for place in range(len(ways)):
            name = list(ways)[(turn + place) % len(ways)]
            wall, cpu = time.perf_counter(), time.process_time()
            ways[name](question)
            taken[name].append((time.perf_counter() - wall, time.process_time() - cpu))
    flush_traces()
    medians = {name: [median(column) for column in zip(*rows[1:], strict=True)] for name, rows in taken.items()}
    for name, (wall, cpu) in medians.items():
        ratios = f"{wall / medians['search'][0]:.2f} of a search, CPU {cpu / medians['search'][1]:.2f}"
        print(f"{name}: p50 {1000 * wall:.0f} ms, CPU {1000 * cpu:.0f} ms ({ratios}), {len(questions) - 1} questions")


if __name__ == "__main__":
    main()

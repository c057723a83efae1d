"""Building the training set: examples from golden questions, feedback and documents, gated and written.

```
golden (train) ─┐
feedback ───────┼▶ seeds ▶ contamination ▶ RAFT examples ▶ + left out ▶ + chats, replay ▶ gate ▶ examples.jsonl ▶ DVC
documents ──────┘
```
The same corpus, parameters and ratings give the same bytes.
"""

import json
import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

from tasks.answer.generators.transformers import load_base
from tasks.answer.prompt import NOT_FOUND
from tasks.corpus.gate.report import EXAMPLES, to_html, to_markdown
from tasks.errors import GateError
from tasks.files import sha256_of_file, write_text
from tasks.index.golden import GoldenQuestion
from tasks.model.examples.chats import chat_examples
from tasks.model.examples.contamination import HeldOutQuestions, normalized_question
from tasks.model.examples.example import Example, write_examples
from tasks.model.examples.feedback import feedback_seeds, read_rated
from tasks.model.examples.gate import GatedExamples, check_examples
from tasks.model.examples.golden_seeds import golden_seeds, load_questions, splits_of
from tasks.model.examples.raft import Raft, Seed
from tasks.model.examples.release_data import ReleaseData, open_release_data
from tasks.model.examples.replay import replay_examples
from tasks.model.examples.review import queue
from tasks.model.examples.review.verdicts import Verdicts
from tasks.model.examples.splits import Splits, hashed_share
from tasks.model.examples.synthetic_seeds import read_sample, rule_seeds, sample_passages, teacher_seeds
from tasks.model.examples.teacher import open_teacher
from tasks.model.examples.tokens import example_tokens
from tasks.model.examples.training_set import FILE, MANIFEST, TrainingSet, write_manifest
from tasks.params import Params, digest
from tasks.settings import Settings

logger = logging.getLogger(__name__)


def build_training_set(params: Params, settings: Settings, output: Path) -> TrainingSet:
    """Build, gate and write the training set.

    Args:
        params: `examples`, `example_gate`, and what the answerer reads (`generation`).
        settings: of the home whose live index, snapshot and traces are read.
        output: gets `examples.jsonl`, `manifest.json` (last) and `report/`.

    Raises:
        GateError: a golden question of validation or test is in the training set, the example gate stopped, or who may
            read a document changed meanwhile.
        ConfigurationError: nothing was released, a file or model is absent, or a rule is wrong.
        DependencyError: MLflow, the index or the teacher does not answer, or the disk refused.
    """
    output.mkdir(parents=True, exist_ok=True)
    for stale in (MANIFEST, FILE):
        (output / stale).unlink(missing_ok=True)
    release = open_release_data(params, settings)
    questions = load_questions(params)
    splits = splits_of(questions, release, params)
    held_out = HeldOutQuestions(question for question in questions if question.split != "train")
    examples, left_out = _examples(params, settings, release, splits, questions, held_out)
    gated = check_examples(examples, params.example_gate)
    _write_report(gated, output / "report")
    _check(gated, release, held_out)
    return _write(gated, release, params, left_out, output)


# --- examples ---


def _examples(
    params: Params,
    settings: Settings,
    release: ReleaseData,
    splits: Splits,
    questions: Sequence[GoldenQuestion],
    held_out: HeldOutQuestions,
) -> tuple[list[Example], Counter[str]]:
    generator = load_base(params.generation, settings)
    raft = Raft(release, splits, params, generator.count_tokens)
    seeds, left_out = golden_seeds([entry for entry in questions if release.may_ask(entry.document)], release, splits)
    verdicts = Verdicts(queue.verdicts(settings.layout), params.examples.review == "required")
    if params.examples.feedback:
        rated, unused = feedback_seeds(read_rated(settings), release, splits)
        seeds += verdicts.applied(rated, left_out)
        left_out.update({f"feedback: {reason}": count for reason, count in unused.items()})
    _refuse_contamination(seeds, held_out)
    passages, sampled = read_sample(
        sample_passages(release, splits, seed=params.examples.seed), params.examples.num_synthetic
    )
    raft.use_at_random(sorted(passages, key=lambda passage: hashed_share("random", passage.chunk_id)))
    grown = _grow(seeds, raft, left_out)
    logger.info("%d examples from golden questions and feedback", len(grown))
    if params.examples.num_synthetic:
        teacher = open_teacher(params, settings)
        taught = teacher_seeds(passages, teacher, splits) if teacher else iter(())
        candidates = _chained(taught, rule_seeds(sampled, splits, seed=params.examples.seed))
        asked = {normalized_question(seed.question) for seed in seeds}
        candidates = verdicts.applied(candidates, left_out)
        grown += _grow_new(candidates, raft, asked, held_out, params.examples.num_synthetic, left_out)
        if teacher:
            left_out["teacher: the answer is not in the passage"] += teacher.num_refused
    examples = [example for _, example in grown]
    examples += _without_support(grown, raft, params)
    examples += chat_examples(
        [Path(path) for path in params.examples.chats],
        splits,
        held_out,
        left_out,
        corpus=release.corpus,
        max_tokens=params.fine_tuning.max_length,
        count_tokens=partial(example_tokens, generator=generator),
    )
    count = _share(len(examples), params.examples.replay_fraction)
    home = settings.home.resolve()
    examples += replay_examples(count, generator, splits, home, corpus=release.corpus)
    return list({example.example_id: example for example in examples}.values()), left_out


Grown = tuple[Seed, Example]


def _chained(*parts: Iterable[Seed]) -> Iterable[Seed]:
    for part in parts:
        yield from part


def _refuse_contamination(seeds: Iterable[Seed], held_out: HeldOutQuestions) -> None:
    """Return a person wrote these questions: one that evaluation asks must be taken out by a person too."""
    for seed in seeds:
        collision = held_out.collision(seed.question)
        if collision:
            raise GateError(
                f"no question of the training set may be a golden question of validation or test, found {seed.origin} "
                f"{seed.how} ({seed.question!r}), which is {collision.golden} with similarity "
                f"{collision.similarity:.2f}; give both one split, remove one, or delete the rating of that trace"
            )


def _grow(seeds: Iterable[Seed], raft: Raft, left_out: Counter[str]) -> list[Grown]:
    grown = []
    for seed in seeds:
        example = raft.with_support(seed)
        if example is None:
            left_out[f"{seed.origin}: the answer is lost when passages are cut to generation.max_passage_tokens"] += 1
        else:
            grown.append((seed, example))
    return grown


def _grow_new(
    seeds: Iterable[Seed],
    raft: Raft,
    asked: set[str],
    held_out: HeldOutQuestions,
    count: int,
    left_out: Counter[str],
) -> list[Grown]:
    """Return `count` examples of synthetic questions, none twice; what evaluation asks is left out and counted."""
    grown: list[Grown] = []
    for seed in seeds:
        if len(grown) == count:
            break
        words = normalized_question(seed.question)
        if words in asked:
            continue
        asked.add(words)
        if held_out.collision(seed.question):
            left_out[f"{seed.origin}: is a golden question of validation or test"] += 1
            continue
        grown += _grow([seed], raft, left_out)
    logger.info("%d of %d synthetic examples", len(grown), count)
    return grown


def _without_support(grown: Sequence[Grown], raft: Raft, params: Params) -> list[Example]:
    """Return twins whose support is left out, until the share of unanswerable examples holds (replay not counted).

    A twin asks the same over other passages, so that what decides is the passages and not the question.
    """
    num_unanswerable = sum(not example.answerable for _, example in grown)
    fraction = params.examples.unanswerable_fraction
    num_wanted = _share(len(grown) - num_unanswerable, fraction) - num_unanswerable
    answerable = [seed for seed, example in grown if example.answerable]
    answerable.sort(key=lambda seed: hashed_share("unanswerable", str(params.examples.seed), seed.question))
    twins: list[Example] = []
    for seed in answerable:
        if len(twins) >= num_wanted:
            break
        twin = raft.without_support(seed)
        if twin is not None:
            twins.append(twin)
    return twins


def _share(count: int, fraction: float) -> int:
    """Return how many must be added to `count` so that they are this fraction of all; as many again at most."""
    return count if fraction >= 0.5 else round(count * fraction / (1 - fraction))


# --- what is written ---


def _check(gated: GatedExamples, release: ReleaseData, held_out: HeldOutQuestions) -> None:
    """Check before anything is written: the gate, the questions of evaluation, and who may read what by now."""
    if gated.report.stopped:
        raise GateError(f"the example gate stopped: {'; '.join(gated.report.reasons)}")
    for example in gated.accepted:
        collision = held_out.collision(example.question)
        if collision and example.origin != "replay":
            raise GateError(
                f"no example may ask a golden question of validation or test, found {example.example_id} "
                f"({example.question!r}), which is {collision.golden}; take it out"
            )
    if not release.still_readable(_document_ids(gated.accepted)):
        raise GateError(
            f"every document of an example must be readable for {release.audience}, found one that was restricted "
            "while the examples were made; run again"
        )


def _document_ids(examples: Iterable[Example]) -> tuple[str, ...]:
    """Return the documents of the corpus: what a chat brings with it is of none."""
    ids = {document for example in examples for document in example.document_ids if example.origin != "chat"}
    return tuple(sorted(ids))


def _write_report(gated: GatedExamples, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    listed = [(example.example_id, rule, reason) for example, rule, reason in gated.quarantined]
    write_text(folder / "gate.html", to_html(gated.report, listed, EXAMPLES))
    write_text(folder / "gate.md", to_markdown(gated.report, EXAMPLES))
    lines = [
        json.dumps(asdict(example) | {"rule": rule, "reason": reason}, ensure_ascii=False, sort_keys=True)
        for example, rule, reason in gated.quarantined
    ]
    write_text(folder / "quarantine.jsonl", "".join(f"{line}\n" for line in lines))


def _write(
    gated: GatedExamples, release: ReleaseData, params: Params, left_out: Mapping[str, int], output: Path
) -> TrainingSet:
    examples = sorted(gated.accepted, key=lambda example: example.example_id)
    write_examples(examples, output / FILE)
    built = TrainingSet(
        path=output / FILE,
        num_train=sum(example.split == "train" for example in examples),
        num_validation=sum(example.split == "validation" for example in examples),
        num_unanswerable=sum(example.answer == NOT_FOUND for example in examples),
        origins=dict(sorted(Counter(example.origin for example in examples).items())),
        quarantined=gated.report.num_quarantined,
        corpus=release.corpus,
        sha256=sha256_of_file(output / FILE),
        document_ids=_document_ids(examples),
        left_out=dict(sorted((reason, count) for reason, count in left_out.items() if count)),
        params_digest=digest(params.examples),
    )
    write_manifest(built, gated.report)
    return built

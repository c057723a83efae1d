"""RAFT on SQuAD: train on its train articles, ask its test articles with the supporting passage given.

    python -m benchmarks.squad make  --folder var/squad --synthetic 300
    python -m benchmarks.squad train --folder var/squad --set num_train_epochs=1
    python -m benchmarks.squad test  --folder var/squad

`make` writes params.yaml (a `records` source over the corpus), golden.jsonl and examples.jsonl: `ALMANAC_PARAMS` set to
the first, `almanac refresh` and `almanac compare` run on the same articles. `train` makes FOLDER/answerer; every choice
is made on the validation articles (`validate` asks those). `test` asks each test question twice, with its passage among
two near distractors in shuffled order and with the passage taken out, and prints Markdown: base and trained answerer on
the same prompt. Answers are kept in FOLDER, so a run that was stopped goes on.
"""

import argparse
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from benchmarks.data import bench_file
from benchmarks.squad.data import golden_questions, load_data, write_params
from benchmarks.squad.examples import make_examples, oracle_examples
from benchmarks.squad.train import train_answerer, with_fine_tuning
from tasks.answer.answer import GenerationRequest, finish, is_refusal
from tasks.answer.answerer import Answerer, load_answerer, trainable_base
from tasks.answer.draft import cited_numbers
from tasks.answer.generators.base import Generation
from tasks.answer.generators.transformers import TransformersGenerator, load_base
from tasks.bootstrap import paired_difference
from tasks.errors import ConfigurationError
from tasks.files import whole_file
from tasks.model.evaluation.metrics import contains, exact_match, token_f1
from tasks.model.evaluation.probe_sets import GENERAL_QUESTIONS, GENERAL_TEXTS
from tasks.model.examples.example import Example, write_examples
from tasks.model.examples.tokens import TRAINED_PROMPT, messages_of
from tasks.params import Params, load_params
from tasks.settings import Settings, quiet_environment

PROJECT = Path(__file__).parents[2]
BATCH = 8
NUM_TEXTS = 20
OTHER_SETS = ("scifact/corpus.jsonl", "weekly_prometheus/week_00.jsonl")


@dataclass(frozen=True, slots=True)
class Written:
    """What one answerer wrote for one example.

    Attributes:
        cited: numbers of the passages that the draft's markers name; `checked` those left after the citation check.
        refused: whether the draft declines; `abstained` whether a user would read an abstention.
    """

    example_id: str
    draft: str
    refused: bool
    cited: tuple[int, ...]
    checked: tuple[int, ...]
    abstained: bool


def main() -> None:
    """Run one of the steps."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("step", choices=["make", "train", "validate", "test"])
    parser.add_argument("--folder", type=Path, default=Path("var") / "squad")
    parser.add_argument("--synthetic", type=int, default=0, help="contexts of synthetic questions that are added")
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE", help="fine_tuning parameters")
    parser.add_argument("--name", default="answerer", help="folder of the trained answerer below --folder")
    arguments = parser.parse_args()
    quiet_environment()
    settings = Settings(home=arguments.folder / "home")
    if arguments.step == "make":
        make(arguments.folder, settings, arguments.synthetic)
        return
    params = with_fine_tuning(load_params(arguments.folder / "params.yaml"), arguments.set)
    if arguments.step == "train":
        train_answerer(
            arguments.folder / "examples.jsonl",
            arguments.folder / arguments.name,
            params,
            settings,
            benchmark="squad",
        )
        return
    split = "validation" if arguments.step == "validate" else "test"
    for line in report(arguments.folder, arguments.name, split, params, settings):
        print(line, flush=True)


def make(folder: Path, settings: Settings, num_synthetic: int) -> None:
    """Write params.yaml, golden.jsonl and examples.jsonl."""
    corpus = bench_file("squad/corpus.jsonl")
    if corpus is None:
        raise ConfigurationError("the benchmark needs squad/corpus.jsonl, found none; set ALMANAC_BENCH_DIR")
    folder.mkdir(parents=True, exist_ok=True)
    golden = folder.resolve() / "golden.jsonl"
    write_params(PROJECT / "params.yaml", folder / "params.yaml", golden=str(golden), corpus=corpus)
    params = load_params(folder / "params.yaml")
    base = load_base(params.generation, settings)
    data = load_data(params, settings, base.count_tokens, params.generation.max_passage_tokens)
    with whole_file(golden) as beside:
        lines = [json.dumps(asdict(question), ensure_ascii=False) for question in golden_questions(data)]
        beside.write_text("\n".join(lines) + "\n", encoding="utf-8")
    examples = make_examples(
        data, base, num_synthetic=num_synthetic, max_passage_tokens=params.generation.max_passage_tokens
    )
    write_examples(examples, folder / "examples.jsonl")


def report(folder: Path, name: str, split: str, params: Params, settings: Settings) -> Iterator[str]:
    """Lines of Markdown: answers with intervals, then forgetting."""
    generation = params.generation.model_copy(update={"prompt": TRAINED_PROMPT, "answerer": "model"})
    base = load_base(params.generation, settings)
    data = load_data(params, settings, base.count_tokens, generation.max_passage_tokens)
    pairs = oracle_examples(data, split)
    answerers = {
        "base": trainable_base(generation, settings),
        name: load_answerer(folder / name, generation, settings, version=name),
    }
    written = {
        arm: [
            write_all(answerer, examples, folder / f"{split}-{arm}-{kind}-{_digest(answerer)}.jsonl")
            for kind, examples in zip(("oracle", "removed"), zip(*pairs, strict=True), strict=True)
        ]
        for arm, answerer in answerers.items()
    }
    golds = [example for example, _ in pairs]
    yield f"{len(golds)} questions of split {split}"
    yield from _table(golds, written)
    yield from _forgetting(answerers)


def write_all(answerer: Answerer, examples: Sequence[Example], path: Path) -> list[Written]:
    """What an answerer writes for the examples; those that stand in `path` are not asked again."""
    known = _read(path)
    todo = [example for example in examples if example.example_id not in known]
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as stream:
        for start in range(0, len(todo), BATCH):
            batch = todo[start : start + BATCH]
            made = answerer.generator.generate_many(
                [messages_of(example) for example in batch], max_new_tokens=answerer.params.max_new_tokens
            )
            for example, generation in zip(batch, made, strict=True):
                record = _written(answerer, example, generation)
                stream.write(json.dumps(asdict(record), ensure_ascii=False) + "\n")
                known[example.example_id] = record
            stream.flush()
    return [known[example.example_id] for example in examples]


def _read(path: Path) -> dict[str, Written]:
    if not path.exists():
        return {}
    records = (json.loads(line) for line in path.read_text(encoding="utf-8").splitlines())
    return {
        record["example_id"]: Written(**record | {"cited": tuple(record["cited"]), "checked": tuple(record["checked"])})
        for record in records
    }


def _written(answerer: Answerer, example: Example, generation: Generation) -> Written:
    passages = tuple(passage.as_passage() for passage in example.passages)
    asked = GenerationRequest(example.question, messages_of(example), passages, passages, answerer.params)
    answer = finish(asked, generation)
    return Written(
        example.example_id,
        generation.text,
        is_refusal(generation.text),
        tuple(number for number in cited_numbers(generation.text) if number <= len(passages)),
        tuple(dict.fromkeys(citation.marker for citation in answer.citations)),
        answer.abstained,
    )


def _table(golds: Sequence[Example], written: dict[str, list[list[Written]]]) -> Iterator[str]:
    references = [example.answer.rpartition(" [")[0] for example in golds]
    places = [example.support[0] for example in golds]
    values = {arm: _values(references, places, *kinds) for arm, kinds in written.items()}
    base, trained = values.values()
    yield "| metric | base | trained | difference, 95 % interval |"
    yield "|---|---|---|---|"
    for metric in base:
        difference = paired_difference(trained[metric], base[metric], confidence=0.95, num_resamples=10000, seed=1)
        interval = f"{difference.mean * 100:+.1f} [{difference.low * 100:+.1f}, {difference.high * 100:+.1f}]"
        yield f"| {metric} | {np.mean(base[metric]) * 100:.1f} | {np.mean(trained[metric]) * 100:.1f} | {interval} |"
    yield ""
    yield "| citations of answered questions, passages shuffled | base | trained |"
    yield "|---|---|---|"
    for label, share in (("markers as written", "cited"), ("after the citation check", "checked")):
        cells = [_citation_share(kinds[0], places, share) for kinds in written.values()]
        yield f"| {label} | {' | '.join(cells)} |"
    first = [
        [place == 1 for place, one in zip(places, kinds[0], strict=True) if not one.refused]
        for kinds in written.values()
    ]
    yield f"| always [1] | {' | '.join(f'{100 * np.mean(arm):.1f}' if arm else '-' for arm in first)} |"
    yield ""


def _values(
    references: Sequence[str], places: Sequence[int], oracle: Sequence[Written], removed: Sequence[Written]
) -> dict[str, list[float]]:
    scored = list(zip(references, oracle, strict=True))
    return {
        "contains": [contains(one.draft, wanted) for wanted, one in scored],
        "token F1": [token_f1(one.draft, wanted) for wanted, one in scored],
        "exact match": [exact_match(one.draft, wanted) for wanted, one in scored],
        "false refusals": [float(one.refused) for one in oracle],
        "refusals where the passage is taken out": [float(one.refused) for one in removed],
        "false abstentions as served": [float(one.abstained) for one in oracle],
        "abstentions as served where the passage is taken out": [float(one.abstained) for one in removed],
        "cites the passage (of all)": [float(place in one.cited) for place, one in zip(places, oracle, strict=True)],
    }


def _citation_share(oracle: Sequence[Written], places: Sequence[int], field: str) -> str:
    """Share of answered questions whose citations are the supporting passage and no other."""
    answered = [
        getattr(one, field) == (place,)
        for one, place in zip(oracle, places, strict=True)
        if not (one.refused if field == "cited" else one.abstained)
    ]
    return f"{100 * np.mean(answered):.1f} (n = {len(answered)})" if answered else "- (n = 0)"


def _forgetting(answerers: dict[str, Answerer]) -> Iterator[str]:
    yield "| outside of the domain | base | trained | change |"
    yield "|---|---|---|---|"
    for name, texts in _texts().items():
        base, trained = (_perplexity(answerer, texts) for answerer in answerers.values())
        yield f"| perplexity, {name} | {base:.2f} | {trained:.2f} | {100 * (trained / base - 1):+.1f} % |"
    right = [_num_right(answerer) for answerer in answerers.values()]
    yield f"| general questions of {len(GENERAL_QUESTIONS)} | {right[0]} | {right[1]} | {right[1] - right[0]:+d} |"


def _texts() -> dict[str, list[str]]:
    """Texts by where they come from: our own prose, abstracts, documentation."""
    texts = {"everyday prose": list(GENERAL_TEXTS)}
    for name in OTHER_SETS:
        path = bench_file(name)
        if path is not None:
            lines = path.read_text(encoding="utf-8").splitlines()
            chosen = [json.loads(line)["text"] for line in lines[:: max(1, len(lines) // NUM_TEXTS)]]
            texts[name.partition("/")[0]] = [text[:1500] for text in chosen if len(text) > 300][:NUM_TEXTS]
    return texts


def _perplexity(answerer: Answerer, texts: Sequence[str]) -> float:
    import torch

    generator = _network(answerer)
    total, count = 0.0, 0
    for text in texts:
        ids = generator.tokenizer(text, add_special_tokens=False, return_tensors="pt")["input_ids"]
        with torch.inference_mode():
            log_probs = generator.model(input_ids=ids.to(generator.model.device)).logits[0, :-1].float().log_softmax(-1)
        total -= float(log_probs.gather(-1, ids[0, 1:, None].to(log_probs.device)).sum())
        count += ids.shape[1] - 1
    return math.exp(total / count)


def _num_right(answerer: Answerer) -> int:
    generator = replace(_network(answerer), refusal_bias=0.0)
    chats = [[{"role": "user", "content": question}] for question, _ in GENERAL_QUESTIONS]
    written = [made.text for made in generator.generate_many(chats, max_new_tokens=24)]
    return sum(
        any(contains(text, answer) for answer in answers)
        for text, (_, answers) in zip(written, GENERAL_QUESTIONS, strict=True)
    )


def _network(answerer: Answerer) -> TransformersGenerator:
    if not isinstance(answerer.generator, TransformersGenerator):
        raise ConfigurationError("the benchmark reads probabilities, generation.endpoint must be null; set it")
    return answerer.generator


def _digest(answerer: Answerer) -> str:
    return "".join(sign for sign in answerer.identity if sign.isalnum())[-12:]


if __name__ == "__main__":
    main()

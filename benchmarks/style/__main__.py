"""A house style by fine-tuning, beside the same style in the system prompt: form, facts, citations and abstentions.

    python -m benchmarks.style --folder var/style [--max-steps 80] [--larger FOLDER/FILE.gguf --larger-questions 24]

Trains a LoRA of the project's model on 200 examples of `world` (40 of them unanswerable), puts 64 questions about other
documents, and 24 that no passage answers, to each arm, and prints Markdown. What was written is kept in FOLDER, so a
run that was stopped goes on. The score's classifier sees the 160 taught answers and the base's to the same questions.
"""

import argparse
import json
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.style.world import EXAMPLES, RULES, SYSTEM, UNTAUGHT, Asked, held_out, taught
from tasks.answer.answer import GenerationRequest, finish
from tasks.answer.answerer import Answerer, base_answerer, load_answerer, trainable_base, write_manifest
from tasks.answer.generators.transformers import load_base
from tasks.answer.prompt import load_prompt, render
from tasks.model.evaluation.drafts import Drafts
from tasks.model.evaluation.house_style import HouseStyle, open_style
from tasks.model.evaluation.metrics import Ratio, contains, difference_of, interval_of
from tasks.model.evaluation.questions import machine_clock
from tasks.model.examples.chats import chat_examples
from tasks.model.examples.contamination import HeldOutQuestions
from tasks.model.examples.example import write_examples
from tasks.model.examples.replay import replay_examples
from tasks.model.examples.splits import Splits
from tasks.model.examples.tokens import TRAINED_PROMPT, example_tokens
from tasks.model.style.rules import held_rules, rule_names
from tasks.model.training.train import answerer_manifest, train
from tasks.params import Params, load_params
from tasks.params.style import StyleParams
from tasks.settings import Settings, quiet_environment

PROJECT = Path(__file__).parents[2]
NUM_TAUGHT, NUM_TAUGHT_UNANSWERABLE = 160, 40
NUM_ASKED, NUM_ASKED_UNANSWERABLE = 64, 24
NUM_REPLAY = 24
CONFIDENCE, NUM_RESAMPLES = 0.95, 10_000
Parts = Mapping[str, Mapping[str, Ratio]]


@dataclass(frozen=True, slots=True)
class Arm:
    """An answerer, and the system message that it is asked by; empty: that of the trained prompt."""

    name: str
    answerer: Answerer
    system: str = ""


def main() -> None:
    """Train, ask, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("var") / "style")
    parser.add_argument("--max-steps", type=int, default=80)
    parser.add_argument("--larger", type=Path, help="a GGUF file, asked with the style in the system prompt alone")
    parser.add_argument("--larger-questions", type=int, default=24)
    arguments = parser.parse_args()
    quiet_environment()
    settings = Settings(home=arguments.folder / "home")
    params = make(arguments.folder, settings, arguments.max_steps)
    questions = held_out(NUM_ASKED, NUM_ASKED_UNANSWERABLE)
    folder = train_answerer(arguments.folder, params, settings)
    style = open_style(params, settings)
    print("\n".join(style.notes()), flush=True)
    base = trainable_base(params.generation, settings)
    arms = [
        Arm("base", base),
        Arm("base, style in the system prompt", base, SYSTEM),
        Arm("base, style and 2 examples in it", base, SYSTEM + EXAMPLES),
        Arm("tuned", load_answerer(folder, params.generation, settings, version="tuned")),
    ]
    measured = {arm.name: parts(arm, questions, style, settings) for arm in arms}
    if arguments.larger:
        larger = Arm("larger, style in the system prompt", _larger(arguments.larger, params, settings), SYSTEM)
        few = questions[:: max(1, len(questions) // arguments.larger_questions)]
        measured[larger.name] = parts(larger, few, style, settings)
    print("\n".join([*table(measured), "", *differences(measured)]), flush=True)


def make(folder: Path, settings: Settings, max_steps: int) -> Params:
    """Write the house's answers as chats, and the training set that they and the replay make; return the parameters."""
    params = load_params(PROJECT / "params.yaml")
    house = folder / "house.jsonl"
    tuning = {"max_steps": max_steps, "save_steps": 20, "eval_steps": 20, "max_validation_examples": 24}
    params = params.model_copy(
        update={
            "generation": params.generation.model_copy(update={"answerer": "model", "prompt": TRAINED_PROMPT}),
            "fine_tuning": params.fine_tuning.model_copy(update=tuning),
            "style": StyleParams(examples=(str(house),), rules=RULES),
        }
    )
    if not house.exists():
        folder.mkdir(parents=True, exist_ok=True)
        house.write_text("\n".join(map(_chat, taught(NUM_TAUGHT, NUM_TAUGHT_UNANSWERABLE))), encoding="utf-8")
        base = load_base(params.generation, settings)
        splits = Splits({}, frozenset(), frozenset(), params.examples.validation_fraction)
        left_out: Counter[str] = Counter()
        examples = chat_examples(
            [house],
            splits,
            HeldOutQuestions([]),
            left_out,
            corpus="harbours",
            max_tokens=params.fine_tuning.max_length,
            count_tokens=lambda example: example_tokens(example, base),
        )
        replay = replay_examples(NUM_REPLAY, base, splits, settings.home, corpus="harbours")
        write_examples([*examples, *replay], folder / "examples.jsonl")
        print(f"{len(examples)} examples, left out: {dict(left_out)}", flush=True)
    return params


def _chat(asked: Asked) -> str:
    messages = [{"role": "user", "content": asked.question}, {"role": "assistant", "content": asked.house}]
    passages = [{"title": passage.title, "text": passage.text} for passage in asked.passages]
    return json.dumps({"messages": messages, "passages": passages, "topic": asked.kind}, ensure_ascii=False)


def train_answerer(folder: Path, params: Params, settings: Settings) -> Path:
    """Train, or take what was trained, and make the folder an answerer."""
    output = folder / f"tuned-{params.fine_tuning.max_steps}"
    if not (output / "answerer.json").exists():
        lineage = {"benchmark": "style"}
        result = train(folder / "examples.jsonl", output, params, settings, lineage=lineage)
        write_manifest(output, answerer_manifest(result, params, settings, lineage=lineage))
        print(
            f"trained: {result.steps} steps, best {result.best_step}, {result.seconds:.0f} s, "
            f"{result.cpu_seconds:.0f} CPU s; validation loss {result.validation_loss}; {result.calibration}",
            flush=True,
        )
    return output


def _larger(path: Path, params: Params, settings: Settings) -> Answerer:
    generation = {"model": str(path.parent), "gguf_file": path.name, "engine": "llama.cpp"}
    return base_answerer(params.generation.model_copy(update=generation), settings)


def parts(arm: Arm, questions: Sequence[Asked], style: HouseStyle, settings: Settings) -> Parts:
    """Return the metrics of an arm question by question."""
    drafts = Drafts.open(settings.layout.cache / "arms", arm.answerer.identity)
    chats = [_messages(arm, asked) for asked in questions]
    tokens, began = arm.answerer.params.max_new_tokens, time.process_time()
    waiting = [chat for chat in chats if drafts.get(chat, tokens) is None]
    for start in range(0, len(waiting), 8):
        drafts.write(waiting[start : start + 8], tokens, arm.answerer.generator, machine_clock)
    print(f"{arm.name}: {len(waiting)} asked, {time.process_time() - began:.0f} CPU s", flush=True)
    measured: dict[str, dict[str, Ratio]] = {}
    for asked, chat in zip(questions, chats, strict=True):
        draft = drafts.get(chat, tokens)
        assert draft is not None
        answer = finish(
            GenerationRequest(asked.question, chat, asked.passages, asked.passages, arm.answerer.params),
            draft.generation,
        )
        cited = {citation.marker for citation in answer.citations}
        for name, value, counts in _values(asked, answer.text, cited, style, abstained=answer.abstained):
            measured.setdefault(name, {})[asked.question] = Ratio(value if counts else 0.0, float(counts))
    return measured


def _messages(arm: Arm, asked: Asked) -> list[dict[str, str]]:
    prompt = load_prompt(TRAINED_PROMPT)
    return render(replace(prompt, system=arm.system or prompt.system), asked.question, asked.passages)


def _values(
    asked: Asked, text: str, cited: set[int], style: HouseStyle, *, abstained: bool
) -> Iterator[tuple[str, float, bool]]:
    """Metric, value, and whether the question counts for it."""
    ((score, share),) = style.score([text])
    answered, is_answerable = not abstained, bool(asked.support)
    yield "style", score or 0.0, answered
    yield "style, of it kinds of fact never taught", score or 0.0, answered and asked.kind in UNTAUGHT
    yield "style_rules", share or 0.0, answered
    held = held_rules(text, RULES)
    for rule in rule_names(RULES):
        yield f"rule {rule}", float(held[rule]), answered
    yield "holds the fact, of all answerable", float(answered and contains(text, asked.fact)), is_answerable
    precision = len(cited & {asked.support}) / max(len(cited), 1)
    yield "citation precision, of answers to answerable", precision, answered and is_answerable
    yield "answered, of answerable", float(answered), is_answerable
    yield "abstained, of unanswerable", float(abstained), not is_answerable
    yield "words", float(len(text.split())), answered


def table(measured: Mapping[str, Parts]) -> Iterator[str]:
    """Lines of a table, one metric a line, one arm a column."""
    yield f"| | {' | '.join(measured)} |"
    yield f"|---{'|---' * len(measured)}|"
    for name in next(iter(measured.values())):
        cells = []
        for arm in measured.values():
            value = interval_of(list(arm[name].values()), confidence=CONFIDENCE, num_resamples=NUM_RESAMPLES)
            cells.append("-" if value is None else f"{value.mean:.3f} [{value.low:.3f}, {value.high:.3f}]")
        yield f"| {name} | {' | '.join(cells)} |"


def differences(measured: Mapping[str, Parts]) -> Iterator[str]:
    """Lines of the paired differences of the other arms from the first one."""
    first, *others = measured
    for name in filter(lambda name: not name.startswith("rule "), measured[first]):
        for other in others:
            change = difference_of(
                measured[other][name], measured[first][name], confidence=CONFIDENCE, num_resamples=NUM_RESAMPLES
            )
            if change is not None:
                yield f"- {name}, {other} - {first}: {change.mean:+.3f} [{change.low:+.3f}, {change.high:+.3f}]"


if __name__ == "__main__":
    main()

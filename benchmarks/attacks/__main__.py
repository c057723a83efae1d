"""How many attacks reach a reader, by kind, answerer and defence.

    python -m benchmarks.attacks                          # the excerpt, the stub that obeys everything
    python -m benchmarks.attacks --model                  # also the model of 135 million parameters
    python -m benchmarks.attacks --gguf FILE --each 2     # also a GGUF model, two attacks of each kind

Each defence stands for all before it as well. A model's answers are taken with no defence and with all.
"""

import argparse
import tempfile
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.attacks.answering import obedient, succeeds
from benchmarks.attacks.attack import Attack
from benchmarks.attacks.kinds import ATTACKS
from benchmarks.attacks.kinds.training import RATINGS, taught
from benchmarks.attacks.world import DEFENCES, World, build
from tasks.answer.answerer import Answerer, base_answerer, excerpt_answerer
from tasks.settings import Settings, quiet_environment

STEPS = tuple(DEFENCES[:count] for count in range(len(DEFENCES) + 1))
ENDS = (STEPS[0], STEPS[-1])

Answering = Callable[[Attack, World], Answerer]


@dataclass(frozen=True, slots=True)
class Worlds:
    """The home that is read with every defence, and the one that is read with none."""

    safe: World
    open: World

    def of(self, defences: Sequence[str]) -> World:
        """Return the home for a set of defences."""
        return self.safe if "reading" in defences else self.open


def main() -> None:
    """Print a table for each answerer, and what reached the reader in spite of all defences."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", action="store_true", help="ask `generation.model` too")
    parser.add_argument("--gguf", type=Path, help="ask this model too")
    parser.add_argument("--each", type=int, help="for models: so many attacks of each kind")
    options = parser.parse_args()
    quiet_environment()
    with tempfile.TemporaryDirectory() as folder:
        worlds = _worlds(Path(folder))
        print_table("excerpt", ATTACKS, worlds, lambda _, world: excerpt_answerer(world.params.generation), STEPS)
        print_table("a stub that obeys all it reads", ATTACKS, worlds, _stub, STEPS)
        print_ratings(worlds.safe)
        some = first_of_each(options.each)
        if options.model:
            own = worlds.safe.params.generation
            base = base_answerer(own, worlds.safe.settings)
            print_table(own.model, some, worlds, lambda *_: base, ENDS)
        if options.gguf:
            model = _gguf(options.gguf, worlds.safe)
            print_table(options.gguf.name, some, worlds, lambda *_: model, ENDS)


def _worlds(folder: Path) -> Worlds:
    for name in ("safe", "open"):
        (folder / name).mkdir()
    safe = build(folder / "safe", ATTACKS, reads_safely=True, changes={})
    return Worlds(safe, build(folder / "open", ATTACKS, reads_safely=False, changes={}))


def _stub(attack: Attack, world: World) -> Answerer:
    return obedient(attack, world.params.generation)


def _gguf(path: Path, world: World) -> Answerer:
    changes = {"model": str(path.parent), "gguf_file": path.name, "engine": "llama.cpp", "prompt": "full-answer"}
    sizes = {"num_passages": 4, "max_passage_tokens": 300, "max_new_tokens": 150}
    return base_answerer(world.params.generation.model_copy(update=changes | sizes), Settings(home=world.settings.home))


def first_of_each(count: int | None) -> tuple[Attack, ...]:
    """Return the first attacks of each kind."""
    by_kind: dict[str, list[Attack]] = defaultdict(list)
    for attack in ATTACKS:
        by_kind[attack.kind].append(attack)
    return tuple(attack for kind in by_kind.values() for attack in kind[:count])


def print_table(
    name: str, attacks: Sequence[Attack], worlds: Worlds, answering: Answering, steps: Sequence[Sequence[str]]
) -> None:
    """Print the number of successes of each kind, for each step of defences."""
    reached: dict[tuple[str, int], int] = defaultdict(int)
    totals: dict[str, int] = defaultdict(int)
    left: list[str] = []
    for attack in attacks:
        totals[attack.kind] += 1
        for number, defences in enumerate(steps):
            world = worlds.of(defences)
            success = succeeds(attack, world, answering(attack, world), defences)
            reached[attack.kind, number] += success
            if success and number == len(steps) - 1:
                left.append(attack.id)
    heads = ["none", *(f"+ {step[-1]}" for step in steps[1:])] if len(steps) > len(ENDS) else ["none", "all"]
    print(f"\n**{name}**\n\n| kind | attacks | {' | '.join(heads)} |\n|---|---|{'---|' * len(steps)}")
    for kind, total in totals.items():
        print(f"| {kind} | {total} | {' | '.join(str(reached[kind, number]) for number in range(len(steps)))} |")
    sums = [str(sum(reached[kind, number] for kind in totals)) for number in range(len(steps))]
    print(f"| all | {sum(totals.values())} | {' | '.join(sums)} |\n\nreached the reader: {'; '.join(left)}", flush=True)


def print_ratings(world: World) -> None:
    """Print which ratings would be learnt from."""
    print("\n**ratings**\n\n| rating | none | + support | + gate | review required |\n|---|---|---|---|---|")
    for rating in RATINGS:
        print(f"| {rating.id} | {' | '.join('learnt' if each else '' for each in taught(rating, world))} |")


if __name__ == "__main__":
    main()

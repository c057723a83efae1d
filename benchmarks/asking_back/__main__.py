"""Put our questions, and the golden ones, to what serves, and count those that are asked back.

`python -m benchmarks.asking_back [--golden 1]` over the live index of `ALMANAC_HOME`, the default corpus. The rules saw
the development half of `tests/answer/asking_back.txt` alone.
"""

import argparse
import time
from collections import Counter
from pathlib import Path

from tasks.answer.asking_back.clarify import ask_back
from tasks.index.golden import load_golden
from tasks.index.live import LiveIndex
from tasks.index.search import Request
from tasks.params import load_params
from tasks.settings import Settings

QUESTIONS = Path(__file__).parents[2] / "tests" / "answer" / "asking_back.txt"
NAMES = {"?": "ambiguous", "=": "clear"}


def main() -> None:
    """Print the counts, what was decided wrongly, and the milliseconds of a decision."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--golden", type=int, default=0, metavar="N", help="every Nth golden question in place of ours")
    every = parser.parse_args().golden
    settings = Settings()
    params = load_params(settings.params)
    index = LiveIndex(params, settings)
    asked: Counter[str] = Counter()
    total: Counter[str] = Counter()
    seconds = 0.0
    golden = [("golden", entry.question) for entry in load_golden(Path(params.evaluation.golden))]
    for kind, question in golden[::every] if every else labelled():
        passages = index.search(Request(question, groups=("everyone",)))
        started = time.process_time()
        clarifying = ask_back(question, passages)
        seconds += time.process_time() - started
        total[kind] += 1
        asked[kind] += clarifying is not None
        if (clarifying is not None) != kind.startswith("ambiguous"):
            print(f"{kind}: {question} {clarifying.text if clarifying else ''}", flush=True)
    for kind in total:
        print(f"{kind}: asked back {asked[kind]} of {total[kind]}")
    print(f"{1000 * seconds / total.total():.1f} CPU ms a decision")


def labelled() -> list[tuple[str, str]]:
    """Return our questions, each with its kind and half: odd ones of each kind are for development."""
    counts: Counter[str] = Counter()
    result = []
    for line in QUESTIONS.read_text(encoding="utf-8").splitlines():
        if line[:1] in NAMES:
            counts[line[0]] += 1
            half = "development" if counts[line[0]] % 2 else "held out"
            result.append((f"{NAMES[line[0]]}, {half}", line[2:]))
    return result


if __name__ == "__main__":
    main()

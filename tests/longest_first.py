"""The processes of `make test`, longest first: then no core waits for a long one that was started last.

To import what tests import takes seconds of a core, so files share a process where they can. A file with the mark
`slow` gets one of its own, since Prefect and servers keep state for the whole process and one file's would be
another's; those of a folder in `SHARING` leave none behind, and share one. The files without the mark share a few.

`tests/durations.txt` holds how long each took; `python -m tests.longest_first LOG` rewrites it from the output of
`make test`. A process stands there by its first file; one that does not is estimated by its size.
"""

import re
import sys
from pathlib import Path

TESTS = Path(__file__).parent
DURATIONS = TESTS / "durations.txt"
_SECONDS_PER_KILOBYTE = {True: 4.0, False: 0.2}
"""With the mark `slow` (a server, a model), and without."""
SHARING = ("tests/answer", "tests/corpus", "tests/index", "tests/world")
_NUM_FAST = 4


def processes() -> list[list[str]]:
    """Return the test files of each process, the longest process first."""
    files = sorted(TESTS.rglob("test_*.py"))
    estimated = {_name(path): _estimated(path) for path in files}
    slow = [name for name in estimated if _is_slow(name)]
    alone = [[name] for name in slow if _folder(name) not in SHARING]
    together = [[name for name in slow if _folder(name) == folder] for folder in SHARING]
    fast: list[list[str]] = [[] for _ in range(_NUM_FAST)]
    for name in sorted(estimated.keys() - set(slow), key=lambda name: (estimated[name], name), reverse=True):
        min(fast, key=lambda names: sum(map(estimated.__getitem__, names))).append(name)
    recorded = _recorded()

    def seconds(names: list[str]) -> float:
        return recorded.get(names[0], sum(map(estimated.__getitem__, names)))

    return sorted([*alone, *together, *fast], key=seconds, reverse=True)


def record(log: str) -> None:
    """Write the durations that pytest reported in the output of `make test`; processes not named there keep theirs."""
    line = r"^tests/\S+\.py(?: tests/\S+\.py)*$"
    entries = re.findall(rf"^(tests/\S+\.py)[^\n]*$(?:(?!{line}).)*? in ([\d.]+)s", log, flags=re.M | re.S)
    durations = _recorded() | {name: float(seconds) for name, seconds in entries}
    first = {names[0] for names in processes()}
    kept = {name: seconds for name, seconds in durations.items() if name in first and seconds >= 5}
    lines = (f"{seconds:.0f} {name}\n" for name, seconds in sorted(kept.items(), key=lambda entry: -entry[1]))
    DURATIONS.write_text("".join(lines), encoding="ascii")


def _recorded() -> dict[str, float]:
    if not DURATIONS.exists():
        return {}
    rows = (line.split(" ", 1) for line in DURATIONS.read_text(encoding="ascii").splitlines())
    return {name: float(seconds) for seconds, name in rows}


def _estimated(path: Path) -> float:
    text = path.read_text(encoding="utf-8")
    return len(text) / 1000 * _SECONDS_PER_KILOBYTE["mark.slow" in text]


def _is_slow(name: str) -> bool:
    return "mark.slow" in (TESTS.parent / name).read_text(encoding="utf-8")


def _folder(name: str) -> str:
    return name.rpartition("/")[0]


def _name(path: Path) -> str:
    return path.relative_to(TESTS.parent).as_posix()


if __name__ == "__main__":
    record(Path(sys.argv[1]).read_text(encoding="utf-8"))

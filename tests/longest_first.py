"""The test files, longest first: then no core waits for a long file that was started last.

`python -m tests.longest_first` prints them by `tests/durations.txt`; `python -m tests.longest_first LOG` rewrites that
file from the output of `make test`. A file that is not in it is estimated by its size.
"""

import re
import sys
from pathlib import Path

TESTS = Path(__file__).parent
DURATIONS = TESTS / "durations.txt"
_SECONDS_PER_KILOBYTE = {True: 4.0, False: 0.2}
"""With the mark `slow` (a server, a model), and without."""


def ordered() -> list[Path]:
    """Return the test files, the longest first."""
    recorded = _recorded()
    files = sorted(TESTS.rglob("test_*.py"))
    return sorted(files, key=lambda path: recorded.get(_name(path), _estimated(path)), reverse=True)


def record(log: str) -> None:
    """Write the durations that pytest reported in the output of `make test`; files not named there keep theirs."""
    entries = re.findall(r"^(tests/\S+\.py)$(?:(?!^tests/\S+\.py$).)*? in ([\d.]+)s", log, flags=re.M | re.S)
    durations = _recorded() | {name: float(seconds) for name, seconds in entries}
    kept = {name: seconds for name, seconds in durations.items() if (TESTS.parent / name).exists() and seconds >= 5}
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


def _name(path: Path) -> str:
    return path.relative_to(TESTS.parent).as_posix()


if __name__ == "__main__":
    if sys.argv[1:]:
        record(Path(sys.argv[1]).read_text(encoding="utf-8"))
    else:
        print("\n".join(map(_name, ordered())))

"""What the audit log costs each answer: `python -m tests.audit.cost`."""

import multiprocessing
import statistics
import tempfile
import time
from pathlib import Path

from tasks.audit.audit import Audit
from tasks.home import Home

NUM_RECORDS = 5_000
NUM_DOCUMENTS = 5
WARM_UP = 100


def main() -> None:
    """Time records of five documents by one writer and by four, and those that wait for the disk."""
    with tempfile.TemporaryDirectory() as folder:
        print(_row("shown, one writer", _times(Path(folder) / "one", NUM_RECORDS, durable=False)))
        with multiprocessing.Pool(4) as pool:
            parts = pool.starmap(_times_of, [(str(Path(folder) / "four"), NUM_RECORDS // 4)] * 4)
        print(_row("shown, four writers at once", [seconds for part in parts for seconds in part]))
        print(_row("promoted (waits for the disk)", _times(Path(folder) / "disk", 200, durable=True)))
        started = time.perf_counter()
        verdict = Audit(Home(Path(folder) / "four")).verify()
        seconds = time.perf_counter() - started
        assert not verdict.problems
        print(f"verify: {seconds / verdict.num_records * 1e6:.0f} us a record, {verdict.num_records} records")
        size = Audit(Home(Path(folder) / "one")).path.stat().st_size
        print(f"size: {size / NUM_RECORDS:.0f} bytes a record")


def _times_of(folder: str, number: int) -> list[float]:
    return _times(Path(folder), number, durable=False)


def _times(folder: Path, number: int, *, durable: bool) -> list[float]:
    log, seconds = Audit(Home(folder)), []
    for index in range(number):
        names = [f"handbook:guides/page-{(index + offset) % 1000}.md" for offset in range(NUM_DOCUMENTS)]
        started = time.perf_counter()
        if durable:
            log.done("promoted", documents=names)
        else:
            log.shown("0" * 32, names, release="12", answerer="3", trace="tr-" + "0" * 32)
        seconds.append(time.perf_counter() - started)
    return seconds[min(WARM_UP, number // 2) :]


def _row(name: str, seconds: list[float]) -> str:
    ordered = sorted(seconds)
    median, high = statistics.median(ordered) * 1e6, ordered[len(ordered) * 99 // 100] * 1e6
    return f"{name}: median {median:.0f} us, p99 {high:.0f} us"


if __name__ == "__main__":
    main()

"""Where the public benchmark sets lie: `ALMANAC_BENCH_DIR`, else `../shared/bench`; their texts are never copied."""

import os
from pathlib import Path


def bench_file(name: str) -> Path | None:
    """A file of the sets, None where it is not at hand."""
    folder = Path(os.environ.get("ALMANAC_BENCH_DIR", Path(__file__).parents[1] / ".." / "shared" / "bench"))
    path = folder.resolve() / name
    return path if path.exists() else None

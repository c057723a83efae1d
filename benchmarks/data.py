"""Where the public benchmark sets lie: `ALMANAC_BENCH_DIR`, else `../shared/bench`; their texts are never copied.

And the home of a benchmark that goes on where it was stopped.
"""

import os
from pathlib import Path

from tasks.settings import Settings, quiet_environment


def bench_file(name: str) -> Path | None:
    """A file of the sets, None where it is not at hand."""
    folder = Path(os.environ.get("ALMANAC_BENCH_DIR", Path(__file__).parents[1] / ".." / "shared" / "bench"))
    path = folder.resolve() / name
    return path if path.exists() else None


def home_in(folder: Path) -> Settings:
    """Return the settings of a home within a folder, under the folder's own `params.yaml`, for all of this process."""
    (folder / "home").mkdir(parents=True, exist_ok=True)
    os.environ |= {"ALMANAC_HOME": str(folder / "home"), "ALMANAC_PARAMS": str(folder / "params.yaml")}
    quiet_environment()
    return Settings()

"""Run one case's program with the project's functions in the place of those that it was written for."""

import runpy
import sys
import warnings
from pathlib import Path

from benchmarks.cases import functions


def main(program: Path) -> None:
    """Give the program its names, then run it as a script."""
    sys.dont_write_bytecode = True  # the cases' folder is not ours
    warnings.filterwarnings("ignore")
    sys.modules["_tool"] = functions
    _renew_moved_names()
    runpy.run_path(str(program), run_name="__main__")


def _renew_moved_names() -> None:
    """Names that the cases import from the project and that have moved since."""
    import tasks.corpus
    from tasks.answer import trace
    from tasks.corpus.gate import signals
    from tasks.settings import Settings

    tasks.corpus.signals = signals  # type: ignore[attr-defined]
    of_settings = trace._experiment_id
    trace._experiment_id = lambda _uri: of_settings(Settings())  # type: ignore[assignment]


if __name__ == "__main__":
    main(Path(sys.argv[1]))

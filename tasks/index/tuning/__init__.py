"""`almanac tune`: the search for better retrieval settings on the golden questions."""

from tasks.index.tuning.diff import params_diff
from tasks.index.tuning.tune import TuneResult, tune

__all__ = ["TuneResult", "params_diff", "tune"]

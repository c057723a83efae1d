"""A training of the benchmarks: progress on standard error, and a folder that answers."""

import json
import logging
import os
import resource
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml

from tasks.answer.answerer import write_manifest
from tasks.model.training.train import answerer_manifest, train
from tasks.model.training.trainer import TrainingProgress
from tasks.params import Params
from tasks.releases.tags import Tag
from tasks.settings import Settings


def train_answerer(
    examples: Path, output: Path, params: Params, settings: Settings, *, benchmark: str, corpus: str | None = None
) -> None:
    """Train `output` from its last checkpoint, if there is one; print the result, and what each process took at most.

    Under `accelerate launch` the first process writes the manifest and prints.

    Args:
        examples: training set.
        output: the answerer's folder.
        params: `fine_tuning`, `generation` and `examples` count.
        settings: device, threads.
        benchmark: whose answerer it is, for its lineage.
        corpus: tag of the snapshot that the examples are of, so that `compare` knows what changed since.
    """
    logging.basicConfig(format="%(message)s")
    logging.getLogger("tasks.model.training").setLevel(logging.INFO)
    rank = int(os.environ.get("RANK", "0"))

    def tell(progress: TrainingProgress) -> None:
        print(json.dumps(asdict(progress)), file=sys.stderr, flush=True)

    lineage = {"benchmark": benchmark} | ({Tag.CORPUS: corpus} if corpus else {})
    result = train(examples, output, params, settings, lineage=lineage, listener=tell)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps({"process": rank, "peak_kilobytes": peak}), file=sys.stderr, flush=True)
    if rank == 0:
        write_manifest(output, answerer_manifest(result, params, settings, lineage=lineage))
        print(json.dumps(asdict(result), default=str), flush=True)


def with_fine_tuning(params: Params, changes: Sequence[str]) -> Params:
    """Return the parameters with `NAME=VALUE` of `fine_tuning`; values are YAML."""
    values: dict[str, Any] = {name: yaml.safe_load(value) for name, _, value in (c.partition("=") for c in changes)}
    raw = params.model_dump()
    raw["fine_tuning"] |= values
    return Params.model_validate(raw)

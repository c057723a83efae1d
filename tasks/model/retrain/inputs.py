"""What a retrain works from, and the folder in which an equal one that was killed left its work."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from tasks.answer.answerer import BASE
from tasks.answer.generators.transformers import load_base
from tasks.corpus.document import sha256
from tasks.errors import ConfigurationError
from tasks.files import sha256_of_file, write_json
from tasks.index.embedding.champion import pinned
from tasks.index.live import serving
from tasks.model.examples.build import build_training_set
from tasks.model.examples.review.queue import verdicts_digest
from tasks.model.examples.training_set import TrainingSet, read_training_set
from tasks.model.knowledge_base import limited_to
from tasks.model.retrain.result import RetrainResult, read_result
from tasks.params import Params, digest, embedder_params, load_params
from tasks.params.fine_tuning import Method
from tasks.releases.kind import ANSWERER, ReleaseKind, answerer_of
from tasks.releases.lifecycle import champion
from tasks.releases.version import ReleaseVersion
from tasks.settings import Settings

OUTCOME = "outcome.json"


@dataclass(frozen=True, slots=True)
class RetrainInputs:
    """What the steps of one retrain share.

    Attributes:
        params: with the embedder that is promoted now: it is what a quarter tunes further.
        release: number of the index release that serves.
        folder: where an equal retrain that was killed left its work.
        kind: of what is trained: the general answerer, or a knowledge base's own.
        champion: what serves in its place now, of its own kind or the general one.
        tries_embedder: beside the answerer, or alone.
    """

    params: Params
    settings: Settings
    profile: str | None
    release: str
    champion: ReleaseVersion | None
    folder: Path
    tries_embedder: bool
    kind: ReleaseKind


def read_inputs(
    settings: Settings, profile: str | None, method: Method | None, knowledge_base: str | None = None
) -> RetrainInputs:
    """Find what serves, and the folder in which an equal retrain that was killed left its work.

    Raises:
        ConfigurationError: nothing was released, a file is absent, or an embedder is wanted of one knowledge base.
    """
    params = _with_method(load_params(settings.params, profile or settings.profile), method)
    params = params.model_copy(update={"embedding": pinned(params.embedding, settings)})
    params = limited_to(knowledge_base, params)
    _check_embedder(params)
    kind = answerer_of(params.knowledge_bases.only)
    release = str(serving(settings).release.number)
    folder = settings.layout.retrain / f"work-{_inputs_digest(params, release, verdicts_digest(settings.layout))}"
    tuning = params.embedder_tuning
    beside = method is None and tuning is not None and tuning.with_answerer and kind == ANSWERER
    tries_embedder = beside or params.fine_tuning.method == "embedder"
    serves = champion(settings, kind) or champion(settings, ANSWERER)
    return RetrainInputs(params, settings, profile, release, serves, folder, tries_embedder, kind)


def make_training_set(inputs: RetrainInputs) -> TrainingSet:
    """Build the training set; that of a retrain which was killed is taken up again."""
    folder = inputs.folder / "examples"
    if (folder / "manifest.json").exists() and not (inputs.folder / OUTCOME).exists():
        return read_training_set(folder)
    return build_training_set(inputs.params, inputs.settings, folder)


def earlier_result(key: str, inputs: RetrainInputs) -> RetrainResult | None:
    """Return what a finished retrain of this key found; None: there is none."""
    return read_result(_outcome(key, inputs))


def keep_result(result: RetrainResult, key: str, inputs: RetrainInputs) -> None:
    """Keep what a retrain found, so that the same one is not done twice; remove the work of other retrains."""
    write_json(_outcome(key, inputs), result.as_json())
    write_json(inputs.folder / OUTCOME, result.as_json())
    for path in inputs.folder.parent.glob("work-*"):
        if path != inputs.folder:
            shutil.rmtree(path)


def _outcome(key: str, inputs: RetrainInputs) -> Path:
    return inputs.folder.parent / "outcomes" / f"{key}.json"


def checked_method(method: str | None) -> Method | None:
    """Return a method by its name.

    Raises:
        ConfigurationError: there is no such method.
    """
    methods: dict[str, Method] = {name: name for name in get_args(Method)}
    if method is not None and method not in methods:
        raise ConfigurationError(f"a method must be one of {sorted(methods)}, found {method!r}; correct its spelling")
    return methods[method] if method else None


def _with_method(params: Params, method: Method | None) -> Params:
    """Return `params` with another training method."""
    if method is None:
        return params
    return params.model_copy(update={"fine_tuning": params.fine_tuning.model_copy(update={"method": method})})


def _check_embedder(params: Params) -> None:
    if params.knowledge_bases.only is not None and params.fine_tuning.method == "embedder":
        raise ConfigurationError(
            "an embedder must be of all knowledge bases, since one index holds them all; leave --knowledge-base out"
        )


def _inputs_digest(params: Params, release: str, verdicts: str) -> str:
    """Name the work of a retrain before its training set is known: equal, and a killed one is gone on with."""
    tuning = (params.fine_tuning, embedder_params(params).fine_tuning)
    blocks = (params.examples, params.example_gate, params.generation, *tuning, params.search, params.embedding)
    return sha256(
        release,
        verdicts,
        *_contents(params.examples.chats),
        params.evaluation.golden,
        _golden(params),
        *map(digest, blocks),
        *_own(params),
    )[:16]


def retrain_key(training_set: TrainingSet, inputs: RetrainInputs) -> str:
    """Name a retrain by everything that its outcome depends on: the same key has the same outcome."""
    params = inputs.params
    base = load_base(params.generation, inputs.settings)
    blocks = (params.fine_tuning, params.generation, params.evaluation, params.style, params.model_gate, params.search)
    return sha256(
        training_set.sha256,
        inputs.release,
        inputs.champion.run_id if inputs.champion else BASE,
        base.identity,
        params.examples.audience,
        *(map(digest, (embedder_params(params).fine_tuning, params.embedding)) if inputs.tries_embedder else ()),
        _golden(params),
        *_contents(params.style.examples),
        *map(digest, blocks),
        *_own(params),
    )[:16]


def _own(params: Params) -> tuple[str, ...]:
    """Return what tells the retrain of a knowledge base from that of all."""
    only = params.knowledge_bases.only
    return () if only is None else (only,)


def _contents(paths: Sequence[str]) -> list[str]:
    return [sha256_of_file(Path(path)) for path in paths if Path(path).is_file()]


def _golden(params: Params) -> str:
    path = Path(params.evaluation.golden)
    if not path.is_file():
        raise ConfigurationError(
            f"the held-out questions must be at {path}, found no file; set evaluation.golden to their path"
        )
    own = Path(params.evaluation.reviewed_golden or "")
    return sha256_of_file(path) + (sha256_of_file(own) if own.is_file() else "")

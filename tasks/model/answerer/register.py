"""Answerers in MLflow: a version of `almanac-answerer` for each that passed its gate, its aliases, and the way back.

The alias `champion` is the only truth of what serves: a person moves it in the MLflow UI. Without it the base model
serves. Plain files stand in the run (`answerer/`); MLflow's model loaders are not used. Knows MLflow only.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tasks.answer.answerer import BASE
from tasks.answer.registry import MODEL, AnswererVersion, answerer_files, answerer_versions
from tasks.errors import ConfigurationError
from tasks.model.training.run_log import log_files
from tasks.releases.model_registry import CHALLENGER, CHAMPION, ensure_model, mlflow_client, now
from tasks.settings import Settings

ARTIFACTS = "answerer"
KEY = "retrain"
METRIC = "metric."
"""Headline metrics are tags of a version, so that MLflow's list of versions shows them."""

_DESCRIPTION = (
    "Answerers. The alias `champion` serves; `challenger` passed its gate and waits for a person. "
    "Without a champion the base model serves."
)


def register(
    settings: Settings, *, key: str, run_id: str, folder: Path, tags: Mapping[str, str], description: str
) -> str:
    """Make an answerer that passed its gate a version and the challenger, once; return MLflow's version.

    Args:
        settings: where MLflow is.
        key: of the retrain; the same key is registered once, also after a kill at any line.
        run_id: the run that holds the files.
        folder: the answerer as `tasks.answer.answerer` describes it, with its card.
        tags: of the version: gate, corpus, training_set, base, method, `metric.*`.
        description: Markdown, what a person reads before promoting.

    Raises:
        CorruptionError: the logged files are not those of the manifest.
        DependencyError: MLflow does not answer.
    """
    known = version_with_key(settings, key)
    if known is None:
        log_files(settings, run_id, folder, ARTIFACTS)
        with mlflow_client(settings) as client:
            ensure_model(client, MODEL, _DESCRIPTION)
            made = client.create_model_version(
                MODEL,
                source=f"runs:/{run_id}/{ARTIFACTS}",
                run_id=run_id,
                tags={"gate": "passed", KEY: key, "created_at": now(), **tags},
                description=description,
            )
        known = AnswererVersion(str(made.version), run_id, (), dict(made.tags))
    answerer_files(settings, known)
    if "challenged" not in known.tags:
        challenge(settings, known.version)
    return known.version


def write_signature(folder: Path) -> None:
    """Describe what goes in and out, for MLflow's page; `MLmodel` names no flavor, so that no loader of MLflow runs."""
    from mlflow.models import Model, ModelSignature
    from mlflow.types import ColSpec, DataType, Schema
    from mlflow.types.schema import Array

    inputs = Schema([ColSpec(DataType.string, "question"), ColSpec(Array(DataType.string), "passages")])
    signature = ModelSignature(inputs=inputs, outputs=Schema([ColSpec(DataType.string, "answer")]))
    model: Any = Model(artifact_path=ARTIFACTS, signature=signature, model_uuid=None, utc_time_created="")
    model.save(str(folder / "MLmodel"))


def version_with_key(settings: Settings, key: str) -> AnswererVersion | None:
    """The version that the retrain with this key registered."""
    return next((entry for entry in answerer_versions(settings) if entry.tags.get(KEY) == key), None)


def challenge(settings: Settings, version: str) -> None:
    """Move the alias `challenger` to a version: passed its gate, waits for a person."""
    with mlflow_client(settings) as client:
        client.set_registered_model_alias(MODEL, CHALLENGER, version)
        client.set_model_version_tag(MODEL, version, "challenged", now())


def promote(settings: Settings, version: str) -> None:
    """Move the alias `champion` to a version; it is a challenger no longer.

    Raises:
        ConfigurationError: there is no such version, or it did not pass its gate.
        CorruptionError: its files are not those of its manifest.
    """
    entry = _required(answerer_versions(settings), version)
    if entry.tags.get("gate") != "passed":
        raise ConfigurationError(
            f"an answerer must have passed its gate to serve, version {version} has gate "
            f"{entry.tags.get('gate', 'unknown')!r}; promote another one"
        )
    answerer_files(settings, entry)
    with mlflow_client(settings) as client:
        # In this order: a version that served and is champion no more counts as taken back by a person.
        client.delete_model_version_tag(MODEL, version, "rolled_back")
        client.set_registered_model_alias(MODEL, CHAMPION, version)
        client.set_model_version_tag(MODEL, version, "served", now())
        if CHALLENGER in entry.aliases:
            client.delete_registered_model_alias(MODEL, CHALLENGER)


def roll_back_answerer(settings: Settings, version: str | None = None) -> dict[str, Any]:
    """Move the alias back to a version, by default to the newest one that served before, else to the base model.

    Args:
        settings: where MLflow is.
        version: MLflow's version, or `base`.

    Returns:
        `version` that serves now and the `abandoned` one.

    Raises:
        ConfigurationError: no answerer serves but the base, or there is no such version.
        CorruptionError: the target's files are not those of its manifest.
    """
    versions = answerer_versions(settings)
    current = next((entry for entry in versions if CHAMPION in entry.aliases), None)
    if current is None:
        raise ConfigurationError(
            "a registered answerer must serve before it can be rolled back, found the base model serving; "
            "nothing needs to be done"
        )
    target = _target(versions, current, version)
    if target is not None:
        answerer_files(settings, target)
    with mlflow_client(settings) as client:
        client.set_model_version_tag(MODEL, current.version, "rolled_back", now())
        if target is None:
            client.delete_registered_model_alias(MODEL, CHAMPION)
        else:
            client.delete_model_version_tag(MODEL, target.version, "rolled_back")
            client.set_registered_model_alias(MODEL, CHAMPION, target.version)
            client.set_model_version_tag(MODEL, target.version, "served", now())
    return {"version": target.version if target else BASE, "abandoned": current.version}


def answerer_releases(settings: Settings) -> list[dict[str, Any]]:
    """One entry a version, newest first: `kind version aliases created_at metrics lineage`."""
    return [_entry(version) for version in reversed(answerer_versions(settings))]


def serving_answerer(settings: Settings) -> dict[str, Any]:
    """The entry of the version that serves; with no champion, version `base`."""
    found = next((entry for entry in answerer_releases(settings) if CHAMPION in entry["aliases"]), None)
    return found or {"kind": ARTIFACTS, "version": BASE, "aliases": [], "created_at": None, "metrics": {}}


def _entry(version: AnswererVersion) -> dict[str, Any]:
    tags = version.tags
    lineage = ("corpus", "training_set", "base", "method", "prompt", "index_release", "git_commit")
    return {
        "kind": ARTIFACTS,
        "version": version.version,
        "aliases": list(version.aliases),
        "gate": tags.get("gate"),
        "rolled_back": "rolled_back" in tags,
        "created_at": tags.get("created_at"),
        "metrics": {name.removeprefix(METRIC): float(tags[name]) for name in sorted(tags) if name.startswith(METRIC)},
        "lineage": {name: tags[name] for name in lineage if name in tags} | {"run_id": version.run_id},
    }


def _target(versions: list[AnswererVersion], current: AnswererVersion, wanted: str | None) -> AnswererVersion | None:
    """None: the base model."""
    if wanted == BASE:
        return None
    if wanted is not None:
        found = _required(versions, wanted)
        if found.version == current.version:
            raise ConfigurationError(f"rollback needs another version than the serving one, found {wanted}; name one")
        return found
    before = [entry for entry in versions if int(entry.version) < int(current.version)]
    served = [entry for entry in before if "served" in entry.tags and "rolled_back" not in entry.tags]
    return served[-1] if served else None


def _required(versions: list[AnswererVersion], version: str) -> AnswererVersion:
    for entry in versions:
        if entry.version == version:
            return entry
    known = ", ".join(entry.version for entry in versions) or "none"
    raise ConfigurationError(f"{MODEL} must have version {version}, found: {known}; see `almanac releases`")

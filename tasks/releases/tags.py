"""The tags that say in MLflow what a version is and what happened to it."""

from enum import StrEnum


class Tag(StrEnum):
    """A tag of a version; its value is its name in MLflow."""

    # What it is.
    RELEASE = "release"
    RETRAIN = "retrain"
    GATE = "gate"
    CREATED_AT = "created_at"
    AUTOMATIC = "automatic"
    """Policy `auto` promotes it: kept, so that a killed refresh can be finished."""
    # What happened to it: the moment, or the reason.
    CHALLENGED = "challenged"
    SERVED = "served"
    ROLLED_BACK = "rolled_back"
    REFUSED = "refused"
    REFUSED_AT = "refused_at"
    PROMOTION = "promotion"
    PROMOTED_BY = "promoted_by"
    """Who let it serve, when, and the signature of this installation."""
    ROLLED_BACK_BY = "rolled_back_by"
    """Who let it leave for the kind's default."""
    TRAINED_ON_FORGOTTEN = "trained_on_forgotten"
    """A document of its training set was taken back since; the moment."""
    TRIAL = "trial"
    """The verdict on a challenger by its answers to a share of the users; `worse` at its beginning stops it."""
    # What it was made from.
    LANCE_TAG = "lance_tag"
    LANCE_VERSION = "lance_version"
    EMBEDDER = "embedder"
    CORPUS = "corpus"
    TRAINING_SET = "training_set"
    BASE = "base"
    ROOT = "root"
    """Of an embedder: what the tuning began with, quarters ago; `base` where it is the first."""
    METHOD = "method"
    KNOWLEDGE_BASE = "knowledge_base"
    """Of whose documents alone it learnt."""
    PROMPT = "prompt"
    INDEX_RELEASE = "index_release"
    GIT_COMMIT = "git_commit"
    # Of the run of a retrain.
    REASONS = "reasons"
    NOTE = "mlflow.note.content"
    """What MLflow shows at the head of a run."""


GATE_PASSED = "passed"
GATE_REFUSED = "refused"
METRIC = "metric."
"""Headline metrics are tags of a version, so that MLflow's list of versions shows them: `metric.answer_f1`."""
LINEAGE = (
    Tag.KNOWLEDGE_BASE,
    Tag.CORPUS,
    Tag.TRAINING_SET,
    Tag.BASE,
    Tag.METHOD,
    Tag.PROMPT,
    Tag.INDEX_RELEASE,
    Tag.GIT_COMMIT,
)

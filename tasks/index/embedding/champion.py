"""Which embedder an index is made with: what `params.yaml` names, or the one tuned from it that a person promoted.

A refresh pins what it finds, and a release keeps the pinned name: no alias changes how a release that serves is asked.
"""

from tasks.index.embedding.files import embedder_identity
from tasks.index.embedding.registered import (
    is_registered,
    parsed,
    pinned_name,
    read_embedder,
    registered_folder,
    registered_version,
)
from tasks.params import EmbeddingParams
from tasks.releases.kind import EMBEDDER
from tasks.releases.lifecycle import named
from tasks.releases.model_registry import CHAMPION, mlflow_client
from tasks.releases.tags import Tag
from tasks.releases.version import ReleaseVersion
from tasks.settings import Settings


def pinned(params: EmbeddingParams, settings: Settings) -> EmbeddingParams:
    """Return the same parameters with the version and run of the embedder to be used now.

    That is the version that a name of MLflow's means now; for another model the champion, if it was tuned from that
    model, in however many quarters; else the model itself. The champion of another model changes nothing.

    Raises:
        ConfigurationError: no embedder has the alias or version that is named.
        DependencyError: MLflow does not answer.
    """
    if not is_registered(params.model):
        version = _champion_of(params, settings)
    elif parsed(params.model)["run_id"] is None:
        version = registered_version(params.model, settings)
    else:
        return params
    return params if version is None else params.model_copy(update={"model": pinned_name(version)})


def root_of(params: EmbeddingParams, settings: Settings) -> str:
    """Return the identity of the model that the embedder's quarters began with; its own, where nobody tuned it.

    Raises:
        ConfigurationError: the model cannot be found.
    """
    if not is_registered(params.model):
        return embedder_identity(params, settings)
    manifest = read_embedder(registered_folder(params.model, settings), settings)
    return manifest.root or manifest.base


def _champion_of(params: EmbeddingParams, settings: Settings) -> ReleaseVersion | None:
    with mlflow_client(settings) as client:
        version = named(client, EMBEDDER, CHAMPION)
    if version is None:
        return None
    root = version.tags.get(Tag.ROOT) or version.tags.get(Tag.BASE)
    return version if root == embedder_identity(params, settings) else None

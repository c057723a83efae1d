"""Which answerers there are: the general one, and those that knowledge bases have of their own. Knows MLflow only."""

from tasks.params.sources import NAME
from tasks.releases.embedded_reader import read_model_names
from tasks.releases.kind import ANSWERER, ReleaseKind, answerer_of
from tasks.releases.model_registry import mlflow_client
from tasks.releases.tracking_store import is_embedded
from tasks.settings import Settings

MAX_MODELS = 1000
"""So many MLflow lists at once; more knowledge bases with answerers of their own are not looked for."""


def answerer_kinds(settings: Settings) -> list[ReleaseKind]:
    """Return the general answerer, then each that a knowledge base has of its own, by name.

    Raises:
        DependencyError: MLflow does not answer.
    """
    return [ANSWERER, *map(answerer_of, own_answerers(settings))]


def own_answerers(settings: Settings) -> list[str]:
    """Return the knowledge bases for which an answerer was registered, by name.

    Raises:
        DependencyError: MLflow does not answer.
    """
    prefix = f"{ANSWERER.model}."
    names = read_model_names(settings.layout.tracking_database, prefix) if is_embedded(settings) else None
    if names is None:
        with mlflow_client(settings) as client:
            models = client.search_registered_models(f"name LIKE '{prefix}%'", max_results=MAX_MODELS)
        names = [model.name for model in models]
    # To MLflow `_` stands for any sign, and capitals are small letters; a model that a person made may have any name.
    own = (name.removeprefix(prefix) for name in names if name.startswith(prefix))
    return sorted(name for name in own if NAME.fullmatch(name))

"""Text generators: the engines that write answers, behind one protocol, and the choice among them."""

from tasks.answer.generators.base import Generator
from tasks.params import GenerationParams
from tasks.settings import Settings


def load_generator(params: GenerationParams, settings: Settings) -> Generator:
    """Load the answerer at `generation.endpoint`; without one, in this process, loaded once.

    Raises:
        ConfigurationError: the model cannot be found or is no chat model that the engine can load.
        DependencyError: the endpoint does not answer.
    """
    # Each engine is imported where it is used: transformers costs two CPU seconds, the OpenAI client one.
    if params.endpoint is not None:
        from tasks.answer.generators.endpoint import EndpointGenerator

        return EndpointGenerator(params.endpoint, params.model, settings)
    from tasks.answer.generators.transformers import load_base

    return load_base(params, settings)

"""Text generators: the engines that write answers, behind one protocol, and the choice among them."""

import importlib.util
from typing import Literal

from tasks.answer.generators.base import Generator
from tasks.params import GenerationParams
from tasks.settings import Settings

Engine = Literal["transformers", "llama.cpp"]


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
    if engine_of(params, settings) == "llama.cpp":
        from tasks.answer.generators.llama_cpp import load_llama_cpp

        return load_llama_cpp(params, settings)
    from tasks.answer.generators.transformers import load_base

    return load_base(params, settings)


def engine_of(params: GenerationParams, settings: Settings) -> Engine:
    """Return the engine that `generation.engine` names; for `auto`, llama.cpp for GGUF files on a CPU.

    Weights that are quantized on disk are read as they are by llama.cpp, and blown up to two or four bytes each by
    transformers: docs/benchmarks.md has the tokens a second of both.
    """
    if params.engine != "auto":
        return params.engine
    fits = params.gguf_file is not None and settings.device in {"auto", "cpu"}
    return "llama.cpp" if fits and importlib.util.find_spec("xllamacpp") is not None else "transformers"

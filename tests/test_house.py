"""The house: what only one room may do. The layers and the absence of circles are contracts in pyproject.toml."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PRODUCT = ("benchmarks", "cli", "experiments", "flows", "serving", "tasks")
LIFECYCLE = ("set_model_version_tag", "delete_model_version_tag", "set_registered_model_alias", "create_model_version")


def modules() -> list[Path]:
    return [path for folder in PRODUCT for path in sorted((ROOT / folder).rglob("*.py"))]


@pytest.mark.parametrize("method", LIFECYCLE)
def test_only_the_lifecycle_of_releases_writes_to_the_model_registry(method: str) -> None:
    writers = {str(path.relative_to(ROOT)) for path in modules() if f".{method}(" in path.read_text(encoding="utf-8")}

    assert writers == {"tasks/releases/lifecycle.py"}


@pytest.mark.parametrize("name", ["promote", "challenge", "reject", "roll_back", "remember_served", "last_served"])
def test_each_step_of_the_lifecycle_is_written_once(name: str) -> None:
    definitions = [
        path.relative_to(ROOT)
        for path in modules()
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.FunctionDef) and node.name == name
        if not any("flow" in ast.dump(decorator) for decorator in node.decorator_list)
    ]

    assert len(definitions) == 1, definitions


def test_architecture_names_modules_that_are_there() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    paths = set(re.findall(rf"`((?:{'|'.join((*PRODUCT, 'golden', 'tests'))})/[\w/]*(?:\.py)?)`", page))

    assert len(paths) > 30
    assert [path for path in sorted(paths) if not (ROOT / path).exists()] == []

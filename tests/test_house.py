"""The house: what only one room may do. The layers and the absence of circles are contracts in pyproject.toml."""

import ast
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PRODUCT = ("benchmarks", "cli", "experiments", "flows", "serving", "tasks")
LIFECYCLE = ("set_model_version_tag", "delete_model_version_tag", "set_registered_model_alias", "create_model_version")


OPEN_RESULTS = {
    "split_front_matter": "front matter has the fields that its author wrote",
    "split_docinfo": "front matter has the fields that its author wrote",
    "split_org_keywords": "front matter has the fields that its author wrote",
    "as_carried": "the metadata of a document has the fields that its author wrote",
    "carried": "the metadata of a record has the fields of its feed",
    "once_each": "front matter has the fields that its author wrote",
    "date_bounds": "arguments of an expectation, as Great Expectations spells them",
    "arguments": "arguments of an expectation, as Great Expectations spells them",
    "claims": "a token has the claims that its issuer wrote",
    "chunk_rows": "rows of a table, as PyArrow takes them",
    "FullText.search": "rows of a table, as LanceDB reads them",
    "FullText.with_names": "rows of a table, as LanceDB reads them",
    "Index.name_rows": "rows of a table, as LanceDB reads them",
    "Index.text_rows": "rows of a table, as LanceDB reads them",
    "Index.vector_rows": "rows of a table, as LanceDB reads them",
    "Index.rows_at": "rows of a table, as LanceDB reads them",
    "Index.rows_of": "rows of a table, as LanceDB reads them",
    "ask_server": "what the running server printed as JSON",
    "body": "the wire format of OpenAI's API",
    "completion": "the wire format of OpenAI's API",
    "annotations": "the wire format of OpenAI's API",
    "details": "what the wire format holds under `almanac`",
}
"""Public functions that return an open dictionary, and why; what ends in `_json` is what `--json` prints."""


RIDDLES = frozenset(
    {"announce", "blamed", "found", "half", "keeper", "known", "made", "material", "settle", "tidy", "told", "way"}
)
"""Names that a reader must decode: what is found, what was made, of whom is told?"""


def modules(*folders: str) -> list[Path]:
    return [path for folder in folders or PRODUCT for path in sorted((ROOT / folder).rglob("*.py"))]


def functions(path: Path) -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    """Public functions of a module and public methods of its public classes, each with its name."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        inner = node.body if isinstance(node, ast.ClassDef) and not node.name.startswith("_") else [node]
        for one in inner:
            if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef) and not one.name.startswith("_"):
                yield (f"{node.name}.{one.name}" if isinstance(node, ast.ClassDef) else one.name), one


@pytest.mark.parametrize("folder", [*PRODUCT, "tests"])
def test_no_file_is_longer_than_a_reader_holds_in_mind(folder: str) -> None:
    long = {str(path): num for path in modules(folder) if (num := path.read_text(encoding="utf-8").count("\n")) > 400}

    assert long == {}


@pytest.mark.parametrize("folder", [*PRODUCT, "tests"])
def test_no_folder_holds_more_than_twenty_modules(folder: str) -> None:
    assert [(name, num) for name, num in Counter(path.parent for path in modules(folder)).items() if num > 20] == []


def test_no_two_test_files_share_a_name() -> None:
    """Files that share a process share one name space of modules: of two with one name only the first is read."""
    names = Counter(path.name for path in (ROOT / "tests").rglob("test_*.py"))

    assert [name for name, num in names.items() if num > 1] == []


def test_results_are_typed() -> None:
    untyped = {
        f"{path.relative_to(ROOT)}: {name}"
        for path in modules("cli", "experiments", "flows", "serving", "tasks")
        for name, node in functions(path)
        if node.returns is not None and re.search(r"dict\[str, (Any|object)\]", ast.unparse(node.returns))
        if not name.endswith("_json") and name not in OPEN_RESULTS and name.split(".")[-1] not in OPEN_RESULTS
    }

    assert untyped == set()


def test_the_environment_is_read_in_one_place() -> None:
    ours = re.compile(r"(?:environ\.get|getenv)\([\"'](?:ALMANAC|PREFECT|MLFLOW)_")
    readers = {str(path.relative_to(ROOT)) for path in modules() if ours.search(path.read_text(encoding="utf-8"))}

    assert {name for name in readers if not name.startswith("benchmarks/")} == set()


@pytest.mark.parametrize("method", LIFECYCLE)
def test_only_the_lifecycle_of_releases_writes_to_the_model_registry(method: str) -> None:
    writers = {str(path.relative_to(ROOT)) for path in modules() if f".{method}(" in path.read_text(encoding="utf-8")}

    assert writers == {"tasks/releases/lifecycle.py"}


def test_no_generator_is_guarded_by_a_decorator_that_ends_before_it_begins() -> None:
    generators = [
        f"{path}: {node.name}"
        for path in modules("tasks", "flows", "serving", "cli")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef)
        and any("lance_errors" in ast.unparse(decorator) for decorator in node.decorator_list)
        and any(isinstance(one, ast.Yield | ast.YieldFrom) for one in ast.walk(node))
    ]
    assert generators == []


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


def names(tree: ast.Module) -> Iterator[str]:
    """Names of functions, classes, their parameters and their fields."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name
        if isinstance(node, ast.arg):
            yield node.arg
        if isinstance(node, ast.ClassDef):
            yield from (
                one.target.id
                for one in node.body
                if isinstance(one, ast.AnnAssign) and isinstance(one.target, ast.Name)
            )


def test_names_are_words_of_the_field() -> None:
    riddles = {
        f"{path.relative_to(ROOT)}: {name}"
        for path in modules()
        for name in names(ast.parse(path.read_text(encoding="utf-8")))
        if name.strip("_").lower() in RIDDLES
    }

    # What a byte search found is what a receipt says.
    assert riddles <= {"tasks/erasure/erase.py: found"}


def test_the_tree_of_the_readme_is_the_real_one() -> None:
    page = (ROOT / "README.md").read_text(encoding="utf-8")
    (tree,) = (block for block in page.split("```") if "\n  refresh.py " in block)
    missing, folder, listed = [], ROOT, set()
    for line in filter(None, tree.splitlines()):
        if not line.startswith(" "):
            folder = ROOT / line.split()[0] if line.split()[0].endswith("/") else ROOT
            listed.add(line.split()[0])
        paths = [folder / name for name in re.findall(r"(?:^ *|    )(\w+(?:/|\.py))", line) if line[0] == " "]
        missing += [str(path) for path in paths if not path.exists()]

    assert missing == []
    assert listed >= {f"{name}/" for name in (*PRODUCT, "docs", "golden", "infra", "prompts", "tests")}
    assert all((ROOT / name).exists() for name in listed if "." in name or name.endswith("/"))


def test_architecture_names_modules_that_are_there() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    paths = set(re.findall(rf"`((?:{'|'.join((*PRODUCT, 'golden', 'tests'))})/[\w/]*(?:\.py)?)`", page))

    assert len(paths) > 30
    assert [path for path in sorted(paths) if not (ROOT / path).exists()] == []


def test_reliability_names_tests_that_exist() -> None:
    """Each row of the table of faults leads to the test that shows it."""
    rows = re.findall(r"`([\w/]+\.py)::(\w+)`", (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8"))

    assert len(rows) >= 80
    for path, name in rows:
        assert f"def {name}(" in (ROOT / "tests" / path).read_text(encoding="utf-8"), f"{path}::{name}"

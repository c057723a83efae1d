"""Sources: files, git, packages. Each lists cheaply, and never calls a failure an empty list."""

import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.corpus.document import Item
from tasks.corpus.parsing.parse import parse_items
from tasks.corpus.sources import SourceReader, open_source
from tasks.corpus.sources.files import remote_fingerprint
from tasks.corpus.sources.globs import path_filter
from tasks.corpus.sources.python_packages import PythonPackagesReader
from tasks.errors import ConfigurationError, DependencyError, ParseError
from tasks.params import ParsingParams
from tasks.params.sources import FilesSource, GitSource, PythonPackagesSource

PARSING = ParsingParams(timeout_seconds=30, max_memory_mb=1024, max_item_mb=1, max_characters=1_000_000)


def files_source(url: Path | str, **more: object) -> FilesSource:
    return FilesSource.model_validate(
        {
            "kind": "files",
            "name": "docs",
            "url": str(url),
            "knowledge_base": "kb",
            "access": ["staff"],
            "max_removed_fraction": 0.2,
        }
        | more
    )


def reader(url: Path | str, tmp_path: Path, **more: object) -> SourceReader:
    return open_source(files_source(url, **more), cache=tmp_path / "cache")


def keys(found: SourceReader) -> list[str]:
    return [item.key for item in found.scan()]


def test_files_are_listed_by_their_path_under_the_root(tmp_path: Path) -> None:
    (tmp_path / "docs" / "deep").mkdir(parents=True)
    (tmp_path / "docs" / "b.md").write_text("b")
    (tmp_path / "docs" / "deep" / "a.md").write_text("a")

    assert keys(reader(tmp_path / "docs", tmp_path)) == ["b.md", "deep/a.md"]


def test_globs_choose_the_files(tmp_path: Path) -> None:
    for name in ("a.md", "b.txt", "drafts/c.md", ".git/d.md", "deep/er/e.md"):
        (tmp_path / "docs" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "docs" / name).write_text(name)

    found = reader(tmp_path / "docs", tmp_path, include=["**/*.md"], exclude=["drafts/**"])

    assert keys(found) == ["a.md", "deep/er/e.md"]


@given(st.text(st.characters(exclude_characters="/.", exclude_categories=["Cs"]), min_size=1))
def test_a_name_of_any_characters_passes_the_default_globs(name: str) -> None:
    assert path_filter(("**/*",), ())(f"folder/{name}.md")


@pytest.mark.parametrize("name", ["a\nb.md", 'it\'s "x".md', "'; DROP TABLE x.md", "{{x}}.md", "é漢🙂.md", " .md"])
def test_a_file_with_an_odd_name_is_read(tmp_path: Path, name: str) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / name).write_text("words")
    found = reader(tmp_path / "docs", tmp_path)

    (item,) = found.scan()

    assert item.key == name
    assert found.fetch(item).data == b"words"


def test_a_name_that_is_no_unicode_is_read(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    Path(os.fsdecode(os.fsencode(tmp_path / "docs") + b"/\xff.md")).write_text("words")
    found = reader(tmp_path / "docs", tmp_path)

    (item,) = found.scan()

    assert item.key == r"\xff.md"
    assert found.fetch(item).data == b"words"


def test_an_unchanged_file_keeps_its_fingerprint_and_a_changed_one_does_not(tmp_path: Path) -> None:
    file = tmp_path / "docs" / "a.md"
    file.parent.mkdir()
    file.write_text("one")
    first = next(iter(reader(file.parent, tmp_path).scan()))
    again = next(iter(reader(file.parent, tmp_path).scan()))
    status = file.stat()
    file.write_text("two")
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    changed = next(iter(reader(file.parent, tmp_path).scan()))

    assert first.fingerprint == again.fingerprint
    assert changed.fingerprint != first.fingerprint, "same size and mtime: the change time tells"


@pytest.mark.parametrize("url", ["missing", "missing/*.md"])
def test_a_missing_folder_is_an_error_and_no_empty_list(tmp_path: Path, url: str) -> None:
    with pytest.raises(DependencyError, match="must be a readable folder"):
        keys(reader(tmp_path / url, tmp_path))


def test_an_empty_folder_lists_nothing(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()

    assert keys(reader(tmp_path / "docs", tmp_path)) == []


def test_links_out_of_the_root_loops_and_pipes_are_left_out(tmp_path: Path) -> None:
    root = tmp_path / "docs"
    root.mkdir()
    (tmp_path / "secret.md").write_text("secret")
    (root / "real.md").write_text("real")
    (root / "alias.md").symlink_to("real.md")
    (root / "out.md").symlink_to(tmp_path / "secret.md")
    (root / "loop.md").symlink_to("loop.md")
    (root / "up").symlink_to(tmp_path)
    os.mkfifo(root / "pipe.md")

    assert keys(reader(root, tmp_path)) == ["alias.md", "real.md"]


def test_a_file_that_became_a_link_out_of_the_root_is_not_read(tmp_path: Path) -> None:
    root = tmp_path / "docs"
    root.mkdir()
    (tmp_path / "secret.md").write_text("secret")
    (root / "a.md").write_text("a")
    found = reader(root, tmp_path)
    (item,) = found.scan()
    (root / "a.md").unlink()
    (root / "a.md").symlink_to(tmp_path / "secret.md")

    with pytest.raises(ParseError, match="link out"):
        found.fetch(item)


def test_a_file_that_vanished_after_the_listing_is_a_reject(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "a.md").write_text("a")
    source = files_source(tmp_path / "docs")
    items = list(open_source(source, cache=tmp_path).scan())
    (tmp_path / "docs" / "a.md").unlink()

    (reject,) = parse_items(source, items, parsing=PARSING, cache=tmp_path).rejects

    assert reject.code == "damaged"
    assert "No such file" in reject.reason


def test_one_file_is_a_source(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("words")
    found = reader(tmp_path / "a.md", tmp_path)

    (item,) = found.scan()

    assert (item.key, found.fetch(item).data) == ("a.md", b"words")


def test_an_unknown_protocol_is_a_configuration_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="fsspec URL"):
        reader("nosuch://bucket/docs", tmp_path)


def test_remote_files_are_listed_and_read(tmp_path: Path) -> None:
    import fsspec

    memory = fsspec.filesystem("memory")
    memory.pipe({"/remote/docs/a.md": b"alpha", "/remote/docs/sub/b.md": b"beta"})
    found = reader("memory://remote/docs", tmp_path, include=["**/*.md"])

    items = list(found.scan())

    assert [item.key for item in items] == ["a.md", "sub/b.md"]
    assert [found.fetch(item).data for item in items] == [b"alpha", b"beta"]


def test_an_unreachable_server_is_a_dependency_error(tmp_path: Path) -> None:
    with pytest.raises(DependencyError, match="reachable"):
        keys(reader("http://127.0.0.1:9/docs/", tmp_path))


def test_a_server_without_a_sign_of_change_is_read_each_time() -> None:
    assert remote_fingerprint({"size": 3}) != remote_fingerprint({"size": 3})
    assert remote_fingerprint({"size": 3, "ETag": "x"}) == remote_fingerprint({"size": 3, "ETag": "x"})


def packages_source(**more: object) -> PythonPackagesSource:
    return PythonPackagesSource.model_validate(
        {
            "kind": "python-packages",
            "name": "packages",
            "knowledge_base": "python",
            "access": ["everyone"],
            "max_removed_fraction": 0.2,
        }
        | more
    )


def install(folder: Path, name: str, version: str, metadata: str) -> None:
    dist_info = folder / f"{name}-{version}.dist-info"
    dist_info.mkdir(parents=True)
    (dist_info / "METADATA").write_text(metadata)


def test_the_first_distribution_on_the_path_wins(tmp_path: Path) -> None:
    install(tmp_path / "one", "My_Package", "2.0", "Name: My_Package\nVersion: 2.0\n\n# New")
    install(tmp_path / "two", "my.package", "1.0", "Name: my.package\nVersion: 1.0\n\n# Old")
    found = PythonPackagesReader(packages_source(), paths=[str(tmp_path / "one"), str(tmp_path / "two")])

    (item,) = found.scan()

    assert item.key == "my-package"
    assert item.uri == "https://pypi.org/project/my-package/"
    assert found.fetch(item).data == b"# New"


def test_excluded_packages_are_not_listed(tmp_path: Path) -> None:
    install(tmp_path, "types_x", "1", "Name: types-x\n\ntext")
    install(tmp_path, "x", "1", "Name: x\n\ntext")
    found = PythonPackagesReader(packages_source(exclude=["types-*"]), paths=[str(tmp_path)])

    assert [item.key for item in found.scan()] == ["x"]


@pytest.mark.parametrize(
    ("header", "body", "name"),
    [
        ("Description-Content-Type: text/markdown; charset=UTF-8", "# T", "README.md"),
        ("Description-Content-Type: text/x-rst", "T\n=", "README.rst"),
        ("Description-Content-Type: text/plain", "T", "README.txt"),
        ("Summary: s", "Title\n=====\n\n.. image:: x", "README.rst"),
        ("Summary: s", "Plain words.", "README.txt"),
    ],
)
def test_a_readme_is_named_by_its_content_type(tmp_path: Path, header: str, body: str, name: str) -> None:
    install(tmp_path, "x", "1", f"Name: x\n{header}\n\n{body}")
    found = PythonPackagesReader(packages_source(), paths=[str(tmp_path)])

    assert found.fetch(next(iter(found.scan()))).name == name


@pytest.mark.parametrize(
    ("summary", "body", "text"),
    [
        ("Reads ledgers.", "# Ledger\n\nInstall it.", "Reads ledgers\n\n# Ledger\n\nInstall it."),
        ("Reads ledgers.", "# Ledger\n\nIt reads\nledgers: all.", "# Ledger\n\nIt reads\nledgers: all."),
        ("UNKNOWN", "# Ledger", "# Ledger"),
    ],
)
def test_a_description_stands_under_the_summary_unless_it_says_the_same(
    tmp_path: Path, summary: str, body: str, text: str
) -> None:
    install(tmp_path, "x", "1", f"Name: x\nSummary: {summary}\n\n{body}")
    found = PythonPackagesReader(packages_source(), paths=[str(tmp_path)])

    assert found.fetch(next(iter(found.scan()))).data.decode() == text


def test_a_package_without_a_description_gives_its_summary_or_a_reason(tmp_path: Path) -> None:
    install(tmp_path, "a", "1", "Name: a\nSummary: Does things.\n\nUNKNOWN\n")
    install(tmp_path, "b", "1", "Name: b\nSummary: UNKNOWN\n\n")
    found = PythonPackagesReader(packages_source(), paths=[str(tmp_path)])
    with_summary, without = found.scan()

    assert found.fetch(with_summary).data == b"Does things."
    with pytest.raises(ParseError, match="must have a description or a summary") as error:
        found.fetch(without)
    assert error.value.code == "empty"


def test_a_path_without_distributions_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DependencyError, match="virtual environment"):
        list(PythonPackagesReader(packages_source(), paths=[str(tmp_path), "/nonexistent"]).scan())


def test_the_packages_of_this_environment_become_documents(tmp_path: Path) -> None:
    source = packages_source()
    items = [item for item in open_source(source, cache=tmp_path).scan() if item.key in {"pytest", "pydantic"}]

    parsed = parse_items(source, items, parsing=PARSING, cache=tmp_path)

    assert [document.title for document in parsed.documents] == ["pydantic", "pytest"]
    assert all("\n#" in f"\n{document.text}" for document in parsed.documents), "both have Markdown headings"


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=Test", "-c", "user.email=test@example.org", "-c", "init.defaultBranch=main"]
    done = subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "repository"
    (folder / "docs").mkdir(parents=True)
    git(folder, "init", "--quiet")
    (folder / "README.md").write_text("# Top")
    (folder / "docs" / "a.md").write_text("# Alpha")
    (folder / "docs" / "link.md").symlink_to("a.md")
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "-m", "one")
    return folder


def git_source(url: Path | str, **more: object) -> GitSource:
    return GitSource.model_validate(
        {
            "kind": "git",
            "name": "repo",
            "url": str(url),
            "ref": "main",
            "knowledge_base": "kb",
            "access": ["staff"],
            "max_removed_fraction": 0.2,
        }
        | more
    )


def scan_git(source: GitSource, tmp_path: Path) -> list[Item]:
    return list(open_source(source, cache=tmp_path / "cache").scan())


def test_a_folder_of_a_repository_is_listed_by_blob(tmp_path: Path, repository: Path) -> None:
    source = git_source(repository, folder="docs")
    (item,) = scan_git(source, tmp_path)
    found = open_source(source, cache=tmp_path / "cache")

    assert (item.key, item.fingerprint) == ("a.md", git(repository, "rev-parse", "HEAD:docs/a.md"))
    assert found.raw_hash(item) == item.fingerprint
    assert found.fetch(item).data == b"# Alpha"


def test_a_commit_in_the_repository_is_seen_at_the_next_scan(tmp_path: Path, repository: Path) -> None:
    source = git_source(repository, include=["**/*.md"])
    before = {item.key: item.fingerprint for item in scan_git(source, tmp_path)}
    (repository / "docs" / "a.md").write_text("# Beta")
    (repository / "README.md").unlink()
    git(repository, "commit", "--quiet", "-am", "two")
    after = {item.key: item.fingerprint for item in scan_git(source, tmp_path)}

    assert set(before) == {"README.md", "docs/a.md"}
    assert set(after) == {"docs/a.md"}
    assert after["docs/a.md"] != before["docs/a.md"]


def test_an_unknown_ref_or_folder_says_what_to_correct(tmp_path: Path, repository: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"`ref` .* 'nosuch'"):
        scan_git(git_source(repository, ref="nosuch"), tmp_path)
    with pytest.raises(ConfigurationError, match="`folder`"):
        scan_git(git_source(repository, folder="nosuch"), tmp_path)


def test_an_unreachable_repository_is_a_dependency_error_without_its_password(tmp_path: Path) -> None:
    with pytest.raises(DependencyError, match="must be reachable"):
        scan_git(git_source(tmp_path / "nosuch"), tmp_path)
    with pytest.raises(DependencyError, match="must be reachable") as error:
        scan_git(git_source("http://user:hunter2@127.0.0.1:9/x.git"), tmp_path)
    assert "hunter2" not in str(error.value)


@pytest.mark.parametrize(
    "part", [{"url": "--upload-pack=touch x"}, {"ref": "--output=x"}, {"folder": "-x"}, {"url": "ext::sh -c id"}]
)
def test_options_and_commands_in_a_git_source_are_refused(tmp_path: Path, part: dict[str, str]) -> None:
    with pytest.raises(ConfigurationError, match="must not be an option"):
        scan_git(git_source("x").model_copy(update=part), tmp_path)

"""The data registry: a git + DVC repository that holds each corpus snapshot and each training set under a tag.

Only flows write it, one at a time: each method that writes expects its caller to hold `tasks.lease`. Knows nothing of
what is in the files.

    corpus/          the files of the newest snapshot, read-only, sharing their bytes with DVC's cache
    corpus.dvc       DVC's pointer to them
    corpus.sha256    name and sha256 of each, as `sha256sum --check` reads them
    examples*        the same for the training sets
"""

import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import yaml

from tasks.errors import ConfigurationError, CorruptionError, DependencyError
from tasks.files import sha256_of_file, whole_file, write_text
from tasks.registry.repository import Repository

CORPUS = "corpus"

_CONFIG = """\
[core]
    analytics = false
    check_update = false
    remote = store
[cache]
    type = "hardlink,reflink,copy"
['remote "store"']
    url = "{url}"
"""
# With hardlinks first, the folder and the cache are one copy; with reflinks first, DVC copies where there are none.
_FILES = {
    ".dvc/.gitignore": "/config.local\n/tmp\n/cache\n",
    ".dvcignore": "",
    ".gitignore": f"/{CORPUS}\n",
}
_TAG = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True, slots=True)
class Revision:
    """One published snapshot.

    Attributes:
        tag: its name in the registry.
        commit: the git commit that holds the pointer.
        md5: DVC's hash of the folder, ends in `.dir`.
    """

    tag: str
    commit: str
    md5: str


class Registry:
    """Corpus snapshots under tags, each also on a DVC remote.

    Read a snapshot through `restore`: between two steps of `publish`, `corpus` holds the next one.
    """

    def __init__(self, root: Path, remote: str, *, folder: str = CORPUS) -> None:
        """Name a registry; nothing is touched.

        Args:
            root: its folder, `$ALMANAC_HOME/registry`.
            remote: where DVC keeps the second copy: a folder or a URL that DVC knows.
            folder: of the files that are published and restored; each folder has tags of its own.
        """
        self.root = root.resolve()
        self.corpus = self.root / folder
        self._folder, self._pointer, self._sums_file = folder, f"{folder}.dvc", f"{folder}.sha256"
        self._remote = remote
        self._repository = Repository(self.root, remote)

    def ensure(self) -> None:
        """Create the repository if absent, and follow a changed remote; idempotent, also after a kill.

        A new remote gets all snapshots before it takes the place of the old one.

        Raises:
            ConfigurationError: the folder holds something that is no registry.
            DependencyError: git or DVC is missing, the disk is full or the new remote does not answer.
        """
        config = _CONFIG.format(url=self._remote_url())
        if not (self.root / ".git").exists():
            self._create(config)
        self._repository.remove_stale_locks()
        if self._repository.show("HEAD", ".dvc/config") != config:
            self._move_to_remote(config)

    def publish(self, files: Sequence[Path], tag: str, message: str) -> Revision:
        """Make a snapshot of exactly these files: bytes to the cache and the remote, then the pointer, then the tag.

        Each step is idempotent: after a kill, the same call completes the work. A tag that exists with the same files
        returns at once. A tag that exists with other files is moved: only an unfinished refresh leaves one, and the
        caller never reuses a tag that a release manifest names.

        Args:
            files: the snapshot's files, each with a name of its own; may lie in `corpus` already.
            tag: the snapshot's name.
            message: subject of the commit.

        Raises:
            ConfigurationError: the tag is no tag, there is no file, or two have the same name.
            DependencyError: git or DVC is missing, the disk is full or the remote does not answer.
            BusyError: another DVC command keeps the repository locked.
        """
        sums = _checked_sums(files, tag)
        if self._sums(f"refs/tags/{tag}") == sums:
            return self._revision(tag)
        self.ensure()
        committed = self._sums("HEAD") or {}
        self._fill(files, sums, committed)
        if committed != sums:
            self._save()
            self._commit(sums, message)
        self._tag(tag)
        return self._revision(tag)

    def tags(self, pattern: str) -> list[str]:
        """Return tags that match a glob, newest first."""
        if not self.root.exists():
            return []
        return self._repository.git("tag", "--list", "--sort=-creatordate", pattern).split()

    def holds(self, tag: str, files: Sequence[Path]) -> bool:
        """Return whether the tag's files are exactly these, by name and content."""
        return self._sums(f"refs/tags/{tag}") == _checked_sums(files, tag)

    def files(self, tag: str) -> list[str]:
        """Return names of the files of a snapshot, sorted.

        Raises:
            ConfigurationError: there is no such tag.
        """
        return sorted(self._required_sums(tag))

    def restore(self, tag: str, target: Path) -> list[Path]:
        """Bring any snapshot back, read-only; from the remote where the local copies are gone.

        Args:
            tag: the snapshot's name.
            target: the folder to make; present with the same files: left as it is.

        Returns:
            The files, sorted by name.

        Raises:
            ConfigurationError: there is no such tag, or the target holds something else.
            CorruptionError: the bytes that came back are not those that were published.
            DependencyError: neither the cache nor the remote can give them.
        """
        sums = self._required_sums(tag)
        if not target.exists():
            self._fetch(tag, sums, target)
        elif _folder_sums(target) != sums:
            raise ConfigurationError(f"{target} must be absent or hold snapshot {tag}, found other files; remove it")
        return [target / name for name in sorted(sums)]

    def revision(self, tag: str) -> Revision:
        """Return what a tag names now.

        Raises:
            ConfigurationError: there is no such tag.
        """
        self._required_sums(tag)
        return self._revision(tag)

    def separate_tags(self) -> None:
        """Move each tag to a commit with the pointers of its own folder alone; call under the lease.

        A tag's commit holds the pointers of every folder as they were, which would keep bytes that their own tag names
        no more.

        Raises:
            DependencyError: git failed.
        """
        for tag in self.tags("*"):
            self._keep_own_pointers(tag)

    def collect_garbage(self) -> None:
        """Remove from cache and remote the bytes that no tag names; call under the lease, behind `separate_tags`.

        Raises:
            DependencyError: DVC failed or the remote does not answer.
        """
        self._repository.dvc(["gc", "--workspace", "--all-tags", "--cloud", "--force", "--quiet"])

    def _keep_own_pointers(self, tag: str) -> None:
        folder = tag.rpartition("-")[0]
        entries = self._repository.git("ls-tree", f"refs/tags/{tag}").splitlines()
        own = [entry for entry in entries if _is_of(entry.partition("\t")[2], folder)]
        if own == entries:
            return
        tree = self._repository.git("mktree", text="".join(f"{entry}\n" for entry in own)).strip()
        commit = self._repository.git("commit-tree", tree, "-p", f"refs/tags/{tag}", "-m", f"{tag} alone").strip()
        self._repository.git("tag", "--force", tag, commit)

    def bundle(self) -> bytes:
        """Return the whole history, with all tags, as one git bundle: names and sums, not the files.

        Raises:
            DependencyError: git is missing or failed.
        """
        with tempfile.TemporaryDirectory(prefix="almanac-bundle-") as folder:
            path = Path(folder) / "registry.bundle"
            self._repository.git("bundle", "create", "--quiet", str(path), "--branches", "--tags")
            return path.read_bytes()

    def follow(self, bundle: Path) -> None:
        """Take over the history of a bundle, in place of what differs from it here; the bytes stay on the remote.

        Raises:
            DependencyError: git is missing or failed.
        """
        if not (self.root / ".git").exists():
            self.root.mkdir(parents=True, exist_ok=True)
            self._repository.git("init", "--quiet", "--initial-branch=main")
        self._repository.remove_stale_locks()
        theirs = "refs/remotes/shared/main"
        self._repository.git(
            "fetch", "--quiet", "--force", str(bundle), f"+refs/heads/main:{theirs}", "+refs/tags/*:refs/tags/*"
        )
        # `corpus` itself is in no commit: what lies there stays, and is filled anew at the next publication.
        self._repository.git("reset", "--quiet", "--hard", theirs)

    def _create(self, config: str) -> None:
        """Make the repository beside and rename it: what `git init` and `dvc init` write, and a first commit."""
        beside = self.root.with_name(f"{self.root.name}.partial")
        shutil.rmtree(beside, ignore_errors=True)
        for name, text in (_FILES | {".dvc/config": config}).items():
            write_text(beside / name, text)
        self._repository.git("init", "--quiet", "--initial-branch=main", folder=beside)
        self._repository.git("add", "--all", folder=beside)
        self._repository.git("commit", "--quiet", "--message=Create the data registry", folder=beside)
        try:
            beside.replace(self.root)
        except OSError as error:
            raise ConfigurationError(
                f"{self.root} must be absent or a registry, found {error.strerror}; move it away"
            ) from error

    def _move_to_remote(self, config: str) -> None:
        write_text(self.root / ".dvc" / "config", config)
        if self.tags("*"):
            self._repository.dvc(["push", "--all-tags"])
        self._repository.git("add", "--", ".dvc/config")
        self._repository.git("commit", "--quiet", "--message=Move to another remote", "--", ".dvc/config")

    def _remote_url(self) -> str:
        if "://" in self._remote:
            return self._remote
        folder = Path(self._remote).resolve()
        if not folder.is_relative_to(self.root.parent):
            return str(folder)
        # Relative to the configuration file: the home folder can be moved as a whole.
        return os.path.relpath(folder, self.root / ".dvc")

    def _fill(self, files: Sequence[Path], sums: Mapping[str, str], committed: Mapping[str, str]) -> None:
        """Make the folder hold exactly these files; what a killed copy left is cleared here."""
        with _disk(self.root):
            self.corpus.mkdir(exist_ok=True)
            for path in files:
                place = self.corpus / path.name
                if not _holds(place, path, sums[path.name], committed.get(path.name)):
                    with whole_file(place) as beside:
                        shutil.copyfile(path, beside)
            for place in self.corpus.iterdir():
                if place.name not in sums:
                    place.unlink()

    def _save(self) -> None:
        # Bytes first, on both sides: `dvc push` sends what the folder holds now, never an older tag.
        self._repository.dvc(["add", self._folder], ["push", self._pointer])

    def _commit(self, sums: Mapping[str, str], message: str) -> None:
        lines = (f"{digest}  {self._folder}/{name}\n" for name, digest in sorted(sums.items()))
        write_text(self.root / self._sums_file, "".join(lines))
        self._repository.git("add", "--", self._pointer, self._sums_file, ".gitignore")
        if self._repository.git("diff", "--cached", "--name-only").strip():
            self._repository.git("commit", "--quiet", f"--message={message}")

    def _tag(self, tag: str) -> None:
        self._repository.git("tag", "--force", tag)

    def _fetch(self, tag: str, sums: Mapping[str, str], target: Path) -> None:
        beside = target.with_name(f"{target.name}.partial")
        with _disk(target):
            shutil.rmtree(beside, ignore_errors=True)
            beside.parent.mkdir(parents=True, exist_ok=True)
            linked = self._link(sums, beside)
        if not linked:
            shutil.rmtree(beside, ignore_errors=True)
            self._repository.dvc(
                ["get", str(self.root), self._folder, "--rev", tag, "--out", str(beside)], writes=False
            )
        if _folder_sums(beside) != sums:
            raise CorruptionError(
                f"snapshot {tag} must come back as it was published, found other bytes in {beside}; remove "
                f"{self.root / '.dvc' / 'cache'} and restore again, which fetches it from {self._remote}"
            )
        with _disk(target):
            beside.replace(target)

    def _link(self, sums: Mapping[str, str], folder: Path) -> bool:
        """Take the files from the registry's folder, if all of them are there: it costs no start of DVC."""
        places = [self.corpus / name for name in sums]
        if not all(place.is_file() and sha256_of_file(place) == sums[place.name] for place in places):
            return False
        folder.mkdir()
        for place in places:
            try:
                os.link(place, folder / place.name)
            except OSError:  # another filesystem
                shutil.copyfile(place, folder / place.name)
        return True

    def _revision(self, tag: str) -> Revision:
        commit = self._repository.git("rev-parse", f"refs/tags/{tag}^{{commit}}").strip()
        pointer = yaml.safe_load(self._repository.git("show", f"{commit}:{self._pointer}"))
        return Revision(tag, commit, pointer["outs"][0]["md5"])

    def _required_sums(self, tag: str) -> dict[str, str]:
        sums = self._sums(f"refs/tags/{tag}")
        if sums is None:
            newest = ", ".join(self.tags(f"{self._folder}-*")[:5] or self.tags("*")[:5]) or "none"
            raise ConfigurationError(f"{tag!r} must be a snapshot of {self.root}, found {newest}; name one of them")
        return sums

    def _sums(self, revision: str) -> dict[str, str] | None:
        text = self._repository.show(revision, self._sums_file)
        if text is None:
            return None
        lines = (line.split("  ", 1) for line in text.splitlines())
        return {name.removeprefix(f"{self._folder}/"): digest for digest, name in lines}


def _is_of(name: str, folder: str) -> bool:
    """Say whether an entry of the repository belongs to a folder, or to all: `.dvc` is DVC's own."""
    return name == ".dvc" or not name.endswith((".dvc", ".sha256")) or name in (f"{folder}.dvc", f"{folder}.sha256")


def _checked_sums(files: Sequence[Path], tag: str) -> dict[str, str]:
    if not _TAG.fullmatch(tag):
        raise ConfigurationError(f"a snapshot's tag must be letters, digits, `.`, `_` or `-`, found {tag!r}; rename it")
    sums = {path.name: sha256_of_file(path) for path in files}
    if not sums or len(sums) != len(files):
        raise ConfigurationError(
            f"a snapshot must have files with names of their own, found {len(sums)} names for {len(files)} files; "
            "add or rename files"
        )
    return sums


def _folder_sums(folder: Path) -> dict[str, str]:
    return {path.name: sha256_of_file(path) for path in folder.iterdir() if path.is_file()}


def _holds(place: Path, path: Path, digest: str, committed: str | None) -> bool:
    """Whether the registry's folder has this file; what was committed is read-only and is not read again."""
    if not place.exists() or place.stat().st_size != path.stat().st_size:
        return False
    return committed == digest or sha256_of_file(place) == digest


@contextmanager
def _disk(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DependencyError(
            f"the disk of {path} must take writes, found: {error.strerror}; free some space or change its owner"
        ) from error

"""The corpus snapshot of a release: its files, and texts of its documents."""

from collections.abc import Sequence
from pathlib import Path

from tasks.corpus.snapshot import read_documents
from tasks.index.release import Release
from tasks.registry.shared import open_registry
from tasks.settings import Settings


def snapshot_files(settings: Settings, release: Release | None) -> list[Path]:
    """Return the corpus files of a release, linked into the work folder, or brought back from the remote."""
    if release is None:
        return []
    tag = release.corpus.tag
    restored = open_registry(settings, tag=tag).restore(tag, settings.work / "snapshots" / tag)
    by_name = {path.name: path for path in restored}
    return [by_name[name] for name in release.corpus.files]


def texts_of(snapshot: Sequence[Path], wanted: set[str]) -> dict[str, str]:
    """Return the texts of some documents of a snapshot, by id."""
    return {
        document_id: text
        for batch in read_documents(snapshot, wanted)
        for document_id, text in zip(batch["document_id"].to_pylist(), batch["text"].to_pylist(), strict=True)
    }

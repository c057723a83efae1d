"""Snapshots and training sets without some documents: each tag is published anew, then unused bytes are collected."""

import json
import shutil
from collections.abc import Collection, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tasks.corpus.snapshot import corpus_digest, fold_state, rewrite_without
from tasks.erasure.byte_search import Needles
from tasks.files import sha256_of_file, write_json
from tasks.index.release import Corpus, Release
from tasks.model.examples.example import Example, read_examples, write_examples
from tasks.model.examples.training_set import FILE, FOLDER, MANIFEST, read_training_set
from tasks.registry.data_registry import Registry
from tasks.settings import Settings


def snapshots_with(settings: Settings, document_ids: Collection[str], folder: Path) -> list[str]:
    """Return the tags of the snapshots that name a document; files are brought to `folder`."""
    registry = Registry(settings.registry, settings.remote)
    return [
        tag
        for tag in sorted(registry.tags("corpus-[0-9]*"))
        if any(_names_any(path, document_ids) for path in registry.restore(tag, _fresh(folder / tag)))
    ]


def rewrite_snapshots(settings: Settings, document_ids: Collection[str], tags: Sequence[str], folder: Path) -> int:
    """Publish snapshots anew under their tags, oldest first, without the documents; return how many."""
    registry = Registry(settings.registry, settings.remote)
    for tag in sorted(tags):
        before = registry.restore(tag, _fresh(folder / "before" / tag))
        target = _fresh(folder / "after" / tag)
        target.mkdir(parents=True)
        after = [rewrite_without(path, document_ids, target / path.name) for path in before]
        registry.publish(after, tag, f"Take documents out of {tag}")
    return len(tags)


def corpus_of(settings: Settings, release: Release, folder: Path) -> tuple[Corpus, int]:
    """Return a release's snapshot as its tag holds it now, and how many documents that is."""
    registry = Registry(settings.registry, settings.remote)
    restored = {path.name: path for path in registry.restore(release.corpus.tag, _fresh(folder / release.corpus.tag))}
    state = fold_state([restored[name] for name in release.corpus.files])
    revision = registry.revision(release.corpus.tag)
    corpus = replace(release.corpus, commit=revision.commit, md5=revision.md5, digest=corpus_digest(state))
    return corpus, len(state)


def training_sets_with(settings: Settings, document_ids: Collection[str], needles: Needles, folder: Path) -> list[str]:
    """Return the tags of the training sets that show or quote a document; files are brought to `folder`."""
    registry = Registry(settings.registry, settings.remote, folder=FOLDER)
    holding = []
    for tag in sorted(registry.tags("examples-[0-9]*")):
        registry.restore(tag, _fresh(folder / tag))
        if any(_holds(example, document_ids, needles) for example in read_examples(folder / tag / FILE)):
            holding.append(tag)
    return holding


def rewrite_training_sets(
    settings: Settings, document_ids: Collection[str], needles: Needles, tags: Sequence[str], folder: Path
) -> int:
    """Publish training sets anew under their tags without examples of the documents; return how many examples went."""
    registry = Registry(settings.registry, settings.remote, folder=FOLDER)
    gone = 0
    for tag in sorted(tags):
        before, after = _fresh(folder / "before" / tag), _fresh(folder / "after" / tag)
        registry.restore(tag, before)
        after.mkdir(parents=True)
        examples = list(read_examples(before / FILE))
        kept = [example for example in examples if not _holds(example, document_ids, needles)]
        write_examples(kept, after / FILE)
        _write_manifest(before, after, kept)
        registry.publish([after / FILE, after / MANIFEST], tag, f"Take examples out of {tag}")
        gone += len(examples) - len(kept)
    return gone


def separate_tags(settings: Settings) -> None:
    """Let each tag name the files of its own folder alone; until then it keeps bytes of others alive."""
    if settings.registry.exists():
        Registry(settings.registry, settings.remote).separate_tags()


def collect_garbage(settings: Settings) -> None:
    """Remove from cache and remote whatever no tag names any more."""
    if settings.registry.exists():
        Registry(settings.registry, settings.remote).collect_garbage()


def _write_manifest(before: Path, after: Path, kept: list[Example]) -> None:
    built = read_training_set(before)
    origins = {name: sum(example.origin == name for example in kept) for name in built.origins}
    changed = replace(
        built,
        num_train=sum(example.split == "train" for example in kept),
        num_validation=sum(example.split == "validation" for example in kept),
        num_unanswerable=sum(not example.answerable for example in kept),
        origins=origins,
        sha256=sha256_of_file(after / FILE),
        document_ids=tuple(sorted({name for example in kept for name in example.document_ids})),
    )
    raw = json.loads((before / MANIFEST).read_text(encoding="utf-8"))
    content = {name: value for name, value in asdict(changed).items() if name != "path"}
    write_json(after / MANIFEST, raw | content)


def _holds(example: Example, document_ids: Collection[str], needles: Needles) -> bool:
    if any(name in document_ids for name in example.document_ids) or example.cluster in document_ids:
        return True
    return needles.stand_in("\n".join([example.question, example.answer, example.rejected or ""]))


def _names_any(path: Path, document_ids: Collection[str]) -> bool:
    column = pq.read_table(path, columns=["document_id"], partitioning=None)["document_id"]
    return bool(pc.any(pc.is_in(column, pa.array(list(document_ids), pa.string()))).as_py())


def _fresh(folder: Path) -> Path:
    if folder.exists():
        shutil.rmtree(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    return folder

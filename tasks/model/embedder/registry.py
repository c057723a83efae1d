"""A tuned embedder as a version in MLflow: its gate, its run, and the alias `challenger`.

Once a person makes it the champion, the next refresh makes an index with it from the snapshot, and the index gate
judges that by the golden questions before it serves.
Plain files stand in the run (`embedder/`). Knows MLflow only.
"""

from collections.abc import Mapping
from pathlib import Path

from tasks.index.embedding.registered import EmbedderManifest, read_embedder
from tasks.model.embedder.card import CARD
from tasks.model.embedder.result import HEADLINE, EmbedderResult
from tasks.model.training.run_log import end_run, log_files, log_metrics, log_params, open_run
from tasks.releases.kind import EMBEDDER
from tasks.releases.lifecycle import challenge, register, version_with_key
from tasks.releases.tags import Tag
from tasks.settings import Settings

NOT_WORSE = (HEADLINE, "recall_at_5")
"""On golden questions: where the answer stands, and whether it is among what an excerpt is chosen from."""
MIN_GOLDEN = 20
"""Of fewer golden questions one more or less decides, and they judge nothing."""


def judge_embedder(result: EmbedderResult) -> tuple[str, ...]:
    """Return the reasons why a tuned embedder is no challenger.

    None: it is better than its base with confidence on held-out questions, most of which a rule wrote from the chunks,
    and not worse on golden ones, which people wrote. The first alone let embedders through with which readers got less
    (docs/embedder.md).
    """
    if result.improved:
        judged = result.golden if result.num_golden >= MIN_GOLDEN else {}
        return tuple(
            f"{name} of golden questions must not fall, found {judged[name].mean:+.3f} [{judged[name].low:+.3f}, "
            f"{judged[name].high:+.3f}] on {result.num_golden}"
            for name in NOT_WORSE
            if name in judged and judged[name].mean < 0
        )
    if result.best_step == 0:
        return (f"no step lowered the loss of held-out questions, found the least before the first: {_losses(result)}",)
    gain = result.gain[HEADLINE]
    return (
        f"{HEADLINE} must be above the base's with confidence, found {gain.mean:+.3f} [{gain.low:+.3f}, "
        f"{gain.high:+.3f}] on {result.num_questions} questions, which cannot tell less than about "
        f"{(gain.high - gain.low) / 2:.3f} from chance",
    )


def _losses(result: EmbedderResult) -> str:
    return ", ".join(f"{loss:.3f} at step {step}" for step, loss in sorted(result.selection.items()))


def register_embedder(settings: Settings, folder: Path, *, key: str, tags: Mapping[str, str] | None = None) -> str:
    """Make a tuned embedder that passed its gate a version and the challenger, once; return MLflow's version.

    Args:
        settings: where MLflow is.
        folder: of `train_embedder`.
        key: of the retrain; the same key is registered once, also after a kill at any line.
        tags: more tags of the version: corpus, training set …

    Raises:
        CorruptionError: the files are not those of the manifest.
        DependencyError: MLflow does not answer.
    """
    manifest = read_embedder(folder, settings)
    version = version_with_key(settings, EMBEDDER, key) or register(
        settings,
        EMBEDDER,
        key=key,
        run_id=_log(settings, folder, manifest, key),
        tags={Tag.BASE: manifest.base, Tag.ROOT: manifest.root or manifest.base, **(tags or {})},
        description=(folder / CARD).read_text(encoding="utf-8"),
    )
    challenge(settings, version)
    return version.version


def _log(settings: Settings, folder: Path, manifest: EmbedderManifest, key: str) -> str:
    run_id = open_run(settings, EMBEDDER.model, key, name=folder.name)
    numbers = {
        f"{when}.{name}": value for when in ("before", "after") for name, value in manifest.metrics[when].items()
    }
    log_params(settings, run_id, {"base": manifest.base, **manifest.training, **manifest.lineage})
    log_metrics(settings, run_id, numbers)
    log_files(settings, run_id, folder, EMBEDDER.artifacts)
    end_run(settings, run_id, tags={str(Tag.BASE): manifest.base})
    return run_id

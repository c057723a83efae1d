"""The kinds of releases. A new kind is one more `ReleaseKind`: its lifecycle, files and record are those of all."""

from dataclasses import dataclass, replace

from tasks.releases.tags import Tag
from tasks.tenant import of_tenant


@dataclass(frozen=True, slots=True)
class ReleaseKind:
    """What tells one kind of release from another.

    Attributes:
        name: as `almanac releases` shows it.
        description: of the registered model.
        artifacts: folder of its files in the MLflow run.
        key_tag: the tag that names what made a version; one version has one key, also after a kill.
        manifest: file in the folder that holds the sha256 of all others; None: the files are no folder to load.
        default: the name of what serves without a champion, to roll back to; None: nothing does.
        knowledge_base: the one that it answers for, alone; None: for all.
    """

    name: str
    description: str
    artifacts: str
    key_tag: Tag
    manifest: str | None = None
    default: str | None = None
    knowledge_base: str | None = None

    @property
    def model(self) -> str:
        """The registered model in MLflow, which is this tenant's own."""
        return of_tenant(f"almanac-{self.name}")


INDEX = ReleaseKind(
    name="index",
    description="Index releases. The alias `champion` serves.",
    artifacts="release",
    key_tag=Tag.RELEASE,
)
ANSWERER = ReleaseKind(
    name="answerer",
    description="Answerers. The alias `champion` serves; `challenger` passed its gate and waits for a person. "
    "Without a champion the default of params.yaml serves.",
    artifacts="answerer",
    key_tag=Tag.RETRAIN,
    manifest="answerer.json",
    default="base",
)
GENERAL = "general"
"""What answers for a knowledge base without an answerer of its own."""
EMBEDDER = ReleaseKind(
    name="embedder",
    description="Embedding models tuned on the documents' questions. The refresh after a promotion makes "
    "an index with the champion and judges it before it serves; without a champion it is params.yaml's model again.",
    artifacts="embedder",
    key_tag=Tag.RETRAIN,
    manifest="embedder.json",
)


def answerer_of(knowledge_base: str | None) -> ReleaseKind:
    """Return the answerer that a knowledge base has of its own; None: the general one.

    Its registered model is `almanac-answerer.<knowledge base>`: no tenant's name holds a dot.
    """
    if knowledge_base is None:
        return ANSWERER
    return replace(
        ANSWERER,
        name=f"{ANSWERER.name}.{knowledge_base}",
        description=f"Answerers of the knowledge base {knowledge_base}. The alias `champion` serves those who ask it "
        "alone. Without a champion the general answerer serves them.",
        default=GENERAL,
        knowledge_base=knowledge_base,
    )

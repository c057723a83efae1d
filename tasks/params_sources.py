"""What `params.yaml` says of sources: a block for each kind, and what all blocks of parameters share."""

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from tasks.params_checks import check_globs

Share = Annotated[float, Field(ge=0, le=1)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,79}$")]
Globs = Annotated[tuple[str, ...], AfterValidator(check_globs)]


class Block(BaseModel):
    """A frozen block of parameters that knows all its keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class SourceBase(Block):
    """What every source says: who may read it, and how much of it may vanish at once."""

    name: Name
    knowledge_base: Name
    access: tuple[Name, ...]
    max_removed_fraction: Share


class FilesSource(SourceBase):
    """Files under an fsspec URL (a local folder, `s3://`, `https://`)."""

    kind: Literal["files"]
    url: Annotated[str, Field(min_length=1)]
    include: Globs = ("**/*",)
    exclude: Globs = ()
    include_drafts: bool = False


class RecordFields(Block):
    """The names that a feed gives to what Almanac needs; null: the feed has no such field."""

    id: str = "id"
    text: str = "text"
    title: str | None = "title"
    uri: str | None = "uri"
    version: str | None = None
    updated_at: str | None = "updated_at"
    expires_at: str | None = "expires_at"
    access: str | None = "access"
    knowledge_base: str | None = "knowledge_base"
    operation: str = "op"


class RecordsSource(SourceBase):
    """JSONL or Parquet records: `snapshot` files hold the whole state, `changes` files are applied in name order."""

    kind: Literal["records"]
    url: str
    mode: Literal["snapshot", "changes"]
    fields: RecordFields = RecordFields()
    front_matter: bool = False


class GitSource(SourceBase):
    """A folder of a git repository at a ref."""

    kind: Literal["git"]
    url: str
    ref: str
    folder: str = ""
    include: Globs = ("**/*",)
    exclude: Globs = ()
    include_drafts: bool = False


class PythonPackagesSource(SourceBase):
    """The READMEs of the distributions installed beside Almanac."""

    kind: Literal["python-packages"]
    exclude: tuple[str, ...] = ()


Source = Annotated[
    FilesSource | RecordsSource | GitSource | PythonPackagesSource,
    Field(discriminator="kind"),
]

"""What `params.yaml` says of sources: a block for each kind, and what all blocks of parameters share."""

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from tasks.params.checks import check_database_url, check_globs, check_select, check_web_url, one_or_more
from tasks.use import Use

Share = Annotated[float, Field(ge=0, le=1)]
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,79}")
Name = Annotated[str, Field(pattern=f"^{NAME.pattern}$")]
Column = Annotated[str, Field(min_length=1)]
Globs = Annotated[tuple[str, ...], AfterValidator(check_globs)]


class Block(BaseModel):
    """A frozen block of parameters that knows all its keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class SourceBase(Block):
    """What every source says: who may read it, what for, and how much of it may vanish at once.

    `use`: `retrieve`: its documents never enter weights; `train`: they are never served. A document may narrow it.
    """

    name: Name
    knowledge_base: Name
    access: tuple[Name, ...]
    use: Use = "both"
    max_removed_fraction: Share


class FilesSource(SourceBase):
    """Files under an fsspec URL (a local folder, `s3://`, `https://`).

    `watch`: under `almanac up`, or beside any worker, a refresh starts soon after files of a local folder change.
    """

    kind: Literal["files"]
    url: Annotated[str, Field(min_length=1)]
    include: Globs = ("**/*",)
    exclude: Globs = ()
    include_drafts: bool = False
    watch: Annotated[bool, Field(exclude=True)] = False  # changes no document: left out of digests

    @model_validator(mode="after")
    def _watches_a_local_folder(self) -> "FilesSource":
        if self.watch and "://" in self.url and not self.url.startswith("file://"):
            raise ValueError(f"`watch` needs a local folder, found {self.url}; leave it out: the schedule refreshes")
        return self


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


class SqlColumns(Block):
    """The columns of a query that give what Almanac needs; null: the query has no such column.

    Several columns of `text` follow each other as paragraphs.
    """

    key: Column
    text: Annotated[tuple[Column, ...], BeforeValidator(one_or_more), Field(min_length=1)]
    title: Column | None = None
    uri: Column | None = None
    updated_at: Column | None = None
    expires_at: Column | None = None
    access: Column | None = None
    knowledge_base: Column | None = None
    metadata: tuple[Column, ...] = ()

    @property
    def details(self) -> tuple[str, ...]:
        """All columns but those of the text, each once."""
        named = (self.key, self.title, self.uri, self.updated_at, self.expires_at, self.access, self.knowledge_base)
        return tuple(dict.fromkeys(name for name in (*named, *self.metadata) if name is not None))


class SqlSource(SourceBase):
    """The rows of a query in PostgreSQL, MySQL or SQLite.

    `password_env` names the environment variable that holds the password; `format` is that of the text. With
    `columns.updated_at` texts are read only of rows whose other columns changed.
    """

    kind: Literal["sql"]
    url: Annotated[str, AfterValidator(check_database_url)]
    password_env: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")] | None = None
    query: Annotated[str, AfterValidator(check_select)]
    columns: SqlColumns
    format: Literal["md", "txt", "html", "rst"] = "md"


class WebSource(SourceBase):
    """Pages of the web: `urls` are sitemaps, RSS or Atom feeds, or pages whose links are followed within their host.

    `main_part` leaves out what is the same on every page. A page whose `lastmod` stands as it was is asked for again
    after `recheck_days`. `allow_private_addresses` lets the source into the own network.
    """

    kind: Literal["web"]
    urls: Annotated[tuple[Annotated[str, AfterValidator(check_web_url)], ...], Field(min_length=1)]
    include: Globs = ("**/*",)
    exclude: Globs = ()
    max_pages: Annotated[int, Field(ge=1)] = 10_000
    max_depth: Annotated[int, Field(ge=0)] = 3
    delay_seconds: Annotated[float, Field(ge=0)] = 1.0
    recheck_days: Annotated[int, Field(ge=0)] = 28
    main_part: bool = True
    allow_private_addresses: bool = False


class PushSource(SourceBase):
    """Documents that programs send to `POST /v1/documents`; they lie in the inbox of the home."""

    kind: Literal["push"]


Source = Annotated[
    FilesSource | RecordsSource | GitSource | PythonPackagesSource | SqlSource | WebSource | PushSource,
    Field(discriminator="kind"),
]

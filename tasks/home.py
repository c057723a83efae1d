"""The home folder: what lies where. All that Almanac writes lies in it, but for a store that is set elsewhere.

```
ALMANAC_HOME
├── tenant.json    whose this home is: one tenant's
├── home.json      the format of this home, and where it lay when it was last opened
├── server.json    the server that runs: its address, and the key that opens it to this home's owner
├── mlflow.db      MLflow: runs, versions, aliases, traces (questions and passages)      unless MLFLOW_TRACKING_URI
├── mlartifacts/   MLflow's files: gate reports, answerers, embedders, long traces       unless MLFLOW_TRACKING_URI
├── lancedb/       the index: chunks, vectors, access                                    unless ALMANAC_LANCEDB_URI
├── registry/      snapshots of the corpus and training sets: git + DVC
├── dvc-remote/    their second copy                                                     unless ALMANAC_DVC_REMOTE
├── releases/      a manifest for each index release
├── quarantine/    what the gates set aside
├── review/        drafts of training and evaluation that wait for a person, and what was decided
├── inbox/         documents that programs pushed
├── feedback/      ratings that MLflow has not taken yet
├── keys.json      hashes of API keys                                                    unless ALMANAC_API_KEYS_FILE
├── sessions/      who is signed in on the pages
├── keys-used.json when each of them was last used
├── retrain/       outcomes of retrains, and the work of one that was killed
├── comparison/    the last `almanac compare`, and those of single knowledge bases
├── forgotten/     what was taken back (keyed hashes), receipts, and an erasure that was killed
├── audit/         who was shown what, and who changed what: a chain of records
├── served/        what served last, a file for each kind of release, and for each knowledge base's own answerer
├── locks/         who writes
├── logs/          of the services of `almanac up`
├── prefect/       Prefect's database and settings
├── scan/          what the last scan of each source saw
├── cache/         models, vectors, evaluations: made again where it is missing
└── work/          the steps of an unfinished refresh
```

With `ALMANAC_STORE` the index, the second copy and the manifests of releases lie where other machines see them, too.

To move a home, stop what runs over it and copy the folder: addresses in it follow (`tasks.releases.tracking_store`).
`cache`, `scan` and `work` may be left out, `prefect` too where its history is not wanted.
"""

import json
from dataclasses import dataclass
from pathlib import Path

from tasks.errors import ConfigurationError

FORMAT = 1
"""Of all that lies in a home. Software that writes what this one cannot read writes a higher one into `home.json`."""


@dataclass(frozen=True, slots=True)
class Home:
    """The places of a home folder.

    Attributes:
        root: absolute.
    """

    root: Path

    @property
    def record(self) -> Path:
        """The format of this home, and where it lay when it was last opened."""
        return self.root / "home.json"

    def check_format(self) -> None:
        """Refuse a home that newer software wrote; one without a record is of the first format, or new.

        Raises:
            ConfigurationError: its format is above `FORMAT`.
        """
        try:
            number = json.loads(self.record.read_text(encoding="utf-8")).get("format", 1)
        except (OSError, ValueError, AttributeError):
            return
        if number > FORMAT:
            raise ConfigurationError(
                f"the home {self.root} must have a format up to {FORMAT} to be used by this software, found {number}; "
                "upgrade Almanac here, or set ALMANAC_HOME to another folder"
            )

    @property
    def tenant(self) -> Path:
        """Whose this home is."""
        return self.root / "tenant.json"

    @property
    def server(self) -> Path:
        """The record of the server that runs."""
        return self.root / "server.json"

    @property
    def tracking_database(self) -> Path:
        """MLflow's database."""
        return self.root / "mlflow.db"

    @property
    def artifacts(self) -> Path:
        """MLflow's files."""
        return self.root / "mlartifacts"

    @property
    def index(self) -> Path:
        """The LanceDB database."""
        return self.root / "lancedb"

    @property
    def registry(self) -> Path:
        """The data registry: a git + DVC repository that only flows write."""
        return self.root / "registry"

    @property
    def remote(self) -> Path:
        """The DVC remote that holds a second copy of every snapshot."""
        return self.root / "dvc-remote"

    @property
    def releases(self) -> Path:
        """Manifests of index releases."""
        return self.root / "releases"

    @property
    def api_keys(self) -> Path:
        """The file that maps hashes of API keys to users and groups."""
        return self.root / "keys.json"

    @property
    def keys_used(self) -> Path:
        """When each API key was last used."""
        return self.root / "keys-used.json"

    @property
    def sessions(self) -> Path:
        """Who is signed in on the pages."""
        return self.root / "sessions"

    @property
    def retrain(self) -> Path:
        """Work and outcomes of retrains."""
        return self.root / "retrain"

    @property
    def comparison(self) -> Path:
        """The last comparison."""
        return self.root / "comparison"

    def comparison_of(self, knowledge_base: str | None) -> Path:
        """Return the folder of the last comparison on one knowledge base; None: on all, as advice reads it."""
        of_all = self.comparison
        return of_all if knowledge_base is None else of_all / "knowledge-bases" / knowledge_base

    @property
    def forgotten(self) -> Path:
        """Tombstones and receipts of erasures."""
        return self.root / "forgotten"

    @property
    def scan(self) -> Path:
        """What the last scan of each source saw."""
        return self.root / "scan"

    @property
    def cache(self) -> Path:
        """What is made again where it is missing: models, vectors, evaluations."""
        return self.root / "cache"

    @property
    def served(self) -> Path:
        """What served last, a file for each kind of release."""
        return self.root / "served"

    @property
    def audit(self) -> Path:
        """Who was shown what, and who changed what."""
        return self.root / "audit"

    @property
    def feedback(self) -> Path:
        """Ratings that MLflow has not taken yet."""
        return self.root / "feedback"

    @property
    def review(self) -> Path:
        """Drafts of examples and golden questions, with what people decided."""
        return self.root / "review"

    @property
    def inbox(self) -> Path:
        """Documents that programs pushed."""
        return self.root / "inbox"

    @property
    def locks(self) -> Path:
        """Locks of writers, and their names."""
        return self.root / "locks"

    @property
    def logs(self) -> Path:
        """Logs of the services of `almanac up`."""
        return self.root / "logs"

    @property
    def prefect(self) -> Path:
        """Prefect's own home."""
        return self.root / "prefect"

    @property
    def work(self) -> Path:
        """Results of the steps of an unfinished refresh, named by their inputs; a re-run picks them up."""
        return self.root / "work"


def make_private(folder: Path) -> Path:
    """Make a folder that only its owner may enter, unless it is there; questions and documents lie in it."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder

"""Where Almanac runs: addresses, folders, devices, from `ALMANAC_*`; nothing here moves a metric.

`MLFLOW_TRACKING_URI` and `PREFECT_API_URL` keep the names that their users know.
"""

import datetime as dt
import getpass
import json
import logging
import os
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, SettingsConfigDict

from tasks.errors import HIDDEN, ConfigurationError, without_passwords
from tasks.home import Home
from tasks.telemetry import correlation_id, spans_endpoint
from tasks.tenant import TENANT, VARIABLE

QUIET_ENVIRONMENT = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_UI_V2_ENABLED": "false",
    "PREFECT_CLIENT_MAX_RETRIES": "4",
    "PREFECT_API_REQUEST_TIMEOUT": "20",
    "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",
    "PREFECT_LOGGING_INTERNAL_LEVEL": "CRITICAL",
    "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "TQDM_DISABLE": "1",
    "MLFLOW_MODEL_CATALOG_URI": "",
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    # With a collector of OpenTelemetry MLflow would send the traces of answers there, and keep none itself.
    "MLFLOW_ENABLE_OTLP_EXPORTER": "false",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "5",
    "MLFLOW_ASYNC_TRACE_LOGGING_RETRY_TIMEOUT": "5",
    "MLFLOW_ASYNC_TRACE_LOGGING_MAX_WORKERS": "2",
    "MLFLOW_GENAI_EVAL_MAX_WORKERS": "2",
    "MLFLOW_GENAI_EVAL_MAX_SCORER_WORKERS": "2",
    "GX_ANALYTICS_ENABLED": "false",
    "DVC_NO_ANALYTICS": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "LANCEDB_LOG": "error",
    "OMP_WAIT_POLICY": "PASSIVE",
}
"""No library calls home, and none hangs for minutes on a server that is down; a variable that is set wins.

Prefect's server answers 503 while its database file is locked: four tries more are 30 seconds, and no connection at all
is still told at once. MLflow's ten workers wait for each other on a database file until its pool of connections gives
up, and rows are lost.
"""


_SECRET_VARIABLES = (
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "MLFLOW_TRACKING_PASSWORD",
    "MLFLOW_TRACKING_TOKEN",
)
_MIN_SECRET_CHARACTERS = 8
"""A shorter secret would blacken words that happen to hold it."""


class Settings(BaseSettings):
    """One typed view of the environment.

    Attributes:
        home: where everything is kept; `tasks.home` says what lies where.
        tenant: parts the names of this installation from those of others on the same MLflow and Prefect.
        store: what several machines share: `s3://bucket/prefix`, or a folder that all mount at the same path.
        log: the level at which the program's own lines are shown.
        log_format: `json`: each line is an object with its time, level, logger, message and the id of its request.
        dask_address: of a Dask cluster that parses and embeds; one is started for each run otherwise.
        ray_address: of a Ray cluster, as `ray://host:10001`; one is started for each run otherwise.
        use_server: whether `ask`, `search` and `status` ask the server that runs over the home, where there is one.
        oidc_roles: which values of the claim `oidc_roles_claim` give a role: `kb-editors=reviewer,ml-leads=promoter`.
        oidc_client_id: of the pages at the identity provider; with it people sign in there.
        require_promoter: whether an alias counts only with the signed record of somebody who may promote.
        api_key: of who runs `promote` and `rollback`.
        session_hours: how long a sign-in holds.
        requests_per_minute: of one user; more are refused for a while. None: only the queue bounds them.
        public_url: the address at which people reach the pages, behind a proxy.
        alerts: where people are told of runs that failed or were killed: addresses of Apprise, apart by spaces.
        watch_quiet_seconds: for so long nothing must have changed in a watched folder before a refresh starts.
        embedding_endpoint: an OpenAI-compatible server that runs the embedding model too; refreshes embed texts there.
        embedding_endpoint_model: the model's name there; None: as it is called here.
        endpoint_adapter_folder: the home's `cache/answerers` as the machine of `generation.endpoint` sees it; None: as
            this one does.
        teacher_api_key: of the model that writes synthetic questions.
    """

    model_config = SettingsConfigDict(env_prefix="ALMANAC_", frozen=True, extra="ignore")

    home: Path = Path("var")
    tenant: str | None = None
    params: Path = Path("params.yaml")
    profile: str | None = None
    store: str | None = None
    lancedb_uri: str | None = None
    dvc_remote: str | None = None
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    num_threads: int = Field(default_factory=lambda: os.cpu_count() or 1, ge=1)
    mlflow_tracking_uri: str | None = Field(default=None, validation_alias="MLFLOW_TRACKING_URI")
    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=0, le=65535)
    prefect_port: int = Field(default=4200, ge=1, le=65535)
    mlflow_port: int = Field(default=5000, ge=1, le=65535)
    allowed_hosts: str = "localhost,127.0.0.1,[::1]"
    cors_origins: str = ""
    request_timeout_seconds: float = Field(default=120.0, gt=0)
    search_timeout_seconds: float = Field(default=30.0, gt=0)
    api_keys_file: Path | None = None
    oidc_issuer: str | None = None
    oidc_audience: str | None = None
    oidc_groups_claim: str = "groups"
    oidc_roles_claim: str = "groups"
    oidc_roles: str = ""
    oidc_client_id: str | None = None
    oidc_client_secret: SecretStr | None = None
    oidc_scopes: str = "openid profile email"
    session_hours: float = Field(default=8.0, gt=0)
    public_url: str | None = None
    requests_per_minute: int | None = Field(default=None, ge=1)
    pseudonym_key: SecretStr | None = None
    endpoint_api_key: SecretStr | None = None
    endpoint_adapter_folder: str | None = None
    embedding_endpoint: str | None = None
    embedding_endpoint_model: str | None = None
    embedding_api_key: SecretStr | None = None
    webhook_secret: SecretStr | None = None
    require_promoter: bool = False
    api_key: SecretStr | None = None

    log: str = "WARNING"
    log_format: Literal["text", "json"] = "text"
    dask_address: str | None = None
    ray_address: str | None = None
    use_server: bool = True
    alerts: SecretStr | None = None
    watch_quiet_seconds: float = Field(default=30, ge=0)
    teacher_api_key: SecretStr | None = None
    prefect_api_url: str | None = Field(default=None, validation_alias="PREFECT_API_URL")
    prefect_api_auth_string: SecretStr | None = Field(default=None, validation_alias="PREFECT_API_AUTH_STRING")

    def __init__(self, **values: Any) -> None:
        """Read the environment; `values` win over it.

        Raises:
            ConfigurationError: a variable holds what it must not.
        """
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise ConfigurationError("; ".join(map(_of_variable, error.errors()))) from None

    @field_validator("home", mode="before")
    @classmethod
    def _is_folder(cls, value: object) -> object:
        """Refuse an address: it would be taken for the name of a folder, and everything written there."""
        if "://" in str(value):
            raise ConfigurationError(
                f"ALMANAC_HOME must be a folder of this machine, found {value}; name a local folder, and set "
                "ALMANAC_LANCEDB_URI, ALMANAC_DVC_REMOTE and MLFLOW_TRACKING_URI to what machines share: "
                "docs/deployment.md"
            )
        return value

    @field_validator("tenant")
    @classmethod
    def _is_tenant(cls, value: str | None) -> str | None:
        """Refuse what MLflow, Prefect or an endpoint would not take as part of a name; empty is none."""
        if value and not TENANT.fullmatch(value):
            raise ConfigurationError(
                f"{VARIABLE} must be up to 40 lower-case letters, digits and `-`, with a letter or digit at both ends, "
                f"found {value[:80]!r}; correct or unset it"
            )
        return value or None

    @property
    def layout(self) -> Home:
        """The places of the home folder."""
        return Home(self.home.resolve())

    @property
    def tracking_uri(self) -> str:
        """MLflow's address: `MLFLOW_TRACKING_URI`, else a SQLite file in the home."""
        return self.mlflow_tracking_uri or f"sqlite:///{self.layout.tracking_database}"

    @property
    def index_uri(self) -> str:
        """The LanceDB database: `ALMANAC_LANCEDB_URI` (a folder or `s3://`), else in the store, else in the home."""
        return self.lancedb_uri or self._in_store("lancedb") or str(self.layout.index)

    @property
    def shared_state(self) -> str | None:
        """Where releases, numbers and the lease lie that all machines see; None: in the home, which one machine has.

        Beside an index in a bucket they lie without `ALMANAC_STORE`, too: what they guard is shared.
        """
        in_bucket = self.lancedb_uri is not None and "://" in self.lancedb_uri
        return self._in_store("state") or (f"{self.lancedb_uri}/almanac-state" if in_bucket else None)

    @property
    def registry(self) -> Path:
        """The data registry: a git + DVC repository that only flows write."""
        return self.layout.registry

    @property
    def remote(self) -> str:
        """The DVC remote that holds a second copy of every snapshot."""
        return self.dvc_remote or self._in_store("dvc-remote") or str(self.layout.remote)

    @property
    def shared_artifacts(self) -> str | None:
        """Where files go of an MLflow that is a database which machines share; None: its server decides."""
        return self._in_store("mlartifacts")

    def _in_store(self, name: str) -> str | None:
        if self.store is None:
            return None
        root = self.store.rstrip("/") if "://" in self.store else str(Path(self.store).resolve())
        return f"{root}/{name}"

    @property
    def api_keys(self) -> Path:
        """The file that maps hashes of API keys to users and groups."""
        return self.api_keys_file or self.layout.api_keys

    @property
    def work(self) -> Path:
        """Results of the steps of an unfinished refresh, named by their inputs; a re-run picks them up."""
        return self.layout.work


def _of_variable(error: ErrorDetails) -> str:
    name = str(error["loc"][0])
    variable = name if name.isupper() else f"ALMANAC_{name.upper()}"
    wish = error["msg"].removeprefix("Input should ")
    return f"the variable {variable} must {wish}, found {error['input']!r}; correct or unset it"


class RedactingFormatter(logging.Formatter):
    """Formats a record, its traceback too, without passwords of addresses and values of secret settings."""

    def __init__(self, form: str, settings: Settings) -> None:
        """Hide the secrets of these settings, and of variables that libraries read."""
        super().__init__(form)
        self._is_json = settings.log_format == "json"
        values = {value.get_secret_value() for value in vars(settings).values() if isinstance(value, SecretStr)}
        values |= {os.environ.get(name, "") for name in _SECRET_VARIABLES}
        self._secrets = tuple(value for value in values if len(value) >= _MIN_SECRET_CHARACTERS)

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        text = without_passwords(super().format(record))
        for secret in self._secrets:
            text = text.replace(secret, HIDDEN)
        request = correlation_id()
        if self._is_json:
            return _json_line(record, text, request)
        return f"{text} (request {request})" if request else text


def _json_line(record: logging.LogRecord, text: str, request: str | None) -> str:
    moment = dt.datetime.fromtimestamp(record.created, dt.UTC).isoformat(timespec="milliseconds")
    fields = {"time": moment, "level": record.levelname, "logger": record.name, "message": text}
    return json.dumps(fields | ({"request_id": request} if request else {}), ensure_ascii=False)


def log_to_stderr(settings: Settings, level: str | int) -> None:
    """Let the root logger write to standard error, without secrets."""
    handler = logging.StreamHandler()
    handler.setFormatter(RedactingFormatter("%(message)s", settings))
    logging.basicConfig(level=level, handlers=[handler])


def quiet_environment() -> None:
    """Set the environment in which no library calls home; call before the first heavy import."""
    for name, value in QUIET_ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    spans_endpoint()
    # Each try at a server that is down would be told of; what fails in the end says so in our words.
    logging.getLogger("urllib3").setLevel(logging.ERROR)
    # Prefect writes to the user's home folder otherwise, at its first import.
    os.environ.setdefault("PREFECT_HOME", str(Settings().layout.prefect))
    # DVC asks for the name, and a container that runs as any number (OpenShift) has none.
    os.environ["LOGNAME"] = user_name()


def user_name() -> str:
    """Return the name of who runs this process; its number where the system knows none."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid-{os.getuid()}"

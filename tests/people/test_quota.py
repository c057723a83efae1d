"""How many requests one user may send."""

from datetime import timedelta

import httpx
import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from serving.api.app import create_app
from serving.api.errors import ApiError
from serving.api.people.keys import KeyFile
from serving.api.people.quota import Quotas
from tasks.params import Params
from tasks.settings import Settings
from tests.conftest import BASE_PARAMS, files_source, merged
from tests.server import StaticPair


def refused_after(quotas: Quotas, user: str, limit: int) -> int:
    """How many requests were taken before one was refused."""
    for number in range(limit):
        try:
            quotas.take(user)
        except ApiError:
            return number
    return limit


def test_user_gets_a_minutes_requests_at_once_and_then_one_for_each_part_of_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = [0.0]
    monkeypatch.setattr("serving.api.people.quota._now", lambda: clock[0])
    quotas = Quotas(30)
    assert refused_after(quotas, "ann", 100) == 30
    assert refused_after(quotas, "bob", 10) == 10
    with pytest.raises(ApiError) as raised:
        quotas.take("ann")
    assert (raised.value.status, raised.value.headers["Retry-After"]) == (429, "2")
    clock[0] += 2
    assert refused_after(quotas, "ann", 10) == 1
    clock[0] += 3600
    assert refused_after(quotas, "ann", 100) == 30


def test_without_a_bound_nobody_is_refused() -> None:
    assert refused_after(Quotas(None), "ann", 10_000) == 10_000


def test_many_users_are_forgotten_when_their_buckets_are_full_again(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr("serving.api.people.quota._now", lambda: clock[0])
    monkeypatch.setattr("serving.api.people.quota._MAX_USERS", 100)
    quotas = Quotas(1)
    for number in range(101):
        quotas.take(f"user {number}")
    clock[0] += 61
    quotas.take("one more")
    assert len(quotas._buckets) <= 2


@pytest.fixture
def app(settings: Settings) -> FastAPI:
    update = {"requests_per_minute": 3, "allowed_hosts": "*"}
    params = Params.model_validate(merged(BASE_PARAMS, {"sources": [files_source(settings.home)]}))
    return create_app(params, settings.model_copy(update=update), StaticPair)


@pytest.mark.slow
def test_server_refuses_one_user_and_answers_the_others(app: FastAPI, settings: Settings) -> None:
    keys, client = KeyFile(settings.api_keys), TestClient(app)

    def asked(key: str) -> httpx.Response:
        return client.get("/v1/models", headers={"Authorization": f"Bearer {key}"})

    ann, bob = keys.add("ann", ()), keys.add("bob", ())
    assert [asked(ann).status_code for _ in range(5)] == [200, 200, 200, 429, 429]
    assert asked(bob).status_code == 200
    refused = asked(ann)
    assert refused.json()["error"]["code"] == "rate_limit_exceeded" and int(refused.headers["retry-after"]) >= 1
    # A key that is rotated is the same user.
    assert asked(keys.rotate("ann", overlap=timedelta(0))).status_code == 429
    assert client.get("/healthz").status_code == 200

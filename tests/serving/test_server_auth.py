"""Who asks: keys, tokens, nobody; and whose rating counts."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from fastapi import FastAPI

from serving.api.app import create_app
from serving.api.auth import Identity
from serving.api.errors import ApiError
from serving.api.feedback import MAX_WAITING_OF_A_USER, FeedbackRequest, FeedbackSpool
from serving.api.people.keys import KeyFile
from serving.api.people.tokens import Tokens
from tasks.answer.trace import flush_traces
from tasks.errors import ConfigurationError
from tasks.releases.model_registry import mlflow_client
from tasks.settings import Settings
from tests.conftest import wait_until
from tests.server import LOCKBOX, ZEPHYR, Home, StaticPair, make_home, record, running

pytestmark = pytest.mark.slow

AUDIENCE = "almanac"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, migrated_mlflow: Path) -> Home:
    records = [record("zephyr", ZEPHYR, "everyone"), record("lockbox", LOCKBOX, "finance")]
    return make_home(tmp_path_factory.mktemp("auth"), migrated_mlflow, records)


class Provider:
    """A real OIDC provider as far as keys go: its documents over HTTP, and tokens that it signs."""

    def __init__(self) -> None:
        self.key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self.fetches, self.issuer = 0, ""
        self.app = FastAPI()
        self.app.get("/.well-known/openid-configuration")(self.configuration)
        self.app.get("/keys")(self.keys)

    def configuration(self) -> dict[str, Any]:
        return {"issuer": self.issuer, "jwks_uri": f"{self.issuer}/keys"}

    def keys(self) -> dict[str, Any]:
        self.fetches += 1
        public = jwt.algorithms.RSAAlgorithm.to_jwk(self.key.public_key(), as_dict=True)
        return {"keys": [public | {"kid": "one", "alg": "RS256", "use": "sig"}]}

    def claims(self, **changes: Any) -> dict[str, Any]:
        now = time.time()
        claims = {"iss": self.issuer, "aud": AUDIENCE, "sub": "alice", "exp": now + 300, "nbf": now - 5}
        return {name: value for name, value in (claims | changes).items() if value is not None}

    def token(self, *, signed_by: Any = None, algorithm: str = "RS256", kid: str = "one", **changes: Any) -> str:
        return jwt.encode(self.claims(**changes), signed_by or self.key, algorithm=algorithm, headers={"kid": kid})


@pytest.fixture(scope="module")
def provider() -> Iterator[Provider]:
    found = Provider()
    with running(found.app) as address:
        found.issuer = address
        yield found


@pytest.fixture(scope="module")
def server(home: Home, provider: Provider) -> Iterator[str]:
    settings = home.settings.model_copy(update={"oidc_issuer": provider.issuer, "oidc_audience": AUDIENCE})
    with running(create_app(home.params, settings, StaticPair)) as address:
        yield address


def found(server: str, credential: str | None) -> set[str] | int:
    """Documents that a search shows, or the status of a refusal."""
    headers = {"Authorization": f"Bearer {credential}"} if credential else {}
    answer = httpx.get(f"{server}/v1/search", params={"query": "locks and queues"}, headers=headers, timeout=60)
    return {entry["document_id"] for entry in answer.json()["results"]} if answer.is_success else answer.status_code


def test_key_sees_what_its_groups_may_read(server: str, home: Home) -> None:
    keys = KeyFile(home.settings.api_keys)
    assert found(server, keys.add("fin", ("finance",))) == {"wiki:zephyr", "wiki:lockbox"}
    assert found(server, keys.add("none", ())) == {"wiki:zephyr"}


def test_removed_key_is_refused_at_the_next_request(server: str, home: Home) -> None:
    keys = KeyFile(home.settings.api_keys)
    credential = keys.add("leaver", ())
    assert found(server, credential) == {"wiki:zephyr"}
    keys.remove("leaver")
    assert found(server, credential) == 401


def test_key_itself_is_kept_nowhere(home: Home) -> None:
    credential = KeyFile(home.settings.api_keys).add("secret", ())
    assert credential not in home.settings.api_keys.read_text()
    assert home.settings.api_keys.stat().st_mode & 0o077 == 0


def test_key_needs_a_name_of_its_own(home: Home) -> None:
    keys = KeyFile(home.settings.api_keys)
    keys.add("twice", ())
    with pytest.raises(ConfigurationError, match="name of its own"):
        keys.add("twice", ())


@pytest.mark.parametrize("path", ["/v1/models", "/v1/search?query=x"])
def test_nobody_without_a_key_gets_anything(server: str, path: str) -> None:
    answer = httpx.get(f"{server}{path}")
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert answer.json()["error"]["code"] == "invalid_api_key"


def test_anonymous_groups_let_in_who_has_no_key(home: Home) -> None:
    identity = Identity(home.settings, anonymous_groups=("public",))
    assert identity.asker(None).groups == ("public",)
    with pytest.raises(ApiError) as raised:
        identity.asker("Bearer wrong")
    assert raised.value.status == 401


def test_token_of_the_provider_brings_its_groups(server: str, provider: Provider) -> None:
    assert found(server, provider.token(groups=["finance"])) == {"wiki:zephyr", "wiki:lockbox"}
    assert found(server, provider.token()) == {"wiki:zephyr"}


@pytest.mark.parametrize(
    "changes",
    [
        {"exp": 1.0}, {"exp": None}, {"nbf": 9e9}, {"aud": "other"}, {"aud": None}, {"iss": "https://evil.example"},
        {"iss": None}, {"sub": None}, {"groups": "finance"}, {"groups": [1]}, {"groups": [""]}, {"kid": "unknown"},
    ],
    ids=str,
)  # fmt: skip
def test_token_that_is_not_right_is_refused(server: str, provider: Provider, changes: dict[str, Any]) -> None:
    assert found(server, provider.token(**changes)) == 401


def test_token_that_the_provider_did_not_sign_is_refused(server: str, provider: Provider) -> None:
    stranger = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    curve = ec.generate_private_key(ec.SECP256R1())
    assert found(server, provider.token(signed_by=stranger, groups=["finance"])) == 401
    assert found(server, provider.token(signed_by=curve, algorithm="ES256", groups=["finance"])) == 401
    assert found(server, provider.token(signed_by="x" * 32, algorithm="HS256", groups=["finance"])) == 401
    unsigned = jwt.encode(provider.claims(groups=["finance"]), None, algorithm="none", headers={"kid": "one"})
    assert found(server, unsigned) == 401


def test_unknown_key_ids_do_not_make_the_server_fetch_without_end(provider: Provider) -> None:
    tokens = Tokens(provider.issuer, AUDIENCE)
    tokens.claims(provider.token())
    before = provider.fetches
    for number in range(20):
        with pytest.raises(ApiError):
            tokens.claims(provider.token(kid=f"made-up-{number}"))
    assert provider.fetches == before


def test_issuer_without_audience_is_a_mistake(home: Home, provider: Provider) -> None:
    settings = home.settings.model_copy(update={"oidc_issuer": provider.issuer})
    with pytest.raises(ConfigurationError, match="ALMANAC_OIDC_AUDIENCE"):
        Identity(settings, anonymous_groups=())


def test_users_are_named_by_a_keyed_hash(home: Home, tmp_path: Path) -> None:
    identity = Identity(home.settings, anonymous_groups=())
    again = Identity(home.settings, anonymous_groups=())
    elsewhere = Identity(Settings(home=tmp_path), anonymous_groups=())
    assert identity.pseudonym("key", "alice") == again.pseudonym("key", "alice")
    assert identity.pseudonym("key", "alice") != identity.pseudonym("oidc", "alice")
    assert identity.pseudonym("key", "alice") != elsewhere.pseudonym("key", "alice")


@pytest.fixture
def asker(server: str, home: Home, request: pytest.FixtureRequest) -> Iterator[httpx.Client]:
    key = KeyFile(home.settings.api_keys).add(request.node.name, ())
    with httpx.Client(base_url=server, headers={"Authorization": f"Bearer {key}"}, timeout=60) as client:
        yield client


def ask(client: httpx.Client) -> str:
    """Ask a question; return the answer's trace."""
    body = {"messages": [{"role": "user", "content": "What is zephyr?"}], "session_id": "talk"}
    trace: str = client.post("/v1/chat/completions", json=body).json()["almanac"]["trace_id"]
    return trace


def assessments(home: Home, trace: str) -> dict[str, Any]:
    flush_traces()
    with mlflow_client(home.settings) as client:
        entries = client.get_trace(trace, display=False).info.assessments
    assert len({entry.name for entry in entries}) == len(entries)
    return {entry.name: entry for entry in entries}


def delivered(home: Home) -> Callable[[], bool]:
    return lambda: not list((home.settings.home / "feedback").glob("*.json"))


def test_rating_is_an_assessment_on_its_own_trace_and_the_last_one_stands(asker: httpx.Client, home: Home) -> None:
    trace, other = ask(asker), ask(asker)
    first = {"trace_id": trace, "rating": "down", "comment": "Too short.", "corrected_answer": "A task queue."}
    assert asker.post("/v1/feedback", json=first).status_code == 202
    wait_until(delivered(home), seconds=60)
    kept = assessments(home, trace)
    assert (kept["user_rating"].value, kept["user_rating"].rationale) == (False, "Too short.")
    assert kept["user_rating"].source.source_type == "HUMAN"
    assert kept["expected_response"].value == "A task queue."
    asker.post("/v1/feedback", json={"trace_id": trace, "rating": "up"})
    wait_until(delivered(home), seconds=60)
    kept = assessments(home, trace)
    assert kept["user_rating"].value is True
    assert "expected_response" not in kept
    assert assessments(home, other) == {}


def test_only_the_asker_may_rate(asker: httpx.Client, server: str, home: Home) -> None:
    trace = ask(asker)
    stranger = KeyFile(home.settings.api_keys).add("stranger", ())
    body = {"trace_id": trace, "rating": "up"}
    answer = httpx.post(f"{server}/v1/feedback", json=body, headers={"Authorization": f"Bearer {stranger}"})
    assert answer.status_code == 404
    # Another server of the same home has not seen the question: it finds out from the trace.
    events: list[str] = []
    spool = FeedbackSpool(home.settings, events.append)
    flush_traces()
    spool.accept(FeedbackRequest(trace_id=trace, rating="up"), "somebody-else")
    assert spool.deliver()
    assert events[-1] == "refused"
    assert assessments(home, trace) == {}


def test_rating_outlives_an_mlflow_that_is_down(asker: httpx.Client, home: Home) -> None:
    trace = ask(asker)
    flush_traces()
    down = home.settings.model_copy(update={"mlflow_tracking_uri": "http://127.0.0.1:9"})
    user = Identity(home.settings, anonymous_groups=()).pseudonym(
        "key", "test_rating_outlives_an_mlflow_that_is_down"
    )  # fmt: skip
    spool = FeedbackSpool(down, lambda _: None)
    spool.accept(FeedbackRequest(trace_id=trace, rating="up"), user)
    assert not spool.deliver()
    FeedbackSpool(home.settings, lambda _: None).deliver()
    assert assessments(home, trace)["user_rating"].value is True


def test_ratings_that_wait_are_bounded_for_each_user(tmp_path: Path) -> None:
    spool = FeedbackSpool(Settings(home=tmp_path), lambda _: None)
    for number in range(MAX_WAITING_OF_A_USER):
        spool.accept(FeedbackRequest(trace_id=f"tr-{number:032x}", rating="up"), "bot")
    with pytest.raises(ApiError) as raised:
        spool.accept(FeedbackRequest(trace_id=f"tr-{2**100:032x}", rating="up"), "bot")
    assert raised.value.status == 429
    spool.accept(FeedbackRequest(trace_id=f"tr-{2**100:032x}", rating="up"), "person")

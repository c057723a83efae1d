"""Two tenants on one MLflow, one PostgreSQL and one bucket: nothing of one is seen, moved or lost by the other."""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psycopg2
import pytest

from flows.forget import forget
from flows.refresh import refresh
from serving.api.app import create_app
from serving.api.people.keys import KeyFile
from tasks.answer.trace import flush_traces
from tasks.answer.trace_search import answer_traces
from tasks.erasure.subject import Wanted
from tasks.errors import ConfigurationError
from tasks.index.doctor import examine
from tasks.lease import hold_stores
from tasks.model.examples.feedback import read_rated
from tasks.releases.kind import ANSWERER, INDEX
from tasks.releases.lifecycle import champion
from tasks.settings import Settings
from tasks.tenant import is_own, of_tenant
from tests.conftest import wait_until
from tests.server import Home, make_home, record, running
from tests.stores import team_servers

pytestmark = pytest.mark.slow
QUESTION = "Where is the lantern of the harbour kept?"
DOCUMENT = "wiki:lantern"


@pytest.mark.parametrize(
    ("name", "own"),
    [("almanac-index", "almanac-acme-index"), ("almanac", "almanac-acme"), ("weekly", "acme-weekly")],
)
def test_tenant_has_names_of_its_own(monkeypatch: pytest.MonkeyPatch, name: str, own: str) -> None:
    assert of_tenant(name) == name
    monkeypatch.setenv("ALMANAC_TENANT", "acme")
    assert of_tenant(name) == own


def test_name_of_another_tenant_is_not_ones_own(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("almanac-index", "almanac-acme-index", "almanac-acme-2-index", "Default")
    names += ("almanac-answerer.a-b", "almanac-acme-answerer.a-b", "almanac-acme-2-answerer.a-b")
    assert [name for name in names if is_own(name)] == ["almanac-index", "Default", "almanac-answerer.a-b"]
    monkeypatch.setenv("ALMANAC_TENANT", "acme")
    assert [name for name in names if is_own(name)] == ["almanac-acme-index", "almanac-acme-answerer.a-b"]


@pytest.mark.parametrize("name", ["Acme", "a b", "-a", "a-", "ä", "a" * 41, "a/b"])
def test_tenant_that_is_no_name_is_a_mistake(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("ALMANAC_TENANT", name)
    with pytest.raises(ConfigurationError, match="ALMANAC_TENANT must be up to 40 lower-case letters"):
        Settings()


def test_home_and_store_take_one_tenant(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def settings(tenant: str | None, home: str) -> Settings:
        return Settings(tenant=tenant, home=tmp_path / home, store=str(tmp_path / "store"))

    with hold_stores(settings("acme", "one"), purpose="test"), monkeypatch.context():
        pass
    for other in ("beta", None):
        for refused in (settings(other, "one"), settings(other, "two")):
            with pytest.raises(ConfigurationError, match="found that of the tenant acme"):
                hold_stores(refused, purpose="test").__enter__()
        shutil.rmtree(tmp_path / "two")
    with hold_stores(settings("acme", "three"), purpose="test"):
        pass


def test_home_of_before_there_were_tenants_is_no_tenants(tmp_path: Path) -> None:
    (tmp_path / "releases").mkdir()
    with pytest.raises(ConfigurationError, match="found that of the installation without a tenant"):
        hold_stores(Settings(tenant="acme", home=tmp_path), purpose="test").__enter__()


@dataclass(frozen=True)
class Tenant:
    """One of two installations on the same servers."""

    name: str
    home: Home
    key: str
    environment: dict[str, str]

    @contextmanager
    def active(self) -> Iterator[None]:
        """Let this process be the tenant's, as a process is for its whole life."""
        with pytest.MonkeyPatch.context() as environment:
            for name, value in self.environment.items():
                environment.setenv(name, value)
            yield

    @contextmanager
    def served(self) -> Iterator[httpx.Client]:
        with self.active(), running(create_app(self.home.params, self.home.settings)) as address:
            headers = {"Authorization": f"Bearer {self.key}"}
            with httpx.Client(base_url=address, headers=headers, timeout=120) as client:
                yield client
            flush_traces()

    def shown(self) -> list[str]:
        """The traces that show the sentence that both documents hold."""
        with self.active():
            traces = answer_traces(self.home.settings)
            return [trace.info.trace_id for trace in traces if "oil of whales" in trace.to_json()]

    def champion(self) -> int | None:
        with self.active():
            version = champion(self.home.settings, INDEX)
            return version.release if version else None


def ask(client: httpx.Client) -> dict[str, Any]:
    body = {"messages": [{"role": "user", "content": QUESTION}]}
    answer: dict[str, Any] = client.post("/v1/chat/completions", json=body).raise_for_status().json()
    return answer


@pytest.fixture(scope="module")
def tenants(tmp_path_factory: pytest.TempPathFactory, migrated_mlflow: Path) -> Iterator[tuple[Tenant, Tenant, str]]:
    folder = tmp_path_factory.mktemp("tenants")
    with team_servers(folder) as servers:
        bucket = servers["ALMANAC_STORE"].rsplit("/", 1)[0]

        def make(name: str, place: str) -> Tenant:
            (folder / name).mkdir()
            environment = servers | {"ALMANAC_TENANT": name, "ALMANAC_STORE": f"{bucket}/{name}"}
            environment |= {"ALMANAC_HOME": str(folder / name / "home"), "OMP_NUM_THREADS": "1"}
            environment |= {"ALMANAC_PARAMS": str(folder / name / "params.yaml")}
            with pytest.MonkeyPatch.context() as patch:
                for variable, value in environment.items():
                    patch.setenv(variable, value)
                lines = [
                    record(
                        "lantern",
                        f"# Lantern\n\nThe lantern of the harbour is kept {place}. It burns oil of whales.\n",
                        "everyone",
                    )
                ]
                home = make_home(folder / name, migrated_mlflow, lines)
                return Tenant(name, home, KeyFile(home.settings.api_keys).add("bot", ()), environment)

        yield make("acme", "in the north tower"), make("beta", "below the south bridge"), servers["DATABASE"]


def test_each_answers_from_its_own_and_nothing_of_one_reaches_the_other(tenants: tuple[Tenant, Tenant, str]) -> None:
    acme, beta, database = tenants
    with acme.served() as client:
        answer = ask(client)
        assert "north tower" in str(answer) and "south bridge" not in str(answer)
        rating = {"trace_id": answer["almanac"]["trace_id"], "rating": "up", "comment": "right"}
        assert client.post("/v1/feedback", json=rating).status_code == 202
        assert client.get("/v1/models", headers={"Authorization": f"Bearer {beta.key}"}).status_code == 401
        wait_until(lambda: [one for one in read_rated(acme.home.settings) if one.votes], seconds=60)
    with beta.served() as client:
        answer = ask(client)
        assert "south bridge" in str(answer) and "north tower" not in str(answer)
        assert client.get("/v1/models", headers={"Authorization": f"Bearer {acme.key}"}).status_code == 401
        assert read_rated(beta.home.settings) == []
        # Another's answer is none that one may rate, though both lie in one MLflow.
        client.post("/v1/feedback", json=rating | {"rating": "down"})
        wait_until(lambda: not list(beta.home.settings.layout.feedback.glob("*.json")), seconds=60)
    with acme.active():
        (rated,) = [one for one in read_rated(acme.home.settings) if one.votes]
        assert list(rated.votes.values()) == [True]
    # Closed for good: PostgreSQL waits for who is connected before it stops.
    with closing(psycopg2.connect(database)) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT name FROM registered_models")
        models = {name for (name,) in cursor.fetchall()}
        cursor.execute("SELECT name FROM experiments")
        experiments = {name for (name,) in cursor.fetchall()}
    assert {"almanac-acme-index", "almanac-beta-index"} <= models
    assert all(name.startswith(("almanac-acme-", "almanac-beta-")) for name in models)
    assert {"almanac-acme-answers", "almanac-beta-answers"} <= experiments and "almanac-answers" not in experiments


def test_promotion_and_erasure_of_one_leave_the_others(tenants: tuple[Tenant, Tenant, str]) -> None:
    acme, beta, _ = tenants
    feed = Path(acme.home.settings.params).parent / "wiki.jsonl"
    feed.write_text(feed.read_text().replace("north tower", "east gate"))
    with acme.active():
        assert refresh.fn().release == 2
    assert (acme.champion(), beta.champion()) == (2, 1)
    kept = beta.shown()
    assert kept and acme.shown()
    with acme.active():
        receipt = forget.fn(Wanted((DOCUMENT,)))
        assert receipt.found_after == {}
    # Both documents held the same sentence: only the tenant's own copies of it are gone.
    assert (acme.shown(), beta.shown()) == ([], kept)
    with beta.served() as client:
        assert "south bridge" in str(ask(client))
        found = client.get("/v1/search", params={"query": QUESTION}).json()["results"]
        assert [row["document_id"] for row in found] == [DOCUMENT]
    with beta.active():
        assert refresh.fn().documents == 1
        assert ANSWERER.model == "almanac-beta-answerer"


def test_tenant_with_the_home_or_store_of_another_is_refused(
    tenants: tuple[Tenant, Tenant, str], almanac: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    acme, beta, _ = tenants
    for name, value in (beta.environment | {"ALMANAC_STORE": acme.environment["ALMANAC_STORE"]}).items():
        monkeypatch.setenv(name, value)
    (problem,) = [one for one in examine(beta.home.params, Settings(), deep=False) if "tenant" in one.what]
    assert "to be used by it, found that of the tenant acme" in problem.what
    assert "found that of the tenant acme" in almanac("refresh").line
    monkeypatch.setenv("ALMANAC_STORE", os.environ["ALMANAC_STORE"].replace("acme", "beta"))
    monkeypatch.setenv("ALMANAC_HOME", acme.environment["ALMANAC_HOME"])
    refused = almanac("doctor")
    assert refused.code == 2 and "set ALMANAC_HOME to a place of its own" in refused.line

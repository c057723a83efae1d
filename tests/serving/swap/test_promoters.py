"""Who may let a version serve: signed records, what is refused without one, and MLflow's own users."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from serving.api.app import create_app
from serving.api.people.keys import KeyFile
from serving.api.people.roles import Role
from serving.promotion.live import LivePair
from tasks.audit.audit import Audit
from tasks.errors import ConfigurationError
from tasks.releases import kind
from tasks.releases.approval import Approver, approval_tag, require_approval
from tasks.releases.decline import decline
from tasks.releases.lifecycle import promote, roll_back
from tasks.releases.model_registry import CHALLENGER, mlflow_client
from tasks.releases.tags import Tag
from tasks.releases.version import ReleaseVersion
from tasks.settings import QUIET_ENVIRONMENT, Settings
from tests.answerers import register_answerer
from tests.conftest import answers, free_ports, wait_until
from tests.server import running
from tests.serving.swap.swap_world import ANSWERER, INDEX, World, versions

ANN = Approver("ann", "0" * 32)
PASSWORD = "a-long-password-of-the-test"


@pytest.fixture
def strict(world: World) -> World:
    """The world where only promoters let a version serve."""
    settings = world.settings.model_copy(update={"require_promoter": True})
    return World(settings, world.params, world.folder)


@pytest.fixture
def signing(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path, require_promoter=True)


def version(**tags: str) -> ReleaseVersion:
    return ReleaseVersion(kind.ANSWERER, "3", "run", tags)


def signed(settings: Settings, of: ReleaseVersion | None = None) -> ReleaseVersion:
    tags = approval_tag(settings, of or version(), ANN)
    return version(**{str(name): value for name, value in tags.items()})


def test_record_counts_for_its_version_its_act_and_its_installation(signing: Settings, tmp_path: Path) -> None:
    require_approval(signing, signed(signing))
    (record,) = approval_tag(signing, version(), ANN).values()
    elsewhere = Settings(home=tmp_path / "elsewhere", require_promoter=True)
    (tmp_path / "elsewhere").mkdir()
    for forged in (
        version(),
        version(promoted_by="ann"),
        version(promoted_by=record.replace("ann", "bob")),
        version(promoted_by=record[:-1] + ("0" if record[-1] != "0" else "1")),
        signed(signing, ReleaseVersion(kind.ANSWERER, "2", "run")),
        signed(signing, ReleaseVersion(kind.INDEX, "3", "run")),
        signed(signing, ReleaseVersion(kind.ANSWERER, "3", "a run that was deleted")),
        signed(elsewhere),
    ):
        with pytest.raises(ConfigurationError, match="must be a promoter"):
            require_approval(signing, forged)
    with pytest.raises(ConfigurationError):
        require_approval(signing, signed(signing), "leave")
    require_approval(signing.model_copy(update={"require_promoter": False}), version())


def test_name_of_a_promoter_does_not_break_the_record(signing: Settings) -> None:
    tags = approval_tag(signing, version(), Approver("a | b | c\n" + "x" * 300))
    require_approval(signing, version(**{str(name): value for name, value in tags.items()}))


@pytest.mark.slow
def test_alias_moved_without_a_promoter_goes_back_and_the_version_says_why(
    strict: World, open_live: Callable[..., LivePair]
) -> None:
    live = open_live(strict.settings)
    live.start()
    promote(strict.settings, kind.ANSWERER, "1", ANN)
    wait_until(lambda: versions(live)[1] == "1", seconds=60)
    strict.point(ANSWERER, "2")
    wait_until(lambda: strict.named(ANSWERER) == "1", seconds=60)
    tags = strict.tags(ANSWERER, "2")
    assert "must be a promoter, found none" in tags["refused"]
    assert versions(live)[1] == "1"
    assert strict.tags(ANSWERER, "1")[Tag.PROMOTED_BY].startswith("ann | ")
    # The record of before is written again by somebody who may write tags: it is older than the last promotion.
    old = strict.tags(ANSWERER, "1")[Tag.PROMOTED_BY]
    promote(strict.settings, kind.ANSWERER, "2", ANN)
    wait_until(lambda: versions(live)[1] == "2", seconds=60)
    assert "refused" not in strict.tags(ANSWERER, "2")
    with mlflow_client(strict.settings) as client:
        client.set_model_version_tag(ANSWERER, "1", str(Tag.PROMOTED_BY), old)
    strict.point(ANSWERER, "1")
    wait_until(lambda: strict.named(ANSWERER) == "2", seconds=60)
    assert "must be newer" in strict.tags(ANSWERER, "1")["refused"]
    # The same for the index, which a promoter moves, and for a lost alias.
    strict.point(INDEX, "2")
    wait_until(lambda: strict.named(INDEX) == "1", seconds=60)
    with mlflow_client(strict.settings) as client:
        client.set_model_version_tag(ANSWERER, "2", str(Tag.ROLLED_BACK), "now")
    strict.point(ANSWERER, None)
    wait_until(lambda: any("leave must be a promoter" in reason for reason in live.status().reasons), seconds=60)
    assert versions(live)[1] == "2"
    strict.point(ANSWERER, "2")
    roll_back(strict.settings, kind.ANSWERER, to="base", by=ANN)
    wait_until(lambda: versions(live)[1] == "base", seconds=60)


@pytest.mark.slow
def test_promoter_decides_by_http_and_others_are_refused(world: World) -> None:
    settings = world.settings.model_copy(update={"require_promoter": True})
    keys = KeyFile(settings.api_keys)
    ann = {"Authorization": f"Bearer {keys.add('ann', (), roles=(Role.PROMOTER,))}"}
    with running(create_app(world.params, settings)) as address:
        for role in (Role.READER, Role.REVIEWER, Role.OPERATOR):
            headers = {"Authorization": f"Bearer {keys.add(role, (), roles=(role,))}"}
            for act in ("promote", "rollback", "reject"):
                body = {"version": "1"} | ({"why": "x"} if act == "reject" else {})
                refused = httpx.post(f"{address}/v1/releases/answerer/{act}", json=body, headers=headers)
                assert refused.status_code == 403, (role, act)
        assert world.named(ANSWERER) is None
        done = httpx.post(f"{address}/v1/releases/answerer/promote", json={"version": "1"}, headers=ann, timeout=60)
        assert done.json() == {"kind": "answerer", "version": "1", "decision": "promoted"}
        wait_until(lambda: httpx.get(f"{address}/readyz").json()["answerer"]["version"] == "1", seconds=60)
        listed = httpx.get(f"{address}/v1/releases", headers=ann, timeout=60).json()["releases"]
        assert {entry["kind"] for entry in listed} == {"index", "answerer"}
        back = httpx.post(f"{address}/v1/releases/answerer/rollback", json={}, headers=ann, timeout=60)
        assert back.json()["version"] == "base"
        wait_until(lambda: httpx.get(f"{address}/readyz").json()["answerer"]["version"] == "base", seconds=60)
        unknown = httpx.post(f"{address}/v1/releases/answerer/promote", json={"version": "9"}, headers=ann, timeout=60)
        assert unknown.status_code == 400
    done = [entry for entry in Audit(settings.layout).entries() if entry.what in ("promoted", "rolled back")]
    assert [entry.what for entry in done[-2:]] == ["promoted", "rolled back"]
    assert {len(entry.actor) for entry in done[-2:]} == {32}


@pytest.mark.slow
def test_command_promotes_with_a_promoters_key_alone(
    strict: World, almanac: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = KeyFile(strict.settings.api_keys)
    monkeypatch.setenv("ALMANAC_HOME", str(strict.settings.home))
    monkeypatch.setenv("ALMANAC_REQUIRE_PROMOTER", "true")
    assert "ALMANAC_API_KEY" in almanac("promote", "answerer", "1").line
    monkeypatch.setenv("ALMANAC_API_KEY", keys.add("rosa", ()))
    refused = almanac("rollback", "index", "2")
    assert refused.code == 2 and "role promoter" in refused.line
    monkeypatch.setenv("ALMANAC_API_KEY", keys.add("ann", (), roles=(Role.PROMOTER,)))
    assert almanac("promote", "answerer", "1").code == 0
    assert almanac("promote", "index", "2").code == 0
    assert (strict.named(ANSWERER), strict.named(INDEX)) == ("1", "2")
    assert strict.tags(INDEX, "2")[Tag.PROMOTED_BY].startswith("ann | ")


@pytest.mark.slow
def test_answerer_that_a_promoter_let_serve_needs_none_again_for_a_new_index(
    strict: World, open_live: Callable[..., LivePair]
) -> None:
    own = kind.answerer_of("notes")
    register_answerer(strict.settings, strict.folder / "answerer-1", key="own", kind=own)
    promote(strict.settings, own, "1", ANN)
    live = open_live(strict.settings)
    live.follow()
    promote(strict.settings, kind.INDEX, "2", ANN)

    live.follow()

    with live.acquire(None, "notes") as pair:
        assert (pair.index_version, pair.answerer_version) == ("2", "notes/1")
    assert strict.named(own.model) == "1"
    assert "refused" not in strict.tags(own.model, "1")


def test_rejected_challenger_is_one_no_longer(world: World) -> None:
    world.point(ANSWERER, "2", CHALLENGER)
    decline(world.settings, kind.ANSWERER, "2", "writes\nnonsense", ANN)
    assert world.named(ANSWERER, CHALLENGER) is None
    assert world.tags(ANSWERER, "2")["refused"] == "by ann: writes nonsense"
    promote(world.settings, kind.ANSWERER, "2", ANN)
    with pytest.raises(ConfigurationError, match="roll it back"):
        decline(world.settings, kind.ANSWERER, "2", "no", ANN)


@contextmanager
def mlflow_with_users(world: World, folder: Path) -> Iterator[str]:
    """MLflow's own `basic-auth` app over the world's database."""
    port = free_ports("mlflow")["mlflow"]
    (folder / "auth.ini").write_text(
        "[mlflow]\ndefault_permission = READ\nadmin_username = admin\n"
        f"admin_password = {PASSWORD}\ndatabase_uri = sqlite:///{folder}/auth.db\n"
        "authorization_function = mlflow.server.auth:authenticate_request_basic_auth\n"
    )
    command = [sys.executable, "-m", "mlflow", "server", "--app-name", "basic-auth", "--host", "127.0.0.1"]
    command += ["--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{world.settings.home}/mlflow.db"]
    environment = os.environ | QUIET_ENVIRONMENT | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    environment |= {"MLFLOW_AUTH_CONFIG_PATH": str(folder / "auth.ini"), "MLFLOW_FLASK_SERVER_SECRET_KEY": "x" * 32}
    with (folder / "mlflow.log").open("wb") as log:
        server = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
    try:
        wait_until(lambda: answers(f"http://127.0.0.1:{port}/health"), seconds=300)
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(server.pid, 9)
        server.wait()


@pytest.mark.slow
def test_mlflows_own_users_who_may_not_edit_the_model_cannot_move_its_alias(
    world: World, open_live: Callable[..., LivePair], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "60")
    with mlflow_with_users(world, tmp_path) as address:
        admin = httpx.Client(base_url=f"{address}/api", auth=("admin", PASSWORD), timeout=60)
        for name in ("rosa", "paul"):
            user = {"username": name, "password": PASSWORD}
            admin.post("/2.0/mlflow/users/create", json=user).raise_for_status()
        grant = {"username": "paul", "resource_type": "registered_model", "resource_id": ANSWERER, "permission": "EDIT"}
        admin.post("/3.0/mlflow/users/permissions/grant", json=grant).raise_for_status()
        monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "admin")
        monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", PASSWORD)
        live = open_live(world.settings.model_copy(update={"mlflow_tracking_uri": address}))
        live.start()
        assert versions(live)[1] == "base"
        alias = {"name": ANSWERER, "alias": "champion", "version": "1"}
        path = f"{address}/api/2.0/mlflow/registered-models/alias"
        tag = f"{address}/api/2.0/mlflow/model-versions/set-tag"
        forged = {"name": ANSWERER, "version": "1", "key": "promoted_by", "value": "paul"}
        assert httpx.post(path, json=alias, timeout=60).status_code == 401
        assert httpx.post(path, json=alias, auth=("rosa", PASSWORD), timeout=60).status_code == 403
        assert httpx.post(tag, json=forged, auth=("rosa", PASSWORD), timeout=60).status_code == 403
        assert httpx.post(path, json=alias, auth=("paul", PASSWORD), timeout=60).status_code == 200
        wait_until(lambda: versions(live)[1] == "1", seconds=60)
        # To delete it, which lets the default serve, takes more than to set it.
        gone = httpx.request("DELETE", path, json=alias, auth=("paul", PASSWORD), timeout=60)
        assert gone.status_code == 403
        # What MLflow keeps of it names nobody, and paul may write any name into a tag.
        model = admin.get("/2.0/mlflow/registered-models/get", params={"name": ANSWERER}).json()
        assert "paul" not in str(model)
        assert httpx.post(tag, json=forged | {"value": "rosa"}, auth=("paul", PASSWORD)).status_code == 200

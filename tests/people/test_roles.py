"""Roles: what each may do over HTTP, by key and by token; keys that end, are rotated, and when they were last used."""

import datetime as dt
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from serving.api.app import create_app
from serving.api.auth import Asker
from serving.api.errors import ApiError
from serving.api.people.keys import KeyFile, LastUse
from serving.api.people.roles import RIGHTS, Right, Role, parse_role_mapping, parse_roles, rights_of
from serving.api.people.tokens import ClaimMapping
from tasks.audit.audit import Audit
from tasks.corpus import quarantine
from tasks.corpus.quarantine import Entry
from tasks.errors import ConfigurationError, CorruptionError
from tasks.settings import Settings
from tests.server import ZEPHYR, Home, StaticPair, make_home, record, running

OPENED = {
    "/v1/review": Role.REVIEWER,
    "/v1/quarantine": Role.REVIEWER,
    "/v1/status": Role.OPERATOR,
    "/v1/keys": Role.OPERATOR,
}
HOUR = dt.timedelta(hours=1)


@pytest.fixture
def keys(tmp_path: Path) -> KeyFile:
    return KeyFile(tmp_path / "keys.json")


def pass_time(monkeypatch: pytest.MonkeyPatch, time: dt.timedelta) -> None:
    monkeypatch.setattr("serving.api.people.keys._now", lambda: dt.datetime.now(dt.UTC) + time)


def test_every_role_is_a_reader_and_no_role_but_the_promoter_promotes() -> None:
    assert all(Right.ASK in RIGHTS[role] for role in Role)
    assert [role for role in Role if Right.PROMOTE in RIGHTS[role]] == [Role.PROMOTER]
    assert rights_of(()) == RIGHTS[Role.READER]
    assert rights_of((Role.REVIEWER, Role.OPERATOR)) == RIGHTS[Role.REVIEWER] | RIGHTS[Role.OPERATOR]


def test_role_must_be_one_that_there_is() -> None:
    assert parse_roles([]) == (Role.READER,)
    assert parse_roles(["promoter", "reviewer", "promoter"]) == (Role.REVIEWER, Role.PROMOTER)
    with pytest.raises(ConfigurationError, match="admin"):
        parse_roles(["admin"])


@pytest.mark.parametrize("text", ["kb-editors", "=reviewer", "kb-editors=admin", "a=reviewer,b"])
def test_mapping_of_claims_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError):
        parse_role_mapping(text)


def test_values_of_a_claim_give_roles_and_others_give_none() -> None:
    mapping = ClaimMapping("groups", "realm_access.roles", parse_role_mapping("kb=reviewer, x=y=promoter"))
    assert mapping.roles({"realm_access": {"roles": ["kb", "x=y", "operator"]}}) == (Role.REVIEWER, Role.PROMOTER)
    assert mapping.roles({"roles": ["kb"]}) == (Role.READER,)
    assert mapping.roles({"realm_access.roles": ["kb"]}) == (Role.REVIEWER,)
    # Without a mapping nobody is more than a reader, whatever their token calls them.
    assert ClaimMapping("groups", "groups", {}).roles({"groups": ["operator"]}) == (Role.READER,)


def test_key_ends_when_its_time_is_over(keys: KeyFile, monkeypatch: pytest.MonkeyPatch) -> None:
    short, long = keys.add("short", (), lifetime=HOUR), keys.add("long", ())
    assert keys.find(short) and keys.find(long)
    pass_time(monkeypatch, 1.01 * HOUR)
    assert keys.find(short) is None
    assert keys.find(long)


def test_key_that_would_end_at_once_is_a_mistake(keys: KeyFile) -> None:
    with pytest.raises(ConfigurationError, match="longer than 0"):
        keys.add("never", (), lifetime=dt.timedelta(0))


def test_rotated_key_stands_beside_the_old_one_for_a_while(keys: KeyFile, monkeypatch: pytest.MonkeyPatch) -> None:
    old = keys.add("bot", ("finance",), roles=(Role.REVIEWER,), may_push=True)
    new = keys.rotate("bot", overlap=HOUR)
    first, second = keys.find(old), keys.find(new)
    assert first == second and first is not None
    assert (first.groups, first.roles, first.may_push) == (("finance",), (Role.REVIEWER,), True)
    pass_time(monkeypatch, 1.01 * HOUR)
    assert keys.find(old) is None
    assert keys.find(new)


def test_key_of_a_knowledge_base_asks_that_one_alone(keys: KeyFile) -> None:
    keys.add("bot", (), knowledge_bases=("handbook", "faq"))
    key = keys.find(keys.rotate("bot", overlap=HOUR))
    assert key is not None and key.knowledge_bases == ("handbook", "faq")
    asker = Asker("user", (), knowledge_bases=key.knowledge_bases)
    assert asker.within(()) == ("handbook", "faq")
    assert asker.within(("ledger", "faq")) == ("faq",)
    with pytest.raises(ApiError, match="reads the knowledge bases handbook, faq alone"):
        asker.within(("ledger",))
    assert Asker("user", ()).within(("ledger",)) == ("ledger",)


@pytest.mark.parametrize("more", [{"roles": (Role.REVIEWER,)}, {"may_push": True}, {"knowledge_bases": ("a b",)}])
def test_key_of_a_knowledge_base_is_a_readers(keys: KeyFile, more: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=r"must be a reader's|must match"):
        keys.add("bot", (), **{"knowledge_bases": ("handbook",)} | more)


def test_rotation_without_overlap_ends_the_old_key_at_once_and_a_second_one_the_first(keys: KeyFile) -> None:
    first = keys.add("bot", ())
    second = keys.rotate("bot", overlap=dt.timedelta(0))
    assert keys.find(first) is None
    third = keys.rotate("bot", overlap=HOUR)
    fourth = keys.rotate("bot", overlap=HOUR)
    assert [keys.find(key) is not None for key in (second, third, fourth)] == [False, True, True]


def test_rotation_lengthens_no_old_key_and_gives_the_new_one_as_long(keys: KeyFile) -> None:
    keys.add("bot", (), lifetime=HOUR)
    keys.rotate("bot", overlap=dt.timedelta(days=30))
    (key,) = keys.entries()
    assert key.old_until is not None and key.expires_at is not None
    end = dt.datetime.fromisoformat(key.old_until)
    assert end <= dt.datetime.now(dt.UTC) + HOUR
    assert dt.datetime.fromisoformat(key.expires_at) - end < dt.timedelta(minutes=1)


def test_keys_of_before_the_roles_keep_what_they_could(keys: KeyFile) -> None:
    plain, push, review = (keys.add(name, ()) for name in ("plain", "push", "review"))
    rows = {row["name"]: row for row in json.loads(keys.path.read_text())["keys"]}
    old = [{name: row[name] for name in ("name", "sha256", "groups")} for row in rows.values()]
    for row, right in zip(old, ({}, {"may_push": True}, {"may_review": True}), strict=True):
        row.update(right)
    keys.path.write_text(json.dumps({"keys": old}))
    found = {name: keys.find(key) for name, key in (("plain", plain), ("push", push), ("review", review))}
    rights = {name: key.rights for name, key in found.items() if key}
    assert rights == {
        "plain": {Right.ASK},
        "push": {Right.ASK, Right.PUSH},
        "review": RIGHTS[Role.REVIEWER],
    }


def test_damaged_key_file_opens_to_nobody(keys: KeyFile) -> None:
    key = keys.add("ann", ())
    rows = json.loads(keys.path.read_text())
    rows["keys"][0]["roles"] = ["root"]
    keys.path.write_text(json.dumps(rows))
    with pytest.raises(CorruptionError):
        keys.find(key)


def test_last_use_is_noted_once_a_minute_and_a_disk_that_refuses_stops_nobody(tmp_path: Path) -> None:
    path = tmp_path / "keys-used.json"
    use = LastUse(path)
    use.note("ann")
    written = path.read_bytes()
    use.note("ann")
    assert path.read_bytes() == written and path.stat().st_mode & 0o077 == 0
    assert set(use.times()) == {"ann"}
    path.write_text("[]")
    assert use.times() == {}
    LastUse(tmp_path / "keys-used.json" / "no-folder").note("ann")


def test_commands_add_list_rotate_and_remove(home: Path, almanac: Callable[..., Any]) -> None:
    added = json.loads(
        almanac("keys", "add", "ann", "--role", "reviewer", "--role", "promoter", "--expires-days", "90", "--json").out
    )
    rotated = json.loads(almanac("keys", "rotate", "ann", "--overlap-hours", "2", "--json").out)
    assert added["key"] != rotated["key"]
    (entry,) = json.loads(almanac("keys", "list", "--json").out)["keys"]
    assert (entry["roles"], entry["last_used"]) == ("reviewer, promoter", "never")
    assert entry["expires_at"] > dt.datetime.now(dt.UTC).isoformat() and entry["old_key_until"]
    refused = almanac("keys", "add", "bob", "--role", "king")
    assert refused.code == 2 and "king" in refused.line
    assert almanac("keys", "remove", "ann").code == 0
    audit = Audit(Settings().layout)
    assert [entry.what for entry in audit.entries()] == ["key added", "key rotated", "key removed"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, migrated_mlflow: Path) -> Home:
    return make_home(tmp_path_factory.mktemp("roles"), migrated_mlflow, [record("zephyr", ZEPHYR, "everyone")])


@pytest.fixture(scope="module")
def server(place: Home) -> Iterator[str]:
    with running(create_app(place.params, place.settings, StaticPair)) as address:
        yield address


def client(server: str, place: Home, name: str, *roles: Role, groups: tuple[str, ...] = ()) -> httpx.Client:
    key = KeyFile(place.settings.api_keys).add(name, groups, roles=roles or (Role.READER,))
    return httpx.Client(base_url=server, headers={"Authorization": f"Bearer {key}"}, timeout=60)


@pytest.mark.slow
@pytest.mark.parametrize("role", Role)
def test_each_role_opens_its_own_routes_and_no_others(server: str, place: Home, role: Role) -> None:
    with client(server, place, f"as-{role}", role) as asker:
        assert asker.get("/v1/search", params={"query": "zephyr"}).status_code == 200
        statuses = {path: asker.get(path) for path in OPENED}
    for path, answer in statuses.items():
        assert answer.status_code == (200 if OPENED[path] is role else 403), path
        if answer.status_code == 403:
            assert f"--role {OPENED[path]}" in answer.json()["error"]["message"]


@pytest.mark.slow
def test_operator_sees_who_has_a_key_and_no_hash(server: str, place: Home) -> None:
    with client(server, place, "operator", Role.OPERATOR) as operator:
        answer = operator.get("/v1/keys")
        (entry,) = [key for key in answer.json()["keys"] if key["name"] == "operator"]
        assert entry["roles"] == ["operator"] and entry["last_used"]
        assert "sha256" not in answer.text and "almanac-" not in answer.text
        assert operator.get("/v1/status").json()["index"]


def hold(place: Home, key: str, *access: str) -> None:
    entry = Entry("wiki", key, "00" * 32, "", "gate", "no_secrets", "a sentence", key.title(), "its text", access)
    quarantine.record(place.settings.home, [entry], fingerprint="f")


@pytest.mark.slow
def test_reviewer_lets_out_of_quarantine_what_their_groups_could_read(server: str, place: Home) -> None:
    hold(place, "public", "everyone")
    hold(place, "secret", "board")
    with client(server, place, "reviewer", Role.REVIEWER) as reviewer:
        listed = reviewer.get("/v1/quarantine")
        (item,) = listed.json()["items"]
        assert item["document_id"] == "wiki:public" and "its text" not in listed.text
        hidden = Entry("wiki", "secret", "00" * 32, "", "gate", "", "").id
        assert reviewer.post(f"/v1/quarantine/{hidden}/release").status_code == 404
        released = reviewer.post(f"/v1/quarantine/{item['id']}/release").json()
    assert released["status"] == "released"
    last = list(Audit(place.settings.layout).entries())[-1]
    assert (last.what, last.documents) == ("released from quarantine", ("wiki:public",))
    assert len(last.actor) == 32


@pytest.mark.slow
def test_ended_key_is_refused_by_the_running_server(server: str, place: Home) -> None:
    keys = KeyFile(place.settings.api_keys)
    old = keys.add("short-lived", (), lifetime=dt.timedelta(seconds=2))
    headers = {"Authorization": f"Bearer {old}"}
    assert httpx.get(f"{server}/v1/models", headers=headers).status_code == 200
    time.sleep(2.1)
    assert httpx.get(f"{server}/v1/models", headers=headers).status_code == 401

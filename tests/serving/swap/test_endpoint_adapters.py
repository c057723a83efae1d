"""An endpoint's adapters: loaded for what is to serve, kept for what serves, let go when nothing uses them."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from pydantic import SecretStr

from serving.promotion import endpoint_adapters
from serving.promotion.endpoint_adapters import EndpointAdapters
from tasks.errors import ConfigurationError, DependencyError
from tasks.params import Params
from tasks.releases.folder import cached_folder
from tasks.releases.kind import ANSWERER
from tasks.releases.version import ReleaseVersion
from tasks.settings import Settings
from tests.conftest import BASE_PARAMS, files_source, free_ports, merged
from tests.server import served
from tests.serving.swap.vllm_stub import VllmStub

ONE, TWO = "almanac-answerer-1", "almanac-answerer-2"


@dataclass
class Clock:
    """The seconds that adapters go by."""

    seconds: float = 1000.0

    def pass_by(self, seconds: float) -> None:
        self.seconds += seconds


@dataclass
class Installation:
    """A home with the files of answerers, and an endpoint."""

    settings: Settings
    address: str

    def adapters(self, **changes: object) -> EndpointAdapters:
        raw = merged(BASE_PARAMS, {"sources": [files_source(self.settings.home)]})
        params = Params.model_validate(merged(raw, {"generation": {"endpoint": self.address}}))
        return EndpointAdapters(params, self.settings.model_copy(update=changes))

    def version(self, number: str, *, rank: int = 8, run: str = "run") -> ReleaseVersion:
        """A version whose files lie in the home."""
        version = ReleaseVersion(ANSWERER, number, f"{run}{number}")
        adapter = self.folder(version) / "adapter"
        adapter.mkdir(parents=True)
        (adapter / "adapter_config.json").write_text(json.dumps({"r": rank}))
        return version

    def folder(self, version: ReleaseVersion) -> Path:
        return cached_folder(self.settings, version)


@pytest.fixture
def vllm() -> VllmStub:
    return VllmStub()


@pytest.fixture
def here(vllm: VllmStub, tmp_path: Path) -> Iterator[Installation]:
    with served(vllm.app()) as address:
        yield Installation(Settings(home=tmp_path), address)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(endpoint_adapters, "monotonic", lambda: clock.seconds)
    return clock


def test_adapter_is_loaded_from_its_folder_once(here: Installation, vllm: VllmStub) -> None:
    adapters, version = here.adapters(), here.version("1")
    adapters.load(version, here.folder(version))
    adapters.load(version, here.folder(version))
    assert vllm.adapters == {ONE: str(here.folder(version) / "adapter")}
    assert vllm.calls == [("load", ONE)]


def test_endpoint_on_another_machine_is_told_where_it_sees_the_folder(here: Installation, vllm: VllmStub) -> None:
    version = here.version("1")
    vllm.sees = {"/mnt/answerers": str(here.folder(version).parent)}
    adapters = here.adapters(endpoint_adapter_folder="/mnt/answerers/")
    adapters.load(version, here.folder(version))
    assert vllm.adapters == {ONE: f"/mnt/answerers/{here.folder(version).name}/adapter"}
    adapters.keep([])
    assert vllm.adapters == {}


def test_folder_that_the_endpoint_does_not_see_is_told_with_the_remedy(here: Installation) -> None:
    version = here.version("1")
    elsewhere = here.adapters(endpoint_adapter_folder="/mnt/nothing")
    with pytest.raises(ConfigurationError, match=r"in /mnt/nothing/1-run1/adapter, .* ALMANAC_ENDPOINT_ADAPTER_FOLDER"):
        elsewhere.load(version, here.folder(version))


def test_endpoint_without_the_api_says_how_to_allow_it(here: Installation, vllm: VllmStub) -> None:
    version = here.version("1")
    vllm.loads_adapters = False
    with pytest.raises(ConfigurationError, match=r"must serve 'almanac-answerer-1' .*VLLM_ALLOW_RUNTIME_LORA_UPDATING"):
        here.adapters().load(version, here.folder(version))


def test_adapter_that_the_engine_cannot_run_is_refused_in_its_words(here: Installation, vllm: VllmStub) -> None:
    version = here.version("1", rank=64)
    with pytest.raises(ConfigurationError, match="LoRA rank 64 is greater than max_lora_rank 16"):
        here.adapters().load(version, here.folder(version))
    assert vllm.adapters == {}


def test_endpoint_in_trouble_or_away_is_no_fault_of_the_version(here: Installation, vllm: VllmStub) -> None:
    version = here.version("1")
    vllm.in_trouble = True
    with pytest.raises(DependencyError, match="status 503: overloaded"):
        here.adapters().load(version, here.folder(version))
    here.address = f"http://127.0.0.1:{free_ports('nobody')['nobody']}"
    with pytest.raises(DependencyError, match="must answer, found ConnectError"):
        here.adapters().load(version, here.folder(version))


def test_whole_model_is_not_loaded_as_an_adapter(here: Installation, vllm: VllmStub) -> None:
    version = ReleaseVersion(ANSWERER, "1", "run1")
    (here.folder(version) / "model").mkdir(parents=True)
    with pytest.raises(ConfigurationError, match="is a whole model; serve it there under this name"):
        here.adapters().load(version, here.folder(version))
    assert vllm.calls == []


def test_key_of_the_endpoint_is_sent(here: Installation, vllm: VllmStub) -> None:
    version = here.version("1")
    vllm.key = "key-of-the-endpoint"
    with pytest.raises(ConfigurationError, match=r"status 401: .*ALMANAC_ENDPOINT_API_KEY"):
        here.adapters().load(version, here.folder(version))
    here.adapters(endpoint_api_key=SecretStr(vllm.key)).load(version, here.folder(version))
    assert list(vllm.adapters) == [ONE]


def test_what_served_stays_until_every_server_followed(here: Installation, vllm: VllmStub, clock: Clock) -> None:
    adapters, old, new = here.adapters(), here.version("1"), here.version("2")
    for version in (old, new):
        adapters.load(version, here.folder(version))
        assert adapters.keep([version]) == []
    assert sorted(vllm.adapters) == [ONE, TWO]
    clock.pass_by(here.settings.request_timeout_seconds)
    adapters.keep([new])
    assert sorted(vllm.adapters) == [ONE, TWO]
    clock.pass_by(60)
    adapters.keep([new])
    assert list(vllm.adapters) == [TWO]


def test_what_is_used_again_is_not_unloaded(here: Installation, vllm: VllmStub, clock: Clock) -> None:
    adapters, old, new = here.adapters(), here.version("1"), here.version("2")
    for version in (old, new, old):
        adapters.load(version, here.folder(version))
        adapters.keep([version])
    clock.pass_by(3600)
    adapters.keep([old, new])
    adapters.keep([old])
    assert sorted(vllm.adapters) == [ONE, TWO]


def test_what_never_served_is_unloaded_at_once(here: Installation, vllm: VllmStub) -> None:
    adapters, serving, refused = here.adapters(), here.version("1"), here.version("2")
    adapters.load(serving, here.folder(serving))
    adapters.keep([serving])
    adapters.load(refused, here.folder(refused))
    adapters.keep([serving])
    assert list(vllm.adapters) == [ONE]


def test_restart_of_the_endpoint_loads_again_what_serves(here: Installation, vllm: VllmStub) -> None:
    adapters, version = here.adapters(), here.version("1")
    adapters.load(version, here.folder(version))
    vllm.restart()
    vllm.in_trouble = True
    assert ["503" in problem for problem in adapters.keep([version])] == [True]
    vllm.in_trouble = False
    assert adapters.keep([version]) == []
    assert list(vllm.adapters) == [ONE]


def test_next_process_lets_go_of_what_a_killed_one_left(here: Installation, vllm: VllmStub, clock: Clock) -> None:
    version = here.version("1")
    here.adapters().load(version, here.folder(version))
    adapters = here.adapters()
    adapters.keep([])
    clock.pass_by(3600)
    adapters.keep([])
    assert vllm.adapters == {}


@pytest.mark.parametrize("name", [ONE, "almanac-answerer-draft", "sql-adapter", "almanac-acme-answerer-1"])
def test_what_others_loaded_is_left_alone(name: str, here: Installation, vllm: VllmStub, clock: Clock) -> None:
    vllm.adapters[name] = "/by/hand/adapter"
    adapters = here.adapters()
    adapters.keep([])
    clock.pass_by(3600)
    adapters.keep([])
    assert list(vllm.adapters) == [name]
    assert vllm.calls == []


def test_what_another_server_loads_again_is_left_to_it(here: Installation, vllm: VllmStub, clock: Clock) -> None:
    old, new = here.version("1"), here.version("2")
    ahead, behind = here.adapters(), here.adapters()
    ahead.load(old, here.folder(old))
    ahead.keep([old])
    ahead.load(new, here.folder(new))
    for server, serves in (ahead, new), (behind, old), (ahead, new), (behind, old), (ahead, new), (behind, old):
        assert server.keep([serves], named=[new]) == []
        clock.pass_by(3600)
    assert vllm.calls[2:] == [("unload", ONE), ("load", ONE)]
    assert sorted(vllm.adapters) == [ONE, TWO]


def test_endpoint_is_left_in_peace_where_nothing_of_ours_is_there(here: Installation, vllm: VllmStub) -> None:
    adapters = here.adapters()
    for _ in range(3):
        assert adapters.keep([]) == []
    assert vllm.num_listed == 1

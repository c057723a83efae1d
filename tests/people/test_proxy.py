"""MLflow and Prefect behind the sign-in: nginx with the file of `infra/`, real servers, a real provider, Chromium."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright
from pydantic import SecretStr

from serving.api.app import create_app
from serving.api.people.keys import KeyFile
from serving.api.people.roles import Role
from tasks.settings import QUIET_ENVIRONMENT
from tests.chromium import chromium
from tests.conftest import answers, free_ports, running_prefect, wait_until
from tests.people.oidc_provider import running_provider
from tests.server import ZEPHYR, Home, StaticPair, make_home, record, running

pytestmark = pytest.mark.slow
TEMPLATE = Path(__file__).parents[2] / "infra" / "nginx" / "almanac.conf"
SUBJECTS = {"rosa": "readers", "vera": "reviewer", "paul": "promoter", "olga": "operator"}
HERE = {"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty"}
LED = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
ALIAS = "/mlflow/ajax-api/2.0/mlflow/registered-models/alias"
MODEL = "almanac-index"


@dataclass(frozen=True)
class Front:
    """The three servers behind nginx."""

    address: str
    home: Home

    def key(self, role: Role) -> dict[str, str]:
        keys = KeyFile(self.home.settings.api_keys)
        name = f"{role}-{len(keys.entries())}"
        return {"Authorization": f"Bearer {keys.add(name, (), roles=(role,))}"}

    @contextmanager
    def signed_in(self, subject: str) -> Iterator[httpx.Client]:
        """A client with the session of somebody, as a page of this host would send it."""
        with httpx.Client(base_url=self.address, timeout=60) as client:
            there = client.get("/auth/sign-in").headers["location"]
            client.get(httpx.post(there, data={"sub": subject}).headers["location"])
            client.headers.update(HERE)
            yield client

    def alias(self, name: str) -> str | None:
        """The version of an alias, as a program reads it through the proxy."""
        path, params = "/mlflow/api/2.0/mlflow/registered-models/alias", {"name": MODEL, "alias": name}
        answer = httpx.get(f"{self.address}{path}", params=params, headers=self.key(Role.REVIEWER), timeout=60)
        return answer.json()["model_version"]["version"] if answer.is_success else None


@contextmanager
def started(command: list[str], log: Path, environment: dict[str, str]) -> Iterator[None]:
    with log.open("wb") as lines:
        server = subprocess.Popen(command, env=environment, stdout=lines, stderr=lines, start_new_session=True)
    try:
        yield
    finally:
        os.killpg(server.pid, 9)
        server.wait()


def rendered(ports: dict[str, int]) -> str:
    """The file of `infra/` for these ports, without TLS."""
    text = TEMPLATE.read_text(encoding="utf-8")
    for name, port in (("almanac", 8000), ("mlflow", 5000), ("prefect", 4200)):
        text = text.replace(f"server 127.0.0.1:{port};", f"server 127.0.0.1:{ports[name]};")
    text = text.replace("listen 443 ssl;", f"listen 127.0.0.1:{ports['nginx']};").replace("ask.example", "localhost")
    return re.sub(r"^\s*ssl_.*$", "", text, flags=re.MULTILINE)


@contextmanager
def nginx(folder: Path, ports: dict[str, int]) -> Iterator[str]:
    """The address of nginx with our site, as Debian's package would take it: within `http`."""
    program = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
    if program is None:
        pytest.skip("nginx must be installed for this test, found none; apt-get install nginx")
    places = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    temporary = " ".join(f"{name}_temp_path {folder}/{name};" for name in places)
    (folder / "nginx.conf").write_text(
        f"daemon off; pid {folder}/nginx.pid; error_log {folder}/error.log; events {{}}\n"
        f"http {{ access_log off; {temporary}\n{rendered(ports)}\n}}\n"
    )
    command = [program, "-e", f"{folder}/error.log", "-p", str(folder), "-c", f"{folder}/nginx.conf"]
    with started(command, folder / "nginx.log", dict(os.environ)):
        address = f"http://localhost:{ports['nginx']}"
        wait_until(lambda: answers(f"{address}/healthz"), seconds=60)
        yield address


def mlflow(home: Home, folder: Path, port: int) -> AbstractContextManager[None]:
    """MLflow as it starts: one waits for it where it is needed."""
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{home.settings.home}/mlflow.db", "--no-serve-artifacts"]
    environment = os.environ | QUIET_ENVIRONMENT | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    return started(command, folder / "mlflow.log", environment)


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory, migrated_mlflow: Path) -> Iterator[Front]:
    folder = tmp_path_factory.mktemp("front")
    folder.chmod(0o755)
    ports = free_ports("nginx", "mlflow")
    base = f"http://localhost:{ports['nginx']}"
    with ExitStack() as stack:
        provider = stack.enter_context(running_provider())
        for subject, group in SUBJECTS.items():
            provider.know(subject, name=subject.title(), groups=[group])
        home = make_home(folder, migrated_mlflow, [record("zephyr", ZEPHYR, "everyone")])
        roles = ",".join(f"{group}={group}" for group in SUBJECTS.values() if group != "readers")
        client: dict[str, Any] = {
            "oidc_issuer": provider.issuer,
            "oidc_client_id": "almanac",
            "public_url": base,
            "oidc_roles": roles,
        }
        client |= {"oidc_client_secret": SecretStr("secret")}
        settings = home.settings.model_copy(update=client)
        almanac = stack.enter_context(running(create_app(home.params, settings, StaticPair)))
        stack.enter_context(mlflow(home, folder, ports["mlflow"]))
        (folder / "prefect").mkdir()
        ui = {"PREFECT_SERVER_UI_SERVE_BASE": "/prefect", "PREFECT_SERVER_UI_API_URL": f"{base}/prefect/api"}
        prefect = stack.enter_context(running_prefect(folder / "prefect", **ui))
        wait_until(lambda: answers(f"http://127.0.0.1:{ports['mlflow']}/health"), seconds=300)
        ports |= {name: int(httpx.URL(url).port or 0) for name, url in (("almanac", almanac), ("prefect", prefect))}
        yield Front(stack.enter_context(nginx(folder, ports)), Home(home.params, settings))


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        options = ["--no-sandbox", "--disable-dev-shm-usage"]
        yield playwright.chromium.launch(executable_path=chromium(), args=options)


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    with browser.new_context() as context:
        page = context.new_page()
        page.set_default_timeout(60_000)
        yield page


def authorize(page: Page, subject: str) -> None:
    page.get_by_placeholder("sub").fill(subject)
    page.get_by_role("button", name="Authorize").click()


SET_ALIAS = """async ([path, alias]) => {
    const body = JSON.stringify({name: "almanac-index", alias, version: "1"});
    const answer = await fetch(path, {method: "POST", headers: {"Content-Type": "application/json"}, body});
    return [answer.status, await answer.json()];
}"""


def test_promoter_is_led_to_the_sign_in_back_to_mlflow_and_moves_an_alias(page: Page, front: Front) -> None:
    page.goto(f"{front.address}/mlflow/#/models")
    authorize(page, "paul")
    page.wait_for_url(f"{front.address}/mlflow/**")
    page.goto(f"{front.address}/mlflow/#/models/{MODEL}")
    expect(page.get_by_text(MODEL).first).to_be_visible()
    assert page.evaluate(SET_ALIAS, [ALIAS, "tried"])[0] == 200
    assert front.alias("tried") == "1"
    page.goto(f"{front.address}/prefect/dashboard")
    expect(page.get_by_text("This needs the role operator")).to_be_visible()
    # Signed out here is signed out there.
    page.goto(front.address)
    page.get_by_role("button", name="Sign out").click()
    page.wait_for_url("**/oauth2/end_session?**")
    page.goto(f"{front.address}/mlflow/")
    expect(page.get_by_placeholder("sub")).to_be_visible()


def test_operator_sees_prefect_and_mlflow_and_moves_no_alias(page: Page, front: Front) -> None:
    page.goto(f"{front.address}/prefect/runs")
    authorize(page, "olga")
    page.wait_for_url(f"{front.address}/prefect/runs")
    expect(page.get_by_text("Run a task or flow to get started")).to_be_visible()
    page.goto(f"{front.address}/mlflow/#/models")
    expect(page.get_by_text(MODEL).first).to_be_visible()
    status, refusal = page.evaluate(SET_ALIAS, [ALIAS, "stolen"])
    assert status == 403 and "needs the role promoter, found operator" in refusal["message"]
    assert front.alias("stolen") is None


def test_reader_is_told_which_role_is_missing(front: Front) -> None:
    with front.signed_in("rosa") as rosa:
        for path, role in (("/mlflow/", "reviewer or promoter or operator"), ("/prefect/", "operator")):
            refused = rosa.get(path, headers=LED)
            assert refused.status_code == 403 and f"role {role}, found reader" in refused.text
            assert refused.headers["content-type"].startswith("text/html")
        assert rosa.get("/mlflow/ajax-api/2.0/mlflow/registered-models/search").status_code == 403
        assert rosa.get("/v1/models").status_code == 200


def test_nobody_is_led_to_the_sign_in_from_a_page_alone(front: Front) -> None:
    led = httpx.get(f"{front.address}/mlflow/", params={"a": "1&2"}, headers=LED)
    assert led.status_code == 302
    assert led.headers["location"] == f"{front.address}/auth/sign-in?next=%2Fmlflow%2F%3Fa%3D1%25262"
    for path in ("/mlflow/", "/mlflow/static-files/x.js", "/mlflow/version", "/prefect/", "/prefect/api/health"):
        assert httpx.get(f"{front.address}{path}").status_code == 401, path
    assert httpx.get(f"{front.address}/metrics").status_code == 404
    assert httpx.get(f"{front.address}/almanac-allowed").status_code == 404


@pytest.mark.parametrize(
    ("role", "statuses"),
    [
        (Role.READER, (403, 403, 403, 403, 403)),
        (Role.REVIEWER, (200, 403, 403, 200, 403)),
        (Role.PROMOTER, (200, 404, 403, 403, 403)),
        (Role.OPERATOR, (200, 403, 404, 403, 200)),
    ],
)
def test_key_of_a_program_opens_what_its_role_does(front: Front, role: Role, statuses: tuple[int, ...]) -> None:
    """404 is MLflow's: the request came there, and there is no such thing. Taking back no rating is fine."""
    api = "/mlflow/api"
    calls: tuple[tuple[str, str, dict[str, object]], ...] = (
        ("POST", f"{api}/2.0/mlflow/runs/search", {"experiment_ids": ["0"]}),
        ("POST", f"{api}/2.0/mlflow/model-versions/set-tag", {"name": "x", "version": "1", "key": "a", "value": "b"}),
        ("POST", f"{api}/2.0/mlflow/runs/delete", {"run_id": "0" * 32}),
        ("DELETE", f"{api}/3.0/mlflow/traces/tr-0/assessments/a-0", {}),
        ("GET", "/prefect/api/health", {}),
    )
    with httpx.Client(base_url=front.address, headers=front.key(role), timeout=60) as client:
        found = tuple(client.request(method, path, json=body).status_code for method, path, body in calls)
    assert found == statuses


def test_session_counts_for_pages_of_this_host_alone(front: Front) -> None:
    body = {"name": MODEL, "alias": "stolen", "version": "1"}
    with front.signed_in("paul") as paul:
        for elsewhere in (
            {"Sec-Fetch-Site": "cross-site"},
            {"Sec-Fetch-Site": "same-site"},
            LED,
            {"Sec-Fetch-Site": "none", "Origin": "https://evil.example"},
        ):
            assert paul.post(ALIAS, json=body, headers=elsewhere).status_code == 401, elsewhere
        # A picture or a frame of another site reads nothing, a link that a person follows shows its page.
        assert paul.get("/mlflow/", headers=LED | {"Sec-Fetch-Dest": "iframe"}).status_code == 401
        assert paul.get("/mlflow/", headers=LED).status_code == 200
    assert front.alias("stolen") is None


def test_no_other_name_of_a_path_and_no_forged_header_opens_more(front: Front) -> None:
    body = {"name": MODEL, "alias": "stolen", "version": "1"}
    operator = front.key(Role.OPERATOR)
    with httpx.Client(base_url=front.address, headers=operator, timeout=60) as client:
        for path in (
            "/mlflow/ajax-api/2.0/mlflow/registered-models%2Falias",
            "/mlflow/ajax-api/2.0/mlflow/runs/../registered-models/alias",
            "/mlflow/ajax-api/2.0/mlflow/runs/%2e%2e/registered-models/alias",
            "/mlflow//ajax-api/2.0/mlflow/registered-models/alias",
            "/mlflow/ajax-api/2.0/mlflow/%72egistered-models/alias",
            "/prefect/../mlflow/ajax-api/2.0/mlflow/registered-models/alias",
            "/mlflow/ajax-api/3.0/mlflow/assistant/config",
        ):
            request = client.build_request("POST", "/", json=body)
            request.url = request.url.copy_with(raw_path=path.encode())
            assert client.send(request).status_code == 403, path
        for forged in (
            {"X-Original-Method": "GET"},
            {"X-Original-URL": "/mlflow/"},
            {"X-Forwarded-Method": "GET", "X-Forwarded-Uri": "/mlflow/"},
        ):
            assert client.post(ALIAS, json=body, headers=forged).status_code == 403, forged
    assert front.alias("stolen") is None


def test_proxy_that_does_not_say_what_it_holds_lets_nothing_pass(front: Front) -> None:
    address, headers = f"{front.address}/auth/allowed", front.key(Role.OPERATOR)
    assert httpx.get(address, params={"for": "prefect"}, headers=headers).status_code == 403
    held = {"X-Original-Method": "GET", "X-Original-URL": f"{front.address}/prefect/api/health"}
    assert httpx.get(address, params={"for": "prefect"}, headers=headers | held).status_code == 202
    assert httpx.get(address, params={"for": "all"}, headers=headers | held).status_code == 400

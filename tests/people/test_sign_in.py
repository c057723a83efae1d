"""Sign-in by OIDC: in Chromium against a real provider, and the refusals without a browser."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright
from pydantic import SecretStr

from serving.api.app import create_app
from serving.api.people.sessions import Begun, Sessions
from tasks.audit.audit import Audit
from tasks.errors import ConfigurationError
from tests.chromium import chromium, save_picture
from tests.people.oidc_provider import Provider, running_provider
from tests.server import LOCKBOX, ZEPHYR, Home, StaticPair, make_home, record, running

pytestmark = pytest.mark.slow
IMAGES = Path(__file__).parents[2] / "docs" / "images"


@pytest.fixture(scope="module")
def provider() -> Iterator[Provider]:
    with running_provider() as provider:
        provider.know("rosa", name="Rosa Reader", groups=["staff"])
        provider.know("vera", name="Vera Reviewer", groups=["staff", "kb-editors", "finance"])
        provider.know("odd", name="Odd One", groups="staff")
        yield provider


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, migrated_mlflow: Path, provider: Provider) -> Home:
    records = [record("zephyr", ZEPHYR, "everyone"), record("lockbox", LOCKBOX, "finance")]
    home = make_home(tmp_path_factory.mktemp("sign-in"), migrated_mlflow, records)
    client = {"oidc_issuer": provider.issuer, "oidc_client_id": "almanac", "oidc_client_secret": SecretStr("secret")}
    client |= {"oidc_roles": "kb-editors=reviewer"}
    return Home(home.params, home.settings.model_copy(update=client))


@pytest.fixture(scope="module")
def server(home: Home) -> Iterator[str]:
    with running(create_app(home.params, home.settings, StaticPair)) as address:
        # One name for the pages: cookies belong to a host.
        yield address.replace("127.0.0.1", "localhost")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        options = ["--no-sandbox", "--disable-dev-shm-usage"]
        yield playwright.chromium.launch(executable_path=chromium(), args=options)


@pytest.fixture
def page(browser: Browser, server: str) -> Iterator[Page]:
    with browser.new_context(viewport={"width": 1000, "height": 700}) as context:
        page = context.new_page()
        page.goto(server)
        yield page


def sign_in(page: Page, subject: str) -> None:
    page.get_by_role("banner").get_by_role("link", name="Sign in").click()
    page.get_by_placeholder("sub").fill(subject)
    page.get_by_role("button", name="Authorize").click()


def ask(page: Page, question: str) -> None:
    page.get_by_label("Your question").fill(question)
    page.keyboard.press("Enter")


def test_reader_signs_in_asks_and_sees_no_review(page: Page, server: str, provider: Provider, home: Home) -> None:
    expect(page.get_by_text("This assistant answers only with an API key")).to_be_visible()
    sign_in(page, "rosa")
    expect(page.get_by_text("Rosa Reader")).to_be_visible()
    expect(page.get_by_text("This assistant answers only")).to_have_count(0)
    ask(page, "Which Python does Zephyr need?")
    expect(page.get_by_text("Python 3.11").first).to_be_visible(timeout=60_000)
    if os.environ.get("ALMANAC_SCREENSHOTS"):
        save_picture(page, IMAGES / "chat-signed-in.png")
    page.get_by_role("button", name="Options").click()
    expect(page.get_by_role("link", name="Review drafts")).to_have_count(0)
    page.goto(f"{server}/review")
    expect(page.get_by_role("alert")).to_contain_text("This needs the role reviewer")
    assert provider.checks_pkce()
    (cookie,) = [one for one in page.context.cookies() if one["name"] == "almanac-session"]
    assert (cookie["httpOnly"], cookie["sameSite"], cookie["path"]) == (True, "Lax", "/")
    assert page.evaluate("document.cookie") == ""
    places = home.settings.layout.sessions / "sessions.db"
    assert cookie["value"].encode() not in places.read_bytes() and places.stat().st_mode & 0o077 == 0


def test_reviewer_reviews_and_reads_what_the_own_groups_may(page: Page, server: str) -> None:
    sign_in(page, "vera")
    page.get_by_role("button", name="Options").click()
    page.get_by_role("link", name="Review drafts").click()
    expect(page.get_by_text("No draft waits")).to_be_visible()
    expect(page.get_by_text("Vera Reviewer")).to_be_visible()
    shown = page.request.get(f"{server}/v1/search?query=portable%20locks", headers={"Sec-Fetch-Site": "same-origin"})
    assert "wiki:lockbox" in shown.text()


def test_sign_out_ends_the_session_here_and_goes_on_to_the_provider(page: Page, server: str, home: Home) -> None:
    sign_in(page, "rosa")
    expect(page.get_by_text("Rosa Reader")).to_be_visible()
    cookies = page.context.cookies()
    page.get_by_role("button", name="Sign out").click()
    page.wait_for_url("**/oauth2/end_session?**")
    assert "id_token_hint" in page.url
    page.get_by_role("button", name="End session").click()
    expect(page.get_by_role("banner").get_by_role("link", name="Sign in")).to_be_visible()
    # The cookie that somebody kept opens nothing any more.
    page.context.add_cookies(cookies)
    page.goto(server)
    expect(page.get_by_role("banner").get_by_role("link", name="Sign in")).to_be_visible()
    noted = [entry.what for entry in Audit(home.settings.layout).entries()]
    assert "signed in" in noted and noted[-1] == "signed out"


def test_session_that_came_to_its_end_asks_to_sign_in_again(page: Page, home: Home) -> None:
    sign_in(page, "rosa")
    expect(page.get_by_text("Rosa Reader")).to_be_visible()
    with closing(sqlite3.connect(home.settings.layout.sessions / "sessions.db")) as database, database:
        database.execute("UPDATE sessions SET ends_at = 1")
    ask(page, "Which Python does Zephyr need?")
    expect(page.get_by_role("banner").get_by_role("link", name="Sign in")).to_be_visible()
    expect(page.get_by_text("Rosa Reader")).to_have_count(0)


def test_who_declines_at_the_provider_is_not_signed_in(page: Page) -> None:
    page.get_by_role("banner").get_by_role("link", name="Sign in").click()
    page.get_by_role("button", name="Deny").click()
    expect(page.get_by_role("heading", name="You are not signed in")).to_be_visible()


def begun(server: str, client: httpx.Client) -> tuple[str, str]:
    """Begin a sign-in and let the provider agree; return the address that leads back, and its state."""
    there = client.get(f"{server}/auth/sign-in", params={"next": "review"}).headers["location"]
    back = httpx.post(there, data={"sub": "rosa"}).headers["location"]
    return back, parse_qs(urlsplit(back).query)["state"][0]


def test_wrong_state_another_browser_and_a_second_use_are_refused(server: str) -> None:
    with httpx.Client() as client, httpx.Client() as other:
        back, state = begun(server, client)
        # Somebody is led to a sign-in that somebody else began: the session must not become theirs.
        assert other.get(back).status_code == 400
        assert client.get(back.replace(state, "x" * len(state))).status_code == 400
        assert "almanac-session" not in client.cookies
        back, _ = begun(server, client)
        answer = client.get(back)
        assert (answer.status_code, answer.headers["location"]) == (303, f"{server}/review")
        assert client.get(back).status_code == 400
        assert client.get(f"{server}/auth/callback").status_code == 400
        assert client.get(f"{server}/auth/callback?state=&code=x").status_code == 400


def test_wrong_nonce_is_refused(server: str, home: Home) -> None:
    with httpx.Client() as client:
        back, _ = begun(server, client)
        with closing(sqlite3.connect(home.settings.layout.sessions / "sessions.db")) as database, database:
            database.execute('UPDATE begun SET state = replace(state, \'"nonce": "\', \'"nonce": "other\')')
        answer = client.get(back)
    assert answer.status_code == 400 and "not valid" in answer.text


@pytest.mark.parametrize("address", ["https://evil.example/", "//evil.example", "/\\evil.example", "javascript:x"])
def test_sign_in_leads_back_to_our_own_pages_alone(server: str, address: str) -> None:
    with httpx.Client() as client:
        there = client.get(f"{server}/auth/sign-in", params={"next": address}).headers["location"]
        back = httpx.post(there, data={"sub": "rosa"}).headers["location"]
        assert client.get(back).headers["location"] == f"{server}/"


def test_cookie_counts_for_our_own_pages_alone(server: str) -> None:
    with httpx.Client(base_url=server) as client:
        back, _ = begun(server, client)
        client.get(back)
        question = {"messages": [{"role": "user", "content": "Which Python does Zephyr need?"}]}
        here = {"Sec-Fetch-Site": "same-origin"}
        assert client.post("/v1/chat/completions", json=question, headers=here, timeout=60).status_code == 200
        for elsewhere in (
            {"Sec-Fetch-Site": "cross-site"},
            {"Sec-Fetch-Site": "same-site"},
            {"Sec-Fetch-Site": "none"},
            {"Origin": "https://evil.example"},
            {"Origin": "null"},
            {},
        ):
            assert client.post("/v1/feedback", json={}, headers=elsewhere).status_code == 401, elsewhere
            assert client.post("/auth/sign-out", json={}, headers=elsewhere).status_code == 403, elsewhere
        assert client.get("/v1/me", headers={"Sec-Fetch-Site": "same-site"}).json()["is_signed_in"] is False
        assert client.post("/v1/feedback", json={}, headers={"Origin": server}).status_code == 400


def test_claim_that_is_no_list_lets_nobody_in(server: str) -> None:
    with httpx.Client() as client:
        there = client.get(f"{server}/auth/sign-in").headers["location"]
        back = httpx.post(there, data={"sub": "odd"}).headers["location"]
        assert client.get(back).status_code == 401
        assert "almanac-session" not in client.cookies


def test_cookie_over_https_is_secure_and_of_this_host_alone(home: Home) -> None:
    from starlette.testclient import TestClient

    settings = home.settings.model_copy(update={"public_url": "https://ask.example/", "allowed_hosts": "*"})
    app = create_app(home.params, settings, StaticPair)
    answer = TestClient(app).get("/auth/sign-in", follow_redirects=False)
    cookie = answer.headers["set-cookie"]
    assert cookie.startswith("__Host-almanac-sign-in=")
    assert all(word in cookie for word in ("HttpOnly", "Secure", "SameSite=lax", "Path=/"))
    sent = parse_qs(urlsplit(answer.headers["location"]).query)
    assert sent["redirect_uri"] == ["https://ask.example/auth/callback"]
    assert sent["code_challenge_method"] == ["S256"] and sent["state"] and sent["nonce"]


def test_provider_that_is_down_is_said_and_keys_go_on(home: Home) -> None:
    from starlette.testclient import TestClient

    settings = home.settings.model_copy(update={"oidc_issuer": "http://127.0.0.1:9", "allowed_hosts": "*"})
    client = TestClient(create_app(home.params, settings, StaticPair))
    assert client.get("/auth/sign-in").status_code == 503
    assert client.get("/v1/me").json()["sign_in"] == "auth/sign-in"


def test_client_without_an_issuer_is_a_mistake(home: Home) -> None:
    settings = home.settings.model_copy(update={"oidc_issuer": None})
    with pytest.raises(ConfigurationError, match="ALMANAC_OIDC_ISSUER"):
        create_app(home.params, settings, StaticPair)


def test_server_without_a_provider_has_no_sign_in(home: Home) -> None:
    from starlette.testclient import TestClient

    update = {"oidc_issuer": None, "oidc_client_id": None, "allowed_hosts": "*"}
    client = TestClient(create_app(home.params, home.settings.model_copy(update=update), StaticPair))
    assert client.get("/auth/sign-in").status_code == 404
    assert client.get("/v1/me").json() == {
        "name": "", "roles": [], "rights": [], "is_signed_in": False, "sign_in": None,
    }  # fmt: skip


def test_made_up_cookie_is_nobody(home: Home) -> None:
    sessions = Sessions(home.settings.layout.sessions, lifetime=timedelta(hours=1))
    assert sessions.find("x") is None and sessions.find(None) is None and sessions.close("x") is None
    token = sessions.begin(Begun({"a": 1}, "review"))
    assert sessions.take_begun(token) == Begun({"a": 1}, "review")
    assert sessions.take_begun(token) == Begun({})

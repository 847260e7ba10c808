"""Who gets in, and what every answer carries."""

import concurrent.futures
import json
import re
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from admin.web.app import create_app
from admin.web.attempts import PER_ADDRESS, PER_NAME_AND_ADDRESS, WINDOW_SECONDS, Attempts
from admin.web.guard import ABSOLUTE, IDLE
from admin.web.passwords import AT_ONCE, hash_password, verify_password
from admin.web.tokens import new_token
from tasks.catalog import Audit, DeadLetter, Process, Request, Token, User, session, transaction
from tasks.catalog.standstill import begin_standstill, end_standstill
from tasks.errors import Invalid, Unavailable
from tasks.secrets import Secret
from tests.admin.web.site import PASSWORD, Site, fill, now, settings_for

TEMPLATES = Path(__file__).parents[3] / "admin" / "web" / "templates"
PAGES = [
    "/",
    "/runs",
    "/runs/1",
    "/resources",
    "/resources/1",
    "/points",
    "/alerts",
    "/dead-letters",
    "/missed",
    "/rights",
]
API = [f"/api/v1/{name}" for name in ("queues", "runs", "runs/1", "resources", "points", "alerts", "processes")]
ACTIONS = [
    "/dead-letters/requeue",
    "/dead-letters/drop",
    "/runs/1/cancel",
    "/workers/drain",
    "/workers/undrain",
    "/logout",
]


def test_every_page_needs_a_login_and_every_route_is_known_here(site: Site) -> None:
    """Feature 64: no page, list or action answers a stranger; a new route fails here until it is listed."""
    app = create_app(site.settings)
    rules = {re.sub(r"<[^>]+>", "1", rule.rule) for rule in app.url_map.iter_rules()}
    actions = {"/dead-letters/1", "/runs/1/cancel", "/workers/1", "/logout"}
    probes = {"/livez", "/readyz", "/metrics", "/login", "/static/1"}
    assert rules == {*PAGES, *API, *actions, *probes}
    stranger = site.client()
    for path in PAGES:
        answer = stranger.get(path, allow_redirects=False)
        assert (answer.status_code, answer.headers["Location"].split("?")[0]) == (302, "/login")
    for path in API:
        assert stranger.get(path).status_code == 401
    for path in ACTIONS:
        token = stranger.token("/login")
        answer = stranger.post(
            path, data={"csrf_token": token}, headers={"Referer": site.handle.address}, allow_redirects=False
        )
        assert (answer.status_code, answer.headers["Location"]) == (302, "/login")


def test_pages_and_lists_answer_whoever_is_logged_in(site: Site) -> None:
    """Feature 64, 38: viewers see everything; unknown numbers are 404."""
    fill()
    viewer = site.client("vic")
    for path in (*PAGES, *API):
        assert viewer.get(path).status_code == 200, path
    for path in ("/runs/99", "/resources/99", "/api/v1/runs/99", "/nothing", "/runs/9999999999999999999999"):
        assert viewer.get(path).status_code == 404, path


def test_a_wrong_password_and_an_unknown_name_get_the_same_answer(site: Site) -> None:
    """Feature 64: the answer tells nobody which names exist."""
    client = site.client()
    wrong, unknown = client.log_in("ada", "not the password"), client.log_in("nobody", "not the password")
    assert (wrong.status_code, unknown.status_code) == (403, 403)
    assert re.sub("csrf.*", "", wrong.text) == re.sub("csrf.*", "", unknown.text)
    with session():
        assert not list(Audit.select().where(Audit.action == "login"))


def test_passwords_cannot_be_guessed_by_trying(site: Site) -> None:
    """Feature 64: after a few tries the right password is not even looked at, until a pause is over."""
    client = site.client()
    for _ in range(PER_NAME_AND_ADDRESS):
        assert client.log_in("ada", "guess").status_code == 403
    answer = client.log_in("ada")
    assert answer.status_code == 429
    assert 0 < int(answer.headers["Retry-After"]) <= WINDOW_SECONDS + 1
    assert client.log_in("vic").status_code == 200


def test_attempts_are_counted_per_name_and_per_address_and_forgotten() -> None:
    """Feature 64: one address cannot try many names either."""
    at = [0.0]
    attempts = Attempts(lambda: at[0])
    for number in range(PER_ADDRESS):
        assert attempts.wait_seconds(f"n{number}", "a") == 0
        attempts.failed(f"n{number}", "a")
    assert attempts.wait_seconds("another", "a") > 0
    assert attempts.wait_seconds("another", "b") == 0
    at[0] = WINDOW_SECONDS + 1
    assert attempts.wait_seconds("another", "a") == 0
    for _ in range(PER_NAME_AND_ADDRESS):
        attempts.failed("ada", "c")
    assert attempts.wait_seconds("ada", "c") > 0
    attempts.succeeded("ada", "c")
    assert attempts.wait_seconds("ada", "c") == 0


def test_only_a_few_passwords_are_hashed_at_once() -> None:
    """Feature 64: a flood of logins cannot take the host's memory; those beyond the cap are sent away."""
    hashed = hash_password(PASSWORD)
    with concurrent.futures.ThreadPoolExecutor(60) as pool:
        tries = [pool.submit(verify_password, hashed, PASSWORD) for _ in range(60)]
        outcomes = [type(future.exception()) for future in tries]
    assert outcomes.count(type(None)) >= AT_ONCE
    assert set(outcomes) <= {type(None), Unavailable}


@pytest.mark.parametrize("password", ["", "short", "x" * 257])
def test_passwords_that_are_too_short_or_too_long_are_not_stored(password: str) -> None:
    """Feature 64."""
    with pytest.raises(Invalid, match="12 to 256"):
        hash_password(password)


def test_a_form_without_its_token_changes_nothing(site: Site) -> None:
    """Feature 64: neither without a token, nor with another session's, nor from another site."""
    fill()
    admin, other = site.client("ada"), site.client("ada")
    mine, foreign = admin.token("/dead-letters"), other.token("/dead-letters")
    here = {"Referer": site.handle.address + "dead-letters"}
    tries = [
        ({"letter": "all"}, here),
        ({"letter": "all", "csrf_token": foreign}, here),
        ({"letter": "all", "csrf_token": mine}, {"Referer": "https://evil.example/"}),
        ({"letter": "all", "csrf_token": mine}, {}),
    ]
    for form, headers in tries:
        assert admin.post("/dead-letters/drop", data=form, headers=headers).status_code == 400
    with session():
        assert Request.select().count() == 0
    assert admin.get("/dead-letters/drop").status_code == 405


def test_an_admin_requeues_and_drops_letters_as_wishes_with_an_audit_trail(site: Site) -> None:
    """Feature 64: the page writes a request; the coordinator does it; the audit says who asked."""
    fill()
    admin = site.client("ada")
    answer = admin.submit("/dead-letters/requeue", "/dead-letters", letter="1")
    assert "requeue letter 1" in answer.text
    admin.submit("/dead-letters/drop", "/dead-letters", letter="all")
    admin.submit("/runs/1/cancel", "/runs/1")
    with session():
        wishes = [(row.kind, row.payload, row.requested_by) for row in Request.select().order_by(Request.id)]
        assert wishes == [
            ("requeue", {"letter": 1}, "ada"),
            ("drop", {"letter": "all"}, "ada"),
            ("cancel", {"run": 1}, "ada"),
        ]
        said = [(row.who, row.action) for row in Audit.select().order_by(Audit.id)]
        assert said == [("ada", "login"), ("ada", "requeue"), ("ada", "drop"), ("ada", "cancel")]
        assert DeadLetter.select().where(DeadLetter.state == "open").count() == 2
    assert admin.submit("/dead-letters/drop", "/dead-letters", letter="1; drop table").status_code == 400


def test_an_admin_drains_a_worker_from_the_page_and_lets_it_go_on(site: Site) -> None:
    """Feature C21: a button for each live worker, with the token that other sites do not have; the audit says who. The
    page also says when the whole fleet stands still."""
    at = now()
    working = {"jobs": [{"job": 7, "kind": "snapshot", "lane": "snapshot", "since": at.isoformat()}]}
    with session():
        Process.create(
            name="host:1:worker", role="worker", threads=8, busy=1, detail=working, started_at=at, seen_at=at
        )
    admin = site.client("ada")
    assert 'aria-label="drain host:1:worker"' in admin.get("/").text
    assert admin.post("/workers/drain", data={"name": "host:1:worker"}).status_code == 400
    assert "Asked to drain: host:1:worker" in admin.submit("/workers/drain", "/", name="host:1:worker").text
    with session():
        assert Process.get_by_id("host:1:worker").wanted == "drain"
    assert "draining" in admin.get("/").text
    with transaction():
        assert begin_standstill("eve@cli", at)
    assert "asked for by <bdi>eve@cli</bdi>" in admin.get("/").text
    with transaction():
        assert end_standstill()
    assert "stands still" not in admin.get("/").text
    assert admin.submit("/workers/undrain", "/", name="host:1:worker").status_code == 200
    assert admin.submit("/workers/drain", "/", name="nobody").status_code == 400
    viewer = site.client("vic")
    assert 'aria-label="drain' not in viewer.get("/").text
    assert viewer.submit("/workers/drain", "/dead-letters", name="host:1:worker").status_code == 403
    with session():
        assert Process.get_by_id("host:1:worker").wanted == ""
        said = [(row.who, row.action) for row in Audit.select().where(Audit.action.startswith("worker."))]
        assert said == [("ada", "worker.drain"), ("ada", "worker.undrain")]


def test_a_viewer_sees_no_button_and_may_not_press_it(site: Site) -> None:
    """Feature 64: viewers see, admins act."""
    fill()
    viewer = site.client("vic")
    assert "Requeue all" not in viewer.get("/dead-letters").text
    assert viewer.submit("/dead-letters/drop", "/dead-letters", letter="all").status_code == 403
    assert viewer.submit("/runs/1/cancel", "/runs/1").status_code == 403
    with session():
        assert Request.select().count() == 0


def test_sessions_end_by_idleness_by_age_by_logout_and_with_the_password(site: Site) -> None:
    """Feature 64: a refresh that the page makes by itself keeps nobody logged in."""
    settings = site.settings
    app = create_app(settings)
    clock = _Moved(app.extensions["snapfleet_clock"])
    app.extensions["snapfleet_clock"] = clock

    def logged_in() -> bool:
        return browser.get("/runs", base_url="https://localhost").status_code == 200

    def log_in() -> None:
        page = browser.get("/login", base_url="https://localhost").text
        token = re.search(r'name="csrf_token" value="([^"]+)"', page)[1]  # type: ignore[index]
        form = {"name": "ada", "password": PASSWORD, "csrf_token": token}
        headers = {"Referer": "https://localhost/login"}
        assert browser.post("/login", data=form, headers=headers, base_url="https://localhost").status_code == 302

    browser = app.test_client()
    log_in()
    for _ in range(3):
        clock.ahead += IDLE * 0.9
        assert logged_in()
    for _ in range(3):
        clock.ahead += IDLE * 0.4
        browser.get("/", headers={"X-Refresh": "1"}, base_url="https://localhost")
    assert not logged_in()
    log_in()
    steps = ABSOLUTE // (IDLE * 0.9)
    for _ in range(steps):
        clock.ahead += IDLE * 0.9
        assert logged_in()
    clock.ahead += IDLE * 0.9
    assert not logged_in()
    log_in()
    with transaction():
        User.update(password_hash=hash_password("another long password")).where(User.name == "ada").execute()
    assert not logged_in()


class _Moved:
    """A clock that runs ahead of another."""

    def __init__(self, clock: object) -> None:
        self._clock, self.ahead = clock, timedelta(0)

    def timer(self) -> object:
        return self._clock.timer() + self.ahead  # type: ignore[attr-defined]

    def now(self) -> object:
        return self._clock.now() + self.ahead  # type: ignore[attr-defined]


def test_a_disabled_user_is_out_at_once(site: Site) -> None:
    """Feature 64."""
    client = site.client("vic")
    with transaction():
        User.update(disabled_at=now()).where(User.name == "vic").execute()
    assert client.get("/runs", allow_redirects=False).status_code == 302
    assert client.log_in("vic").status_code == 403


def test_nobody_is_sent_to_another_site_after_a_login(site: Site) -> None:
    """Feature 64: `next` is a path of ours or nothing."""
    for target, expected in (
        ("//evil.example/", "/"),
        ("/\\evil.example", "/"),
        ("https://evil.example/", "/"),
        ("/nothing", "/"),
        ("/points", "/points"),
    ):
        client = site.client()
        token = client.token("/login")
        form = {"name": "vic", "password": PASSWORD, "csrf_token": token}
        headers = {"Referer": site.handle.address + "login"}
        answer = client.post(f"/login?next={target}", data=form, headers=headers, allow_redirects=False)
        assert (answer.status_code, answer.headers["Location"]) == (302, expected)


def test_every_answer_carries_the_headers_that_disarm_what_slipped_through(site: Site) -> None:
    """Feature 94: pages, lists, probes, errors and files."""
    client = site.client("vic")
    for path in ("/", "/login", "/api/v1/queues", "/livez", "/metrics", "/nothing", "/static/style.css"):
        headers = client.get(path).headers
        policy = headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert "Python" not in headers["Server"]
        assert "cheroot" not in headers["Server"].lower()
    cookie = site.client().get("/login").headers["Set-Cookie"]
    assert cookie.startswith("__Host-snapfleet=")
    for flag in ("Secure", "HttpOnly", "SameSite=Lax", "Path=/"):
        assert flag in cookie


def test_templates_leave_nothing_unescaped() -> None:
    """Feature 94: values only in text or quoted attributes, no |safe, no inline script, style or handler."""
    files = sorted(TEMPLATES.glob("*.html"))
    assert len(files) > 10
    for file in files:
        text = file.read_text()
        for pattern in (
            r"=\{\{",
            r"\|\s*safe",
            r"autoescape",
            r"<script(?![^>]*\bsrc=)",
            r"<style",
            r"\sstyle=",
            r"\son\w+=",
        ):
            assert not re.search(pattern, text), f"{file.name}: {pattern}"
        for target in re.findall(r'(?:href|src|action)="([^"]*)"', text):
            assert target.startswith(("{{ url_for(", "#")), f"{file.name}: {target}"


def test_tokens_open_what_their_scope_says_until_they_expire(site: Site) -> None:
    """Feature 64: the catalog keeps a digest; a token of another scope, an old or a cut one opens nothing."""
    texts = {}
    with transaction():
        for name, scope, ends in (("m", "metrics", None), ("a", "api", None), ("o", "api", now() - timedelta(1))):
            texts[name], digest = new_token()
            Token.create(name=name, digest=digest, scope=scope, created_at=now(), expires_at=ends)
            assert texts[name] not in json.dumps(Token.select().where(Token.name == name).dicts()[0], default=str)

    def status(path: str, token: str) -> int:
        return site.client().get(path, headers={"Authorization": f"Bearer {token}"}).status_code

    assert status("/api/v1/queues", texts["a"]) == 200
    assert [status("/api/v1/queues", texts[name]) for name in "mo"] == [401, 401]
    assert status("/api/v1/queues", texts["a"][:-1]) == 401
    assert status("/metrics", texts["m"]) == 200
    assert status("/metrics", texts["a"]) == 401
    assert site.client().get("/", headers={"Authorization": f"Bearer {texts['a']}"}).url.endswith("/login")


def test_metrics_are_for_a_token_or_for_this_host(site: Site) -> None:
    """Feature 64: without a token only loopback reads them, and nobody through a proxy."""
    client = site.client()
    assert client.get("/metrics").status_code == 200
    assert client.get("/metrics", headers={"X-Forwarded-For": "203.0.113.9"}).status_code == 401
    app = create_app(replace(site.settings, metrics_token=Secret("metrics-token")))
    asker = app.test_client()
    for address, token, status in (
        ("127.0.0.1", "", 401),
        ("127.0.0.1", "metrics-token", 200),
        ("203.0.113.9", "metrics-token", 200),
        ("203.0.113.9", "wrong", 401),
    ):
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        answer = asker.get("/metrics", headers=headers, environ_base={"REMOTE_ADDR": address})
        assert answer.status_code == status
    stranger = create_app(site.settings).test_client()
    for address, status in (("203.0.113.9", 401), ("::ffff:127.0.0.1", 200), ("::1", 200), ("10.0.0.1", 401)):
        assert stranger.get("/metrics", environ_base={"REMOTE_ADDR": address}).status_code == status


def test_the_page_does_not_start_without_an_admin(embedded_catalog: str, tmp_path: Path) -> None:
    """Feature 64: one sentence with the next step."""
    settings = settings_for(tmp_path, embedded_catalog)
    with pytest.raises(Invalid, match=r"no admin.*snapfleet users add"):
        create_app(settings)
    with transaction():
        User.create(name="vic", password_hash="x", role="viewer", created_at=now())
        User.create(name="old", password_hash="x", role="admin", created_at=now(), disabled_at=now())
    with pytest.raises(Invalid, match="no admin"):
        create_app(settings)

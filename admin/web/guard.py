"""What every answer of the page carries, and who gets one: headers, sessions, roles."""

import hashlib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import wraps
from typing import Any

from flask import Flask, Response, abort, current_app, g, redirect, request, session, url_for
from flask_login import LoginManager, UserMixin, current_user, logout_user

from admin.web.tokens import allows, bearer
from tasks.catalog import User
from tasks.catalog import session as catalog_session
from tasks.clock import Clock

# A page left open ends; refreshing by itself does not count as use. Nobody stays logged in for longer than a shift.
IDLE = timedelta(minutes=30)
ABSOLUTE = timedelta(hours=12)
# Everything comes from this server and nothing is written into the page: a script or a style in a name stays text.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",  # the CSRF check reads it
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}
_OPEN = frozenset({"probes.livez", "probes.readyz", "probes.metrics", "login.form", "login.enter", "static"})
View = Callable[..., Any]


class Person(UserMixin):  # type: ignore[misc]
    """Somebody who is logged in."""

    def __init__(self, row: User) -> None:
        self.id = row.name
        self.role = row.role
        self.mark = fingerprint(row)

    @property
    def acts(self) -> bool:
        """Whether this person may change something."""
        return bool(self.role == "admin")


def fingerprint(row: User) -> str:
    """Changes with the password, so that a new password ends the sessions of the old one."""
    return hashlib.sha256(row.password_hash.encode()).hexdigest()[:16]


def clock() -> Clock:
    """The installation's clock."""
    return current_app.extensions["snapfleet_clock"]  # type: ignore[no-any-return]


def install(app: Flask) -> None:
    """Put the guard before and after every view of `app`."""
    manager = LoginManager(app, add_context_processor=False)
    manager.user_loader(_load)
    app.before_request(_connect)
    app.before_request(_enter)
    app.after_request(_add_headers)
    app.teardown_request(_disconnect)


def begin_session() -> None:
    """Note when a login happened; call right after it."""
    at = clock().timer().timestamp()
    session["began"], session["used"], session["mark"] = at, at, current_user.mark


def only_admin(view: View) -> View:
    """Let a view be used by admins only; others get 403."""

    @wraps(view)
    def guarded(*args: Any, **kwargs: Any) -> Any:
        if not getattr(current_user, "acts", False):
            abort(403)
        return view(*args, **kwargs)

    return guarded


def _connect() -> None:
    """One connection for the whole request, except where none may be held: probes, and while a password is checked."""
    if request.endpoint not in _OPEN:
        g.connection = catalog_session()
        g.connection.__enter__()


def _disconnect(_error: BaseException | None) -> None:
    connection = g.pop("connection", None)
    if connection is not None:
        connection.__exit__(None, None, None)


def _enter() -> Any:
    """Refuse whoever is neither logged in nor, for the API, carries a token."""
    if request.endpoint in _OPEN:
        return None
    if request.blueprint == "api" and allows(bearer(request.headers.get("Authorization")), "api", clock()):
        return None
    if current_user.is_authenticated and _lasts():
        return None
    logout_user()
    session.clear()
    if request.blueprint == "api":
        return {"error": "Log in, or send a token with the scope api."}, 401
    if request.method == "GET" and request.endpoint == "pages.overview":
        return redirect(url_for("login.form"))
    if request.method == "GET":
        return redirect(url_for("login.form", next=request.path))
    return redirect(url_for("login.form"))


def _load(name: str) -> Person | None:
    with catalog_session():
        row = User.get_or_none(User.name == name, User.disabled_at.is_null())
    if row is None or session.get("mark", fingerprint(row)) != fingerprint(row):
        return None
    return Person(row)


def _lasts() -> bool:
    at = clock().timer()
    began, used = (datetime.fromtimestamp(session.get(key, 0), UTC) for key in ("began", "used"))
    if at - began > ABSOLUTE or at - used > IDLE:
        return False
    if "X-Refresh" not in request.headers:
        session["used"] = at.timestamp()
    return True


def _add_headers(response: Response) -> Response:
    response.headers.update(HEADERS)
    if request.endpoint != "static":
        response.headers["Cache-Control"] = "no-store"
    return response

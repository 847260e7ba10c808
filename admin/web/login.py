"""Logging in and out."""

from typing import Any

from flask import Blueprint, current_app, redirect, render_template, request, session, url_for
from flask_login import current_user, login_user, logout_user

from admin.web.attempts import Attempts
from admin.web.guard import Person, begin_session, clock
from admin.web.passwords import verify_password
from tasks.catalog import Audit, User, transaction
from tasks.catalog import session as catalog_session
from tasks.telemetry import Counters

bp = Blueprint("login", __name__)
LONGEST_NAME = 100


@bp.get("/login")
def form() -> Any:
    """The form."""
    return render_template("login.html", problem="")


@bp.post("/login")
def enter() -> Any:
    """Check a name and a password. The answer never says which of the two was wrong."""
    name, address = request.form.get("name", "")[:LONGEST_NAME], request.remote_addr or ""
    attempts: Attempts = current_app.extensions["snapfleet_attempts"]
    wait = attempts.wait_seconds(name, address)
    if wait:
        _count("limited")
        text = f"Too many failed logins. Try again in {wait} seconds."
        return render_template("login.html", problem=text), 429, {"Retry-After": str(wait)}
    attempts.failed(name, address)  # before the check, so that tries side by side count too
    with catalog_session():
        row = User.get_or_none(User.name == name, User.disabled_at.is_null())
    matches = verify_password(row.password_hash if row else None, request.form.get("password", ""))
    if row is None or not matches:
        _count("refused")
        return render_template("login.html", problem="Name or password is wrong."), 403
    attempts.succeeded(name, address)
    _count("accepted")
    session.clear()
    with transaction():
        login_user(Person(row))
        begin_session()
        Audit.create(at=clock().timer(), who=name, action="login", detail={"address": address})
    return redirect(_next())


@bp.post("/logout")
def leave() -> Any:
    """End the session."""
    with transaction():
        Audit.create(at=clock().timer(), who=current_user.id, action="logout")
    logout_user()
    session.clear()
    return redirect(url_for("login.form"))


def _next() -> str:
    """Where the person wanted to go: a path of ours, never another host."""
    target = request.args.get("next", "")
    adapter = current_app.url_map.bind("")
    if target.startswith("/") and not target.startswith(("//", "/\\")) and adapter.test(target, "GET"):
        return target
    return url_for("pages.overview")


def _count(result: str) -> None:
    counters: Counters = current_app.extensions["snapfleet_counters"]
    counters.add("snapfleet_logins_total", result=result)

"""The application: blueprints, guard, and how values are shown."""

from datetime import datetime
from typing import Any

from flask import Flask, render_template, request
from flask.json.provider import DefaultJSONProvider
from flask_login import current_user
from flask_wtf.csrf import CSRFError, CSRFProtect
from markupsafe import Markup
from peewee import PeeweeException
from werkzeug.exceptions import HTTPException

from admin import metrics
from admin.figures import Estate
from admin.safe import safe
from admin.web import actions, api, guard, login, pages, probes
from admin.web.attempts import Attempts
from admin.web.marks import age, mark_of
from tasks.catalog import User, session
from tasks.catalog.audit import fetch_audit_key, sign_audit_with
from tasks.errors import Invalid, Refused, SnapfleetError, Unavailable
from tasks.settings import Settings
from tasks.telemetry import Counters

# Forms here are a name and a password, or one number.
MAX_BODY_BYTES = 16 * 1024


class UtcJson(DefaultJSONProvider):
    """Instants as ISO 8601 in UTC."""

    @staticmethod
    def default(value: Any) -> Any:
        """What json does not know itself."""
        if isinstance(value, datetime):
            return value.isoformat().replace("+00:00", "Z")
        return DefaultJSONProvider.default(value)


class App(Flask):
    """Flask, with every value made harmless before it is escaped into a page."""

    jinja_options = {**Flask.jinja_options, "finalize": lambda value: safe(value) if type(value) is str else value}
    json_provider_class = UtcJson


def create_app(settings: Settings, counters: Counters | None = None) -> Flask:
    """The application for an open catalog. Raises Invalid, with what to do, when nobody could log in."""
    with session():
        admins = User.select().where(User.role == "admin", User.disabled_at.is_null()).count()
    if not admins:
        raise Invalid(
            "The page has no admin.", advice="Add one with `snapfleet users add NAME --role admin`.", code="no-admin"
        )
    app = App(__name__)
    app.config.update(
        SECRET_KEY=settings.master_key().derive(b"web session"),
        SESSION_COOKIE_NAME="__Host-snapfleet",  # the prefix makes browsers insist on Secure, this host and path /
        SESSION_COOKIE_SECURE=True,
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SAMESITE="Lax",
        WTF_CSRF_TIME_LIMIT=None,  # a token lives as long as its session
        MAX_CONTENT_LENGTH=MAX_BODY_BYTES,
        TRAP_HTTP_EXCEPTIONS=False,
    )
    sign_audit_with(settings.master_key)
    fetch_audit_key()
    clock, estate = settings.clock(), Estate()
    app.extensions |= {
        "snapfleet_settings": settings,
        "snapfleet_clock": clock,
        "snapfleet_estate": estate,
        "snapfleet_registry": metrics.registry(clock, estate),
        "snapfleet_readiness": probes.Readiness(settings),
        "snapfleet_attempts": Attempts(),
        "snapfleet_counters": counters or Counters(),
    }
    guard.install(app)
    CSRFProtect(app)
    for module in (probes, login, pages, actions, api):
        app.register_blueprint(module.bp)
    _add_filters(app)
    _add_errors(app)
    return app


def _add_filters(app: Flask) -> None:
    app.jinja_env.globals |= {"mark_of": mark_of}
    app.jinja_env.filters |= {"when": _when, "age": age, "ago": lambda value: age(value, guard.clock().timer())}
    app.context_processor(lambda: {"person": current_user})


def _when(value: datetime | None) -> Markup:
    """An instant as text for people and machines."""
    if value is None:
        return Markup('<span class="none">never</span>')
    return Markup('<time datetime="{}">{}</time>').format(
        value.isoformat(timespec="seconds"), f"{value:%Y-%m-%d %H:%M}"
    )


def _add_errors(app: Flask) -> None:
    def refuse(status: int, text: str) -> Any:
        if request.blueprint == "api":
            return {"error": text}, status
        return render_template("error.html", status=status, text=text), status

    @app.errorhandler(HTTPException)
    def http(error: HTTPException) -> Any:
        if isinstance(error, CSRFError):
            return refuse(400, "This form has expired. Go back, reload the page and send it again.")
        return refuse(error.code or 500, error.name)

    @app.errorhandler(SnapfleetError)
    def ours(error: SnapfleetError) -> Any:
        status = 503 if isinstance(error, Unavailable) else 409 if isinstance(error, Refused) else 400
        return refuse(status, str(error))

    @app.errorhandler(PeeweeException)
    def catalog(_error: PeeweeException) -> Any:
        return refuse(503, "The catalog cannot be reached. Try again in a moment.")

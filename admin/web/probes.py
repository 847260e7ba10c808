"""What machines ask: alive, ready, metrics. No login; one word, or figures without a name in them.

`readyz` does what the process needs every day: a round trip to the catalog and, in a fleet, the broker's greeting.
A probe that only looks at a flag says "ready" over a dead connection.
"""

import ipaddress
import socket
import threading
import time
from typing import Any

from flask import Blueprint, Response, current_app, request
from peewee import PeeweeException
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from admin.web.guard import clock
from admin.web.tokens import allows, bearer
from tasks.amqp import connection_parameters
from tasks.catalog import Meta, session
from tasks.errors import SnapfleetError
from tasks.secrets import Secret
from tasks.settings import Settings

bp = Blueprint("probes", __name__)
# Probes come every few seconds from several places; an answer this young is given again.
FRESH_SECONDS = 2.0
REACH_SECONDS = 3.0
# AMQP 0-9-1, section 4.2.2: the client's header, to which a server answers with a method frame (type 1).
_HEADER, _METHOD_FRAME = b"AMQP\x00\x00\x09\x01", b"\x01"


class Readiness:
    """Whether catalog and broker answer, asked at most every FRESH_SECONDS however many ask."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._asked_at = -FRESH_SECONDS
        self._ready = False

    def ready(self) -> bool:
        """Ask, or repeat the last answer."""
        with self._lock:
            if time.monotonic() - self._asked_at >= FRESH_SECONDS:
                self._ready = catalog_answers() and (self._settings.embedded or broker_answers(self._settings))
                self._asked_at = time.monotonic()
            return self._ready


def catalog_answers() -> bool:
    """Read one row of our own, which fails without a server, without the database and without its tables."""
    try:
        with session():
            Meta.get_or_none(Meta.key == "installation")
    except (SnapfleetError, PeeweeException):
        return False
    return True


def broker_answers(settings: Settings) -> bool:
    """Whether one of the broker's hosts greets us, over TLS where the URL says so. No login is made."""
    try:
        hosts = connection_parameters(settings.broker_url, name="snapfleet probe")
    except SnapfleetError:
        return False
    return any(_greets(host) for host in hosts)


def _greets(host: Any) -> bool:
    try:
        with socket.create_connection((host.host, host.port), timeout=REACH_SECONDS) as plain:
            if host.ssl_options is None:
                return _answer(plain)
            context = host.ssl_options.context
            with context.wrap_socket(plain, server_hostname=host.ssl_options.server_hostname) as sealed:
                return _answer(sealed)
    except OSError:
        return False


def _answer(connection: socket.socket) -> bool:
    connection.settimeout(REACH_SECONDS)
    connection.sendall(_HEADER)
    return connection.recv(1) == _METHOD_FRAME


@bp.get("/livez")
def livez() -> Response:
    """This process answers."""
    return Response("alive\n", mimetype="text/plain")


@bp.get("/readyz")
def readyz() -> Response:
    """This process can do its work."""
    readiness: Readiness = current_app.extensions["snapfleet_readiness"]
    ready = readiness.ready()
    return Response("ready\n" if ready else "unready\n", 200 if ready else 503, mimetype="text/plain")


@bp.get("/metrics")
def metrics() -> Response:
    """Figures for Prometheus, for whoever carries a token, or from this host while no token is set."""
    if not _may_read_metrics():
        return Response("a token is needed\n", 401, {"WWW-Authenticate": "Bearer"}, mimetype="text/plain")
    registry: CollectorRegistry = current_app.extensions["snapfleet_registry"]
    return Response(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)


def _may_read_metrics() -> bool:
    settings: Settings = current_app.extensions["snapfleet_settings"]
    given = bearer(request.headers.get("Authorization"))
    if given:
        if settings.metrics_token and Secret(given) == settings.metrics_token:
            return True
        with session():
            return allows(given, "metrics", clock())
    # Behind a proxy on this host everybody comes from loopback.
    proxied = {"X-Forwarded-For", "Forwarded", "X-Real-Ip"} & set(request.headers.keys())
    return not settings.metrics_token and not proxied and _is_loopback(request.remote_addr or "")


def _is_loopback(address: str) -> bool:
    try:
        read = ipaddress.ip_address(address)
    except ValueError:
        return False
    mapped = getattr(read, "ipv4_mapped", None)
    return (mapped or read).is_loopback

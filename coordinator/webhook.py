"""Tells a receiver about alerts: signed webhook calls, made by a thread of their own.

A call is `POST` with a JSON body and these headers:
- `X-Snapfleet-Timestamp`: seconds since 1970 at which it was signed; refuse what is older than a few minutes
- `X-Snapfleet-Signature`: `sha256=` and the hexadecimal HMAC-SHA256, under the webhook's secret, of the timestamp's
  text, a full stop and the body; absent where no secret is set
- `X-Snapfleet-Delivery`: the number of the delivery; the same number may arrive twice

Any answer from 200 to 299 within CALL_SECONDS settles a delivery. Everything else is tried again, later and later,
for about a day; redirects are not followed.
"""

import base64
import contextlib
import hashlib
import hmac
import http.client
import json
import logging
import socket
import ssl
import threading
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import SplitResult, urlsplit
from urllib.request import proxy_bypass

from peewee import PeeweeException

from coordinator.webhook_address import Refusal, address_of, is_loopback
from tasks.catalog import Alert, Delivery, lock_rows, transaction
from tasks.clock import Clock
from tasks.errors import SnapfleetError
from tasks.secrets import Secret
from tasks.settings import Settings
from tasks.telemetry import Counters

log = logging.getLogger("snapfleet.webhook")
CALL_SECONDS = 5.0
LOOK_SECONDS = 2.0
BATCH = 10
# A call that is being made belongs to its process this long: longer than a batch of calls that all time out.
TAKEN_FOR = timedelta(seconds=BATCH * CALL_SECONDS * 2)
FIRST_WAIT, LONGEST_WAIT = timedelta(seconds=10), timedelta(hours=1)
# 10 s doubled up to an hour: 31 attempts last about a day. A receiver that was away longer has the list of alerts.
ATTEMPTS = 31


@dataclass(frozen=True)
class Call:
    """One delivery, read completely before the call is made, so that no transaction is open during it."""

    delivery: int
    attempts: int
    body: bytes


class Notifier:
    """Makes the calls. `start` begins a thread and returns; `stop` ends it within one call's time."""

    def __init__(self, settings: Settings, clock: Clock, counters: Counters | None = None) -> None:
        self._settings = settings
        self._clock = clock
        self._counters = counters or Counters()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="webhook", daemon=True)

    def start(self) -> None:
        """Begin to deliver."""
        self._thread.start()

    def stop(self) -> None:
        """Deliver nothing more."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(CALL_SECONDS * 2)

    def _loop(self) -> None:
        while not self._stopping.wait(LOOK_SECONDS):
            try:
                self.deliver()
                self._counters.flush()
            except (SnapfleetError, PeeweeException) as error:
                log.warning("alerts could not be delivered: %s", type(error).__name__)

    def deliver(self) -> int:
        """Make the calls that are due; how many were settled. Without a receiver there is nobody to tell."""
        if not self._settings.webhook_url:
            with transaction():
                return int(Delivery.delete().execute())
        settled = 0
        for call in take(self._clock.timer()):
            if self._stopping.is_set():
                break
            problem = send(self._settings, call, self._clock.timer())
            self._settle(call, problem)
            settled += not problem
        return settled

    def _settle(self, call: Call, problem: str) -> None:
        refused = problem.startswith(Refusal.PREFIX)
        result = "refused" if refused else "failed" if problem else "delivered"
        self._counters.add("snapfleet_webhook_attempts_total", result=result)
        at = self._clock.timer()
        with transaction():
            if not problem or call.attempts >= ATTEMPTS:
                Delivery.delete().where(Delivery.id == call.delivery).execute()
            else:
                Delivery.update(next_at=at + wait_after(call.attempts), error_text=problem).where(
                    Delivery.id == call.delivery
                ).execute()
        if problem:
            log.warning("delivery %s, attempt %s: %s", call.delivery, call.attempts, problem)


def wait_after(attempts: int) -> timedelta:
    """The pause after the attempt of this number, from 1."""
    return min(LONGEST_WAIT, FIRST_WAIT * (1 << min(attempts - 1, 20)))


def take(at: datetime) -> list[Call]:
    """The deliveries that are due, marked so that no other coordinator makes the same calls."""
    with transaction():
        due = list(lock_rows(Delivery.select().where(Delivery.next_at <= at).order_by(Delivery.id).limit(BATCH)))
        for row in due:
            row.attempts += 1
            Delivery.update(attempts=row.attempts, next_at=at + TAKEN_FOR).where(Delivery.id == row.id).execute()
        alerts: Any = Alert.select().where(Alert.id.in_([row.alert_id for row in due]))
        known = {alert.id: alert for alert in alerts} if due else {}
        return [Call(row.id, row.attempts, body_of(row, known[row.alert_id])) for row in due if row.alert_id in known]


def body_of(row: Delivery, alert: Alert) -> bytes:
    """What the receiver reads."""
    cleared = alert.cleared_at.isoformat() if alert.cleared_at else None
    content = {
        "version": 1,
        "delivery": row.id,
        "event": row.event,
        "alert": {
            "id": alert.id,
            "key": alert.key,
            "severity": alert.severity,
            "title": alert.title,
            "text": alert.text,
            "detail": alert.detail,
            "raised_at": alert.raised_at.isoformat(),
            "cleared_at": cleared,
        },
    }
    return json.dumps(content, separators=(",", ":")).encode()


def signature(secret: Secret, timestamp: str, body: bytes) -> str:
    """What X-Snapfleet-Signature holds."""
    digest = hmac.new(secret.reveal().encode(), timestamp.encode() + b"." + body, hashlib.sha256)
    return f"sha256={digest.hexdigest()}"


def send(settings: Settings, call: Call, at: datetime) -> str:
    """Make one call; '' when the receiver took it, else why not in one sentence without secrets."""
    url = urlsplit(settings.webhook_url)
    timestamp = str(int(at.timestamp()))
    headers = {
        "Content-Type": "application/json",
        "User-Agent": "snapfleet",
        "X-Snapfleet-Delivery": str(call.delivery),
        "X-Snapfleet-Timestamp": timestamp,
    }
    if settings.webhook_secret:
        headers["X-Snapfleet-Signature"] = signature(settings.webhook_secret, timestamp, call.body)
    try:
        dial, connection = _connection(settings, url)
    except Refusal as refusal:
        return str(refusal)
    except OSError as error:
        return f"The receiver cannot be found ({type(error).__name__})."
    deadline = threading.Timer(CALL_SECONDS, dial.hang_up)
    deadline.start()
    try:
        path = (url.path or "/") + (f"?{url.query}" if url.query else "")
        connection.request("POST", path, call.body, headers)
        answer = connection.getresponse()
    except (OSError, http.client.HTTPException, ValueError) as error:
        return f"The receiver did not answer ({type(error).__name__})."
    finally:
        deadline.cancel()
        connection.close()
        dial.close()
    if dial.late:  # what was read until then may look like an answer
        return f"The receiver did not answer within {CALL_SECONDS:g} s."
    return "" if 200 <= answer.status < 300 else f"The receiver answered {answer.status}."


class _Dial:
    """Opens the connection to the address that was judged, not to what the name means a moment later.

    It keeps a handle of its own, by which another thread ends a call that takes too long, whatever it is waiting for.
    """

    def __init__(self, address: str = "") -> None:
        self._address = address
        self._handle: socket.socket | None = None
        self.late = False

    def __call__(self, target: tuple[str, int], *_given: object) -> socket.socket:
        opened = socket.create_connection((self._address or target[0], target[1]), CALL_SECONDS)
        self._handle = opened.dup()
        return opened

    def hang_up(self) -> None:
        """End the call."""
        self.late = True
        if self._handle is not None:
            with contextlib.suppress(OSError):
                self._handle.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Forget the handle."""
        if self._handle is not None:
            self._handle.close()


def _connection(settings: Settings, url: SplitResult) -> tuple[_Dial, http.client.HTTPConnection]:
    """A connection to the receiver, or through the proxy. Raises Refusal for a URL that is not allowed."""
    host = url.hostname or ""
    try:
        port = url.port or (443 if url.scheme == "https" else 80)
    except ValueError:
        raise Refusal("its port cannot be read") from None
    if settings.proxy and url.scheme == "https" and not is_loopback(host) and not proxy_bypass(host):
        address_of(url.scheme, host, port, resolve=False)  # the proxy resolves the name
        return _tunnel(settings, host, port)
    dial = _Dial(address_of(url.scheme, host, port))
    connection = http.client.HTTPConnection(host, port, timeout=CALL_SECONDS)
    if url.scheme == "https":
        connection = http.client.HTTPSConnection(host, port, timeout=CALL_SECONDS, context=ssl.create_default_context())
    connection._create_connection = dial  # type: ignore[attr-defined]
    return dial, connection


def _tunnel(settings: Settings, host: str, port: int) -> tuple[_Dial, http.client.HTTPConnection]:
    proxy, _, proxy_port = settings.proxy.rpartition(":")
    headers = {}
    if settings.proxy_user:
        login = f"{settings.proxy_user}:{settings.proxy_password.reveal()}".encode()
        headers["Proxy-Authorization"] = f"Basic {base64.b64encode(login).decode()}"
    connection = http.client.HTTPSConnection(
        proxy, int(proxy_port), timeout=CALL_SECONDS, context=ssl.create_default_context()
    )
    connection.set_tunnel(host, port, headers)
    dial = _Dial()
    connection._create_connection = dial  # type: ignore[attr-defined]
    return dial, connection

"""The HTTPS server of the page: in a thread beside others (`start`), or as a process of its own (`run`)."""

import logging
import os
import signal
import socket
import ssl
import threading
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from cheroot.ssl.builtin import BuiltinSSLAdapter
from cheroot.wsgi import Server
from peewee import PeeweeException

from admin.web.app import create_app
from admin.web.certificate import certificate_files
from tasks.catalog import Process, database, open_catalog, transaction
from tasks.catalog.migrate import require_current
from tasks.clock import Clock
from tasks.errors import Invalid, SnapfleetError
from tasks.settings import Settings
from tasks.telemetry import Counters

log = logging.getLogger("snapfleet.web")
THREADS = 10
# Others are told to come back instead of waiting in a line nobody sees.
WAITING_AT_MOST = 100
REQUEST_SECONDS = 15
REPORT_SECONDS = 5.0
SHUTDOWN_SECONDS = 5


class Handle:
    """A page that is being served. `address` is where; `stop` ends it within SHUTDOWN_SECONDS."""

    def __init__(self, server: "LoggingServer", threads: list[threading.Thread], stopping: threading.Event) -> None:
        self._server = server
        self._threads = threads
        self._stopping = stopping
        host, port = server.bind_addr[:2]
        self.port = int(port)
        self.address = f"https://{host}:{port}/"

    def stop(self) -> None:
        """Finish what is being answered, then close."""
        self._stopping.set()
        self._server.stop()
        for thread in self._threads:
            thread.join(SHUTDOWN_SECONDS)


class LoggingServer(Server):
    """cheroot with its complaints in our log. A client that speaks no TLS is not an error of ours."""

    def error_log(self, msg: str = "", level: int = logging.INFO, traceback: bool = False) -> None:
        log.log(min(level, logging.WARNING), "%s", msg, exc_info=traceback and level >= logging.ERROR)


def start(settings: Settings, *, report: bool = True) -> Handle:
    """Serve the page from threads of this process; the catalog is open. `report` writes this process's row.

    Raises Invalid, with what to do, when there is no admin, no key, or the port is taken.
    """
    counters = Counters()
    app = create_app(settings, counters)
    certificate, key = certificate_files(settings)
    server = LoggingServer(
        (settings.listen, settings.port),
        app,
        numthreads=THREADS,
        request_queue_size=WAITING_AT_MOST,
        timeout=REQUEST_SECONDS,
        shutdown_timeout=SHUTDOWN_SECONDS,
        server_name="snapfleet",
    )
    server.max_request_body_size = app.config["MAX_CONTENT_LENGTH"]
    server.ssl_adapter = _adapter(str(certificate), str(key))
    try:
        server.prepare()
    except OSError as error:
        where = f"{settings.listen}:{settings.port}"
        text = f"The page cannot listen on {where}: {error.strerror or error}."
        raise Invalid(text, advice="Set another port in SNAPFLEET_PORT.", code="listen") from None
    stopping = threading.Event()
    threads = [threading.Thread(target=server.serve, name="page", daemon=True)]
    if report:
        clock = app.extensions["snapfleet_clock"]
        threads.append(
            threading.Thread(target=_report, args=(clock, counters, stopping), name="page report", daemon=True)
        )
    for thread in threads:
        thread.start()
    handle = Handle(server, threads, stopping)
    log.info("the page is at %s", handle.address)
    return handle


def run(settings: Settings, stop: threading.Event | None = None) -> None:
    """Serve the page until `stop` is set, or until this process is asked to end."""
    if database.obj is None:
        open_catalog(settings.catalog)
    require_current()
    if stop is None:
        stop = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.set())
    handle = start(settings)
    stop.wait()
    handle.stop()


def _adapter(certificate: str, key: str) -> Any:
    adapter = BuiltinSSLAdapter(certificate, key)
    adapter.context.minimum_version = ssl.TLSVersion.TLSv1_2
    return adapter


def _report(clock: Clock, counters: Counters, stopping: threading.Event) -> None:
    """Say every few seconds that this process lives, and hand over what it counted; at the end, that it is gone."""
    name = f"{socket.gethostname()}:{os.getpid()}:web"
    ended = False
    while not ended:
        ended = stopping.is_set()
        try:
            with transaction():
                if ended:
                    Process.delete().where(Process.name == name).execute()
                else:
                    _beat(name, clock)
            counters.flush()
        except (SnapfleetError, PeeweeException) as error:
            log.warning("this process could not report itself: %s", type(error).__name__)
        if not ended:
            stopping.wait(REPORT_SECONDS)


def _beat(name: str, clock: Clock) -> None:
    at = clock.timer()
    row = {"role": "web", "threads": THREADS, "version": _version(), "started_at": at}
    Process.insert(name=name, seen_at=at, **row).on_conflict(
        conflict_target=[Process.name], update={Process.seen_at: at}
    ).execute()


def _version() -> str:
    try:
        return version("snapfleet")
    except PackageNotFoundError:  # run from a checkout that was not installed
        return ""

"""Real PostgreSQL and RabbitMQ for tests. For developers, `python -m tests.services` starts both and prints their URLs.

With SNAPFLEET_TEST_AMQP_URL or SNAPFLEET_TEST_POSTGRES_URL set, those servers are used instead of own ones; tests that
stop or kill a server then refuse to run against it. Own servers come from the Debian packages, live in a temporary
directory on free ports of the loopback, and are gone at the end of the session.

Fixtures: `rabbitmq` and `postgres` (the servers with their controls), `rabbitmq_url`, `postgres_url` (of the session),
`rabbitmq_vhost` and `database_url` (empty, the test's own).
"""

from __future__ import annotations

import atexit
import base64
import contextlib
import itertools
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

_START_SECONDS = 60  # RabbitMQ needs 5 s here, more on a busy machine
_RABBITMQ_SERVER = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")  # the one in PATH insists on its own system user
_POSTGRES_ROOT = Path("/usr/lib/postgresql")
_DIES_WITH_US = ("setpriv", "--pdeathsig", "KILL", "--")  # nothing is left behind even when the test run is killed


def free_port() -> int:
    """A port of the loopback that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until(condition: Callable[[], Any], seconds: float = 10.0, what: str = "condition") -> Any:
    """Poll until the condition is true, and return its value. Raises TimeoutError."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what} not reached within {seconds:g} s")
        time.sleep(0.02)


class RabbitServer:
    """One RabbitMQ node of our own. `url(vhost)` is where it listens; ports and data survive stop, kill and start."""

    def __init__(self) -> None:
        if not _RABBITMQ_SERVER.exists() or not shutil.which("epmd"):
            raise RuntimeError("RabbitMQ is missing: install rabbitmq-server, or set SNAPFLEET_TEST_AMQP_URL")
        self.home = Path(tempfile.mkdtemp(prefix="snapfleet-rabbitmq-"))
        self.port, self._api_port, self._epmd_port, self._dist_port = (free_port() for _ in range(4))
        self._node: subprocess.Popen[bytes] | None = None
        self._vhosts = itertools.count(1)
        (self.home / "plugins").write_text("[rabbitmq_management].\n")
        (self.home / "rabbit.conf").write_text(
            f"listeners.tcp.1 = 127.0.0.1:{self.port}\n"
            f"management.tcp.ip = 127.0.0.1\nmanagement.tcp.port = {self._api_port}\n"
            # 64 KiB instead of the kernel's default: 0.2 instead of 4 MB of broker memory for each idle connection
            "tcp_listen_options.sndbuf = 65536\ntcp_listen_options.recbuf = 65536\n"
            "log.console = false\nlog.file.level = warning\n"
        )
        self._epmd = subprocess.Popen(
            [*_DIES_WITH_US, "epmd", "-port", str(self._epmd_port), "-address", "127.0.0.1"], start_new_session=True
        )
        atexit.register(self.close)
        self.start()

    def url(self, vhost: str = "/") -> str:
        """The AMQP URL of a virtual host."""
        return f"amqp://guest:guest@127.0.0.1:{self.port}/{urllib.parse.quote(vhost, safe='')}"

    @property
    def pid(self) -> int:
        """The node's process."""
        return self._node.pid if self._node is not None else 0

    def start(self) -> None:
        """Start the node and return once it serves; a running node stays as it is."""
        if self._node is None or self._node.poll() is not None:
            with (self.home / "console").open("ab") as console:
                self._node = subprocess.Popen(
                    [*_DIES_WITH_US, _RABBITMQ_SERVER],
                    env=self._environment(),
                    stdin=subprocess.DEVNULL,
                    stdout=console,
                    stderr=console,
                    start_new_session=True,
                )
        wait_until(self._serves, _START_SECONDS, f"RabbitMQ start (see {self.home}/console)")

    def stop(self) -> None:
        """Shut the node down in good order."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End the node without warning."""
        self._end(signal.SIGKILL)

    def freeze(self) -> None:
        """Make the node silent without closing a connection, like a partition; `thaw` ends it."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let a frozen node go on."""
        self._signal(signal.SIGCONT)

    def new_vhost(self) -> str:
        """Create an empty virtual host; returns its name."""
        name = f"t{os.getpid()}-{next(self._vhosts)}"
        self.api("PUT", f"/vhosts/{name}")
        return name

    def delete_vhost(self, name: str) -> None:
        """Remove a virtual host with its queues and connections."""
        self.api("DELETE", f"/vhosts/{name}")

    def close_connections(self, vhost: str) -> None:
        """Close every connection of a virtual host from the broker's side."""
        self.ctl("close_all_connections", "--vhost", vhost, "closed by a test")

    def alarm(self, on: bool) -> None:
        """Raise or clear the memory alarm, in which the broker takes no messages."""
        self.ctl("set_vm_memory_high_watermark", "0.000001" if on else "0.6")

    def ctl(self, *arguments: str) -> str:
        """Run rabbitmqctl (takes one to two seconds); returns its output."""
        script = _RABBITMQ_SERVER.with_name("rabbitmqctl")
        done = subprocess.run(
            [script, "-q", *arguments], env=self._environment(), capture_output=True, text=True, timeout=60, check=False
        )
        if done.returncode:
            raise RuntimeError(f"rabbitmqctl {arguments[0]}: {done.stderr or done.stdout}")
        return done.stdout

    def api(self, method: str, path: str, body: Any = None) -> Any:
        """Call the management API; returns the decoded answer or None."""
        request = urllib.request.Request(f"http://127.0.0.1:{self._api_port}/api{path}", method=method)
        request.add_header("Authorization", "Basic " + base64.b64encode(b"guest:guest").decode())
        request.add_header("Content-Type", "application/json")
        data = json.dumps(body).encode() if body is not None else None
        with urllib.request.urlopen(request, data, timeout=10) as answer:
            text = answer.read()
        return json.loads(text) if text else None

    def close(self) -> None:
        """End everything that was started and remove the directory."""
        self.kill()
        self._epmd.kill()
        self._epmd.wait()
        shutil.rmtree(self.home, ignore_errors=True)

    def _serves(self) -> bool:
        if self._node is not None and self._node.poll() is not None:
            raise RuntimeError(f"RabbitMQ ended at start: {(self.home / 'console').read_text()[-500:]}")
        try:
            self.api("GET", "/overview")
        except OSError:  # urllib's errors are
            return False
        return True

    def _signal(self, number: signal.Signals) -> None:
        if self._node is not None and self._node.poll() is None:
            os.killpg(self._node.pid, number)

    def _end(self, number: signal.Signals) -> None:
        self._signal(signal.SIGCONT)
        self._signal(number)
        if self._node is not None:
            try:
                self._node.wait(30)
            except subprocess.TimeoutExpired:
                self._signal(signal.SIGKILL)
                self._node.wait()

    def _environment(self) -> dict[str, str]:
        home = str(self.home)
        return {
            "PATH": os.environ["PATH"],
            "HOME": home,  # where Erlang keeps its cookie
            "LANG": "C.UTF-8",
            "ERL_EPMD_PORT": str(self._epmd_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "NOTIFY_SOCKET": f"{home}/nobody",  # makes the start script become the node instead of its parent
            "RABBITMQ_NODENAME": f"snapfleet{self.port}@localhost",
            "RABBITMQ_DIST_PORT": str(self._dist_port),
            "RABBITMQ_MNESIA_BASE": f"{home}/mnesia",
            "RABBITMQ_LOG_BASE": f"{home}/log",
            "RABBITMQ_CONFIG_FILE": f"{home}/rabbit.conf",
            "RABBITMQ_CONF_ENV_FILE": f"{home}/none",
            "RABBITMQ_ENABLED_PLUGINS_FILE": f"{home}/plugins",
            # an idle node should not spin: the tests share its cores
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+S 2:2 +sbwt none",
        }


# What a test does not need and a measurement does: every commit on the disk, and a cache that holds the catalog, as the
# operator's guide asks for (0.9 GB with a million schedules; with 256 MB a wave took 6 % more, measured 2026-11-23).
_DURABLE = {"fsync": "on", "full_page_writes": "on", "synchronous_commit": "on", "shared_buffers": "2GB",
            "max_wal_size": "4GB"}  # fmt: skip


class PostgresServer:
    """One PostgreSQL cluster of our own, without fsync unless `durable`. `url(database)` is where it listens."""

    def __init__(self, *, durable: bool = False) -> None:
        self._durable = durable
        versions = sorted(_POSTGRES_ROOT.glob("*/bin/postgres"), key=lambda path: float(path.parts[-3]))
        if not versions:
            raise RuntimeError("PostgreSQL is missing: install postgresql, or set SNAPFLEET_TEST_POSTGRES_URL")
        self._bin = versions[-1].parent
        self.home = Path(tempfile.mkdtemp(prefix="snapfleet-postgres-"))
        self.port = free_port()
        self._databases = itertools.count(1)
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()
        if os.geteuid() == 0:  # PostgreSQL refuses to run as root
            shutil.chown(self.home, "postgres", "postgres")
        subprocess.run(
            [*self._user(), self._bin / "initdb", "-D", self.home / "data", "-U", "snapfleet", "-A", "trust",
             "--no-sync", "--encoding=UTF8", "--locale=C"],
            check=True, stdout=subprocess.DEVNULL, cwd="/",
        )  # fmt: skip
        atexit.register(self.close)
        self.start()

    def url(self, database: str = "postgres") -> str:
        """The URL of a database."""
        return f"postgresql://snapfleet@127.0.0.1:{self.port}/{database}"

    @property
    def pid(self) -> int:
        """The server's first process."""
        return self._process.pid if self._process is not None else 0

    def start(self) -> None:
        """Start the server and return once it serves."""
        options = {
            "listen_addresses": "127.0.0.1", "port": self.port, "unix_socket_directories": "", "fsync": "off",
            "full_page_writes": "off", "max_connections": 300, "shared_buffers": "32MB", "log_min_messages": "fatal",
        }  # fmt: skip
        options |= _DURABLE if self._durable else {}
        arguments = [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
        with (self.home / "console").open("ab") as console:
            self._process = subprocess.Popen(
                [*self._user(), self._bin / "postgres", "-D", self.home / "data", *arguments],
                stdin=subprocess.DEVNULL, stdout=console, stderr=console, cwd="/", start_new_session=True,
            )  # fmt: skip
        wait_until(self._serves, _START_SECONDS, f"PostgreSQL start (see {self.home}/console)")

    def stop(self) -> None:
        """Shut down at once: connections are cut, committed work stays."""
        self._end(signal.SIGINT)

    def kill(self) -> None:
        """End without warning; the next start recovers from the log."""
        self._end(signal.SIGQUIT)

    def new_database(self, template: str = "template1") -> str:
        """Create a database as a copy of `template` (tens of milliseconds); returns its name."""
        name = f"t{os.getpid()}_{next(self._databases)}"
        self.sql(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
        return name

    def drop_database(self, name: str) -> None:
        """Drop a database, cutting its connections."""
        self.sql(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')

    def terminate_connections(self, database: str) -> int:
        """Cut every connection to a database; returns how many."""
        return len(self.sql(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{database}'"))

    def sql(self, statement: str, database: str = "postgres") -> list[Any]:
        """Run one statement as the superuser, in autocommit; returns the rows, if any."""
        import psycopg

        with psycopg.connect(self.url(database), autocommit=True) as connection:
            cursor = connection.execute(statement)  # type: ignore[call-overload]
            return cursor.fetchall() if cursor.description else []

    def close(self) -> None:
        """End the server and remove its directory."""
        self._end(signal.SIGQUIT)
        shutil.rmtree(self.home, ignore_errors=True)

    def _serves(self) -> bool:
        import psycopg

        if self._process is not None and self._process.poll() is not None:
            raise RuntimeError(f"PostgreSQL ended at start: {(self.home / 'console').read_text()[-500:]}")
        try:
            self.sql("SELECT 1")
        except psycopg.OperationalError:
            return False
        return True

    def _end(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)
            try:
                self._process.wait(30)
            except subprocess.TimeoutExpired:
                os.killpg(self._process.pid, signal.SIGKILL)
                self._process.wait()

    def _user(self) -> list[str]:
        death = ["setpriv", "--pdeathsig", "QUIT", "--"]
        if os.geteuid() == 0:  # the second setpriv, since a change of user clears the first one's signal
            return ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups", "--", *death]
        return death


class ForeignRabbit:
    """A server that somebody else runs: our queues are deleted there before each test, and it has no controls."""

    def __init__(self, url: str) -> None:
        self._url = url

    def url(self, vhost: str = "/") -> str:
        """The given URL, whatever the virtual host."""
        return self._url

    def new_vhost(self) -> str:
        """Delete the lanes' queues and return the name of the only virtual host there is."""
        import pika

        from tasks.amqp import connection_parameters
        from tasks.lanes import Lane, dead_queue_name, queue_name

        with contextlib.closing(pika.BlockingConnection(connection_parameters(self._url, name="tests"))) as connection:
            channel = connection.channel()
            for lane in Lane:
                channel.queue_delete(queue_name(lane))
                channel.queue_delete(dead_queue_name(lane))
        return "/"

    def delete_vhost(self, name: str) -> None:
        """Nothing was created."""

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(f"`{name}` needs a server of our own; unset SNAPFLEET_TEST_AMQP_URL to run this test")


class ForeignPostgres(PostgresServer):
    """A server that somebody else runs: databases are created and dropped there, but it is not stopped or killed."""

    def __init__(self, url: str) -> None:
        self._base, _, _ = url.rpartition("/")
        self._databases = itertools.count(1)

    def url(self, database: str = "postgres") -> str:
        """The URL of a database on the given server."""
        return f"{self._base}/{database}"

    def start(self) -> None:
        """It runs."""

    def stop(self) -> None:
        """Raises RuntimeError: the server is not ours."""
        raise RuntimeError("stopping needs a server of our own; unset SNAPFLEET_TEST_POSTGRES_URL to run this test")

    kill = stop

    def close(self) -> None:
        """Nothing was started."""


@pytest.fixture(scope="session")
def rabbitmq() -> Iterator[Any]:
    """The RabbitMQ server of this session, with its controls."""
    url = os.environ.get("SNAPFLEET_TEST_AMQP_URL")
    server: Any = ForeignRabbit(url) if url else _started(RabbitServer)
    yield server
    if not url:
        server.close()


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """The PostgreSQL server of this session, with its controls."""
    url = os.environ.get("SNAPFLEET_TEST_POSTGRES_URL")
    server = ForeignPostgres(url) if url else _started(PostgresServer)
    yield server
    server.close()


def _started(server: type[Any]) -> Any:
    try:
        return server()
    except (RuntimeError, TimeoutError) as error:
        pytest.exit(str(error), returncode=2)


@pytest.fixture(scope="session")
def rabbitmq_url(rabbitmq: Any) -> str:
    """The URL of the session's broker, default virtual host."""
    return str(rabbitmq.url())


@pytest.fixture(scope="session")
def postgres_url(postgres: PostgresServer) -> str:
    """The URL of the session's maintenance database."""
    return postgres.url()


@pytest.fixture
def rabbitmq_vhost(rabbitmq: Any) -> Iterator[str]:
    """The URL of an empty virtual host of the test's own."""
    name = rabbitmq.new_vhost()
    yield rabbitmq.url(name)
    rabbitmq.start()
    rabbitmq.delete_vhost(name)


@pytest.fixture
def database_url(postgres: PostgresServer) -> Iterator[str]:
    """The URL of an empty database of the test's own."""
    name = postgres.new_database()
    yield postgres.url(name)
    postgres.drop_database(name)


def main() -> None:
    """Start both servers, print their URLs as environment variables, and end them on a signal."""
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    rabbit, postgres = RabbitServer(), PostgresServer()
    try:
        print(f"export SNAPFLEET_TEST_AMQP_URL={rabbit.url()}")
        print(f"export SNAPFLEET_TEST_POSTGRES_URL={postgres.url()}")
        print("Both servers run until this command is interrupted.", file=sys.stderr, flush=True)
        sys.stdout.flush()
        ended.wait()
    finally:
        rabbit.close()
        postgres.close()


if __name__ == "__main__":
    main()

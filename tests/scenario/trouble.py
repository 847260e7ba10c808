"""What goes wrong around a fleet beside the deaths of its processes: links, broker, database, cloud.

Processes reach both servers through proxies (tests.proxy.FaultProxy). One fault at a time, each ended before the next,
so that a story can be told afterwards; what is counted as a fault has really been done.
"""

import random
import time
import urllib.parse
from collections import Counter
from collections.abc import Callable
from urllib.parse import urlsplit, urlunsplit

from tasks.lanes import Lane, queue_name
from tests.fakes.cloud import FakeCloud
from tests.proxy import FaultProxy
from tests.services import PostgresServer, RabbitServer

EVERY = (0.5, 2.0)  # seconds between the end of one fault and the next
LASTS = (0.2, 3.0)  # seconds; half-open links last longer than a heartbeat's patience now and then
CLOUD_FAULTS = ("throttle", "lost-response", "lost-request", "error-state", "slow")


class Trouble:
    """Faults to come for one fleet; `step` is called often and starts or ends one when its time has come."""

    def __init__(
        self, postgres: PostgresServer, rabbit: RabbitServer, database: str, vhost: str, faults: int, seed: int
    ) -> None:
        self._postgres, self._rabbit, self._database, self._vhost = postgres, rabbit, database, vhost
        self._dice = random.Random(f"trouble {seed}")
        self._catalog, self._broker = FaultProxy(postgres.port), FaultProxy(rabbit.port)
        self.catalog_url = through(postgres.url(database), self._catalog.port)
        self.broker_url = through(rabbit.url(vhost), self._broker.port)
        self.cloud: FakeCloud | None = None  # set by whoever has one
        self.left = faults
        self.faults: Counter[str] = Counter()
        self._undo: Callable[[], None] | None = None
        self._next_at = time.monotonic() + 3.0
        self._kinds: list[tuple[str, int, Callable[[], Callable[[], None] | None]]] = [
            ("broker-link-half-open", 4, lambda: self._proxy(self._broker, "half_open")),
            ("broker-link-reset", 5, lambda: self._proxy(self._broker, "reset")),
            ("broker-link-refused", 3, lambda: self._proxy(self._broker, "refuse")),
            ("broker-link-slow", 2, lambda: self._slow(self._broker)),
            ("catalog-link-half-open", 3, lambda: self._proxy(self._catalog, "half_open")),
            ("catalog-link-reset", 5, lambda: self._proxy(self._catalog, "reset")),
            ("catalog-link-refused", 3, lambda: self._proxy(self._catalog, "refuse")),
            ("catalog-link-slow", 2, lambda: self._slow(self._catalog)),
            ("catalog-connections-terminated", 4, self._terminate),
            ("queues-purged", 4, self._purge),
            ("broker-connections-closed", 2, self._close_connections),
            ("broker-restarted", 1, self._restart_broker),
            ("catalog-restarted", 1, self._restart_catalog),
            ("cloud", 5, self._spoil_cloud),
        ]

    def step(self) -> None:
        """Begin or end a fault if it is time."""
        now = time.monotonic()
        if now < self._next_at:
            return
        if self._undo is not None:
            self._undo()
            self._undo, self._next_at = None, now + self._dice.uniform(*EVERY)
        elif self.left > 0:
            name, _, begin = self._dice.choices(self._kinds, [weight for _, weight, _ in self._kinds])[0]
            self._undo = begin()
            self.faults[name] += 1
            self.left -= 1
            self._next_at = time.monotonic() + self._dice.uniform(*(LASTS if self._undo else EVERY))

    def end(self) -> None:
        """Everything is as it should be again."""
        self.left = 0
        if self._undo is not None:
            self._undo()
        self._undo = None
        self._rabbit.start()
        self._postgres.start()

    def close(self) -> None:
        """Close the proxies."""
        self._catalog.close()
        self._broker.close()

    def _proxy(self, proxy: FaultProxy, how: str) -> Callable[[], None] | None:
        getattr(proxy, how)()
        return None if how == "reset" else proxy.heal

    def _slow(self, proxy: FaultProxy) -> Callable[[], None]:
        proxy.slow(0.05)
        return proxy.heal

    def _terminate(self) -> None:
        self._postgres.terminate_connections(self._database)

    def _purge(self) -> None:
        vhost = urllib.parse.quote(self._vhost, safe="")
        for lane in Lane:
            try:
                self._rabbit.api("DELETE", f"/queues/{vhost}/{queue_name(lane)}/contents")
            except OSError:  # a lane nobody has declared yet
                continue

    def _close_connections(self) -> None:
        self._rabbit.close_connections(self._vhost)

    def _restart_broker(self) -> None:
        self._dice.choice((self._rabbit.stop, self._rabbit.kill))()
        self._rabbit.start()

    def _restart_catalog(self) -> None:
        self._dice.choice((self._postgres.stop, self._postgres.kill))()
        self._postgres.start()

    def _spoil_cloud(self) -> None:
        if self.cloud is not None:
            method = self._dice.choice(("start_backup", "start_copy", "progress", "delete", "discover"))
            self.cloud.fault(method, self._dice.choice(CLOUD_FAULTS), self._dice.randint(1, 5))


def through(url: str, port: int) -> str:
    """The same URL by way of a proxy's port."""
    parts = urlsplit(url)
    user, _, _ = parts.netloc.rpartition("@")
    return urlunsplit(parts._replace(netloc=f"{user}@127.0.0.1:{port}"))

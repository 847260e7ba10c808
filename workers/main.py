"""Starting a worker: as its own process (`snapfleet worker`), inside `snapfleet up`, or under dramatiq's command line.

`snapfleet worker` is one process with dramatiq's worker in it, and no master above: a master that is killed leaves
its child running, and one child that dies drains all its siblings (dramatiq 2.2). Whoever wants more processes starts
more of them; `dramatiq workers.main:setup` works as well.
"""

import logging
import os
import signal
import socket
import threading
from collections.abc import Callable, Collection
from dataclasses import dataclass

import dramatiq

from tasks.amqp import sentence
from tasks.broker import FleetBroker, build_broker, register_actors
from tasks.catalog import Meta, after_fork, close_catalog, database, open_catalog, transaction
from tasks.catalog.migrate import require_current
from tasks.catalog.transitions import disown
from tasks.errors import Invalid, Unavailable
from tasks.lanes import Lane, lane_of
from tasks.localbroker import LocalBroker
from tasks.logs import setup_logging
from tasks.settings import Settings, load_settings
from tasks.telemetry import Counters
from workers.app import runner
from workers.context import Context
from workers.drain import GiveBack
from workers.heartbeat import Heartbeat
from workers.held import Held
from workers.middleware import Beats, Claim, Connections, Figures, LogFields
from workers.settings import load_drivers

log = logging.getLogger("snapfleet.worker")

# How long running handlers may go on after SIGTERM. They start work and return within seconds, so what is left by
# then hangs; Kubernetes kills after 30 s by default. Its lease runs out and another worker goes on.
DRAIN_SECONDS = 25
PAUSE_FIRST, PAUSE_MOST = 0.5, 10.0  # seconds between two tries to reach the catalog or the broker at the start
# To the catalog, beside those of the heartbeat, tests or pages in the same process. Threads hold one for milliseconds
# and write together, so that 32 of them wait for none; PostgreSQL takes 100 in all unless told otherwise.
_CONNECTIONS, _SPARE_CONNECTIONS = 16, 8


@dataclass
class Running:
    """A worker at work in this process."""

    worker: dramatiq.Worker

    def stop(self) -> bool:
        """Drain: give messages back, let what runs come to its end, report as gone. Returns within seconds; False when
        a handler hangs: its thread goes on, and still uses its connection."""
        self.worker.stop(timeout=DRAIN_SECONDS * 1000)
        return not any(thread.is_alive() for thread in self.worker.workers)


def start_embedded(settings: Settings, broker: FleetBroker | LocalBroker) -> Running:
    """Start the threads of a worker for the broker's lanes in this process; the catalog is open already.

    Raises Invalid when drivers cannot be loaded or the installation has no id, Unavailable without a catalog.
    """
    held, counters = Held(), _counters(broker)
    lanes = [lane for name in sorted(broker.get_declared_queues()) if (lane := lane_of(name))]
    _equip(broker, _context(settings, counters, broker.draining), held, lanes, settings.threads)
    worker = dramatiq.Worker(broker, worker_threads=settings.threads)
    worker.start()
    return Running(worker)


def run(settings: Settings, lanes: Collection[Lane] = tuple(Lane), *, stop: threading.Event | None = None) -> None:
    """Work on these lanes until SIGTERM or SIGINT (or `stop`), then drain. A second signal ends the process at once.

    Waits for a catalog and a broker that are away. Raises Invalid for settings that cannot work.
    """
    if settings.embedded:
        raise Invalid("A worker of its own needs a broker.", advice="Set SNAPFLEET_BROKER_URL, or run `snapfleet up`.")
    setup_logging()
    lanes = [Lane(lane) for lane in lanes]
    stop = stop or _stop_on_signals()
    open_catalog(settings.catalog, max_connections=_connections(settings.threads))
    broker = _broker(settings, lanes)
    if _await(stop, "catalog", require_current) and _await(stop, "broker", lambda: contact(broker, lanes)):
        running = start_embedded(settings, broker)
        log.info("working on %s with %d threads", ", ".join(sorted(lanes)), settings.threads)
        stop.wait()
        if running.stop():
            close_catalog()  # never under a thread that works: closing its connection can crash the process


def setup() -> None:
    """Make the broker for one process of dramatiq's own command line: `dramatiq workers.main:setup -p 1 -t THREADS`.

    Its settings come from the environment; it serves every lane unless `-Q` names queues.
    """
    settings = load_settings()
    setup_logging()
    if database.obj is not None:
        after_fork()
    open_catalog(settings.catalog, max_connections=_connections(settings.threads))
    broker = _broker(settings, tuple(Lane))
    _await(threading.Event(), "catalog", require_current)
    _equip(broker, _context(settings, _counters(broker), broker.draining), Held(), tuple(Lane), settings.threads)
    dramatiq.set_broker(broker)


def _broker(settings: Settings, lanes: Collection[Lane]) -> FleetBroker | LocalBroker:
    try:
        return build_broker(settings.broker_url, settings.message_keys(), queues=lanes, pool=settings.pool)
    except ValueError as error:
        raise Invalid(f"This worker cannot take the queues of its settings: {error}.") from None


def _connections(threads: int) -> int:
    return min(threads, _CONNECTIONS) + _SPARE_CONNECTIONS


def _context(settings: Settings, counters: Counters, draining: threading.Event) -> Context:
    clock, owner = settings.clock(), f"{socket.gethostname()}:{os.getpid()}:worker"
    with transaction():
        disown(owner)
        row = Meta.get_or_none(Meta.key == "installation")
    if row is None:
        raise Invalid("This installation has no id yet.", advice="Run `snapfleet init` first.")
    return Context(
        settings=settings,
        clock=clock,
        drivers=load_drivers(settings, counters, clock),
        keys=settings.master_key(),
        installation=row.value,
        counters=counters,
        owner=owner,
        draining=draining,
    )


def _equip(
    broker: FleetBroker | LocalBroker, context: Context, held: Held, lanes: Collection[Lane], threads: int
) -> None:
    """The broker's middleware, in their order, and one actor for each lane."""
    give_back = GiveBack()
    for middleware in (
        Beats(Heartbeat(context, held, lanes, threads, broker.draining, give_back)),
        give_back,
        Connections(),
        Claim(context, held),
        LogFields(held),
        Figures(context, held),
    ):
        broker.add_middleware(middleware)
    register_actors(broker, runner(context, held))


def _counters(broker: FleetBroker | LocalBroker) -> Counters:
    """Counters that also count what the broker observes."""
    counters = Counters()

    def observe(event: str, lane: Lane, reason: str) -> None:
        labels = {"lane": lane, "reason": reason} if event == "refused" else {"lane": lane}
        counters.add(f"snapfleet_messages_{event}_total", **labels)

    broker.observe = observe
    return counters


def _stop_on_signals() -> threading.Event:
    stop = threading.Event()

    def ask(number: int, _frame: object) -> None:
        if stop.is_set():
            os._exit(128 + number)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, ask)
    return stop


def contact(broker: FleetBroker | LocalBroker, lanes: Collection[Lane]) -> None:
    """Raises Unavailable when the broker cannot be reached."""
    if isinstance(broker, FleetBroker):
        try:
            broker.connect(next(iter(lanes))).close()
        except Exception as error:  # noqa: BLE001 - pika raises its own family, socket and TLS errors
            raise Unavailable(sentence(error)) from None


def _await(stop: threading.Event, what: str, reach: Callable[[], None]) -> bool:
    """Try until it is there (True) or the process should stop (False). Says once that it waits, and once that it is
    there again. Raises what waiting does not cure."""
    pause = PAUSE_FIRST
    while not stop.is_set():
        try:
            reach()
        except Unavailable as error:
            if pause == PAUSE_FIRST:
                log.warning("waiting for the %s: %s", what, error.text)
            stop.wait(pause)
            pause = min(PAUSE_MOST, pause * 2)
            continue
        if pause > PAUSE_FIRST:
            log.info("the %s is there", what)
        return True
    return False

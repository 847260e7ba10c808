"""`snapfleet up`, `coordinator`, `worker`, `web`: starting processes.

What they are is found through the entry-point group `snapfleet.roles`, because admin imports neither the workers nor
the coordinator's loop. `up` composes all of them in one process, on SQLite and a broker in memory.
"""

import fcntl
import importlib
import logging
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

import click

from admin.cli.command import command, group
from admin.cli.context import Context
from admin.cli.fleet import worker_drain, worker_list, worker_undrain
from tasks.broker import build_broker
from tasks.catalog import close_catalog
from tasks.errors import Invalid, Refused
from tasks.lanes import Lane
from tasks.localbroker import LocalBroker, LocalPublisher
from tasks.logs import setup_logging
from tasks.settings import Settings

log = logging.getLogger("snapfleet.up")
_GROUP = "snapfleet.roles"


def role(name: str) -> Any:
    """The function that runs a role of the fleet. Raises Invalid when it is not installed."""
    return _entry(name).load()


def part(name: str, function: str) -> Any:
    """Another function beside a role's own, by which it is started inside a process."""
    return getattr(importlib.import_module(_entry(name).module), function)


def _entry(name: str) -> EntryPoint:
    found = list(entry_points(group=_GROUP, name=name))
    if not found:
        raise Invalid(f"The role {name} is not installed.", advice="Install the whole package again.")
    return found[0]


@command(example="snapfleet up")
@click.option("--threads", type=click.IntRange(1, 256), help="Threads of the workers; default from the settings.")
@click.option("--no-web", is_flag=True, help="Without the admin page.")
def up(at: Context, threads: int | None, no_web: bool) -> None:
    """Run everything in one process.

    Coordinator, workers and the admin page, on SQLite and a broker in memory. Stop it and start it again: what was
    unfinished goes on.
    """
    settings = at.settings
    if not settings.embedded:
        advice = "Run `snapfleet coordinator`, `snapfleet worker` and `snapfleet web` instead."
        raise Invalid("`snapfleet up` needs no broker, and SNAPFLEET_BROKER_URL is set.", advice=advice)
    settings = replace(settings, threads=threads) if threads else settings
    at.open()
    with _only_one(settings.home / "up.lock", settings.home), _until_signalled() as stop:
        setup_logging()
        _compose(settings, stop, with_web=not no_web)


def _compose(settings: Settings, stop: threading.Event, *, with_web: bool) -> None:
    """Start what serves first and what decides last; stop in the opposite order."""
    with ExitStack() as running:
        broker = build_broker("", settings.message_keys())
        if not isinstance(broker, LocalBroker):
            raise Invalid("The broker of `snapfleet up` is in memory.")
        decide, work = role("coordinator"), part("worker", "start_embedded")  # all found before anything starts
        workers = work(settings, broker)
        running.callback(end_workers, workers)
        if with_web:
            page = part("web", "start")(settings)
            running.callback(page.stop)
        if with_web and sys.stderr.isatty():
            sys.stderr.write(f"The page is at https://{settings.listen}:{settings.port}/ (Ctrl-C stops everything).\n")
        decide(settings, stop=stop, publisher=LocalPublisher(broker))


def end_workers(workers: Any) -> None:
    """Drain, then close the catalog: never under a thread that still works, because SQLite can crash then."""
    if workers.stop():
        close_catalog()


@contextmanager
def _only_one(file: Path, home: Path) -> Iterator[None]:
    """Hold the home's lock. Raises Refused when another process has it; a dead one's lock is gone with it."""
    with file.open("a") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            advice = "Stop that one first, or use another SNAPFLEET_HOME."
            raise Refused(f"Another `snapfleet up` runs on {home}.", advice=advice) from None
        yield


@contextmanager
def _until_signalled() -> Iterator[threading.Event]:
    """An event that SIGTERM and SIGINT set; the handlers before are put back."""
    stop = threading.Event()
    before = {number: signal.signal(number, lambda *_: stop.set()) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@command(example="snapfleet coordinator")
def coordinator(at: Context) -> None:
    """Run a coordinator.

    Several may run side by side. It needs a broker; without one use `snapfleet up`.
    """
    settings = at.settings
    if settings.embedded:
        raise Invalid(
            "A coordinator of its own needs a broker.", advice="Set SNAPFLEET_BROKER_URL, or run `snapfleet up`."
        )
    setup_logging()
    role("coordinator")(settings)


@group(example="snapfleet worker --lanes snapshot,poll --threads 16")
@click.option("--lanes", default="", help="Which kinds of work, with commas between; without it, all.")
@click.option("--threads", type=click.IntRange(1, 256), help="Threads of this process; default from the settings.")
@click.option("--pool", help="Work only for accounts and regions of this worker pool; default from the settings.")
def worker(at: Context, lanes: str, threads: int | None, pool: str | None) -> None:
    """Run a worker.

    Run as many as the work needs, on any number of hosts. It needs a broker; without one use `snapfleet up`.
    """
    chosen = _lanes(lanes)
    settings = replace(at.settings, threads=threads) if threads else at.settings
    settings = settings if pool is None else replace(settings, pool=pool)
    role("worker")(settings, chosen)


for _verb in (worker_list, worker_drain, worker_undrain):
    worker.add_command(_verb)


def _lanes(text: str) -> tuple[Lane, ...]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    known = {str(lane): lane for lane in Lane}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise Invalid(f"There is no lane {unknown[0]!r}.", advice=f"Lanes are {', '.join(known)}.")
    return tuple(known[name] for name in dict.fromkeys(names)) or tuple(Lane)


@command(example="snapfleet web")
def web(at: Context) -> None:
    """Run the admin page.

    It also serves /metrics and /api/v1. `snapfleet up` includes it.
    """
    at.open()
    setup_logging()
    role("web")(at.settings)

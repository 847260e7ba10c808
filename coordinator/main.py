"""The coordinator's loop: tick, take up wishes, plan, settle, ask, publish; and, under a lease, sweep.

Any number of coordinators may run side by side: everything outside the sweeps is safe together. A catalog or broker
that is away stops nothing for good: the loop says so once, waits with growing pauses and goes on.
"""

import gc
import logging
import os
import signal
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from importlib.metadata import version

from peewee import InterfaceError, OperationalError, fn

from coordinator import alerts
from coordinator.admission import USUAL, Admission
from coordinator.advance import ask_about_operations, close_runs
from coordinator.ahead import mend_times, set_schedules_back
from coordinator.archive_parts import look_after_parts
from coordinator.lease import Held, give_back, take
from coordinator.letters import drain
from coordinator.pool_queues import PoolQueues
from coordinator.publish import BATCH as PUBLISHED
from coordinator.publish import Memory, publish
from coordinator.quiet import QUIET_EVERY, wake_quiet_places
from coordinator.reconcile import mend_outbox, reconcile, release_removed_accounts
from coordinator.repositories import look_after_repositories
from coordinator.requests import RETENTION_NOW, handle_requests
from coordinator.resolve import resolve_runs
from coordinator.settle import settle_jobs
from coordinator.sharing import ALONE, Share, read_share
from coordinator.silence import Attention
from coordinator.stage import Stage
from coordinator.sweep import plan_cleanups, retention_pass
from coordinator.sync_parts import look_after_syncs
from coordinator.tick import BATCH as TICKED
from coordinator.tick import due_in, tick
from coordinator.watch import watch_additions
from coordinator.webhook import Notifier
from tasks.broker import Publisher
from tasks.catalog import Meta, Process, Restore, close_catalog, meta, open_catalog, rows, session, transaction
from tasks.catalog.audit import Anchor, audit_head
from tasks.catalog.fleet import BEAT
from tasks.catalog.migrate import require_current
from tasks.clock import Clock
from tasks.errors import SnapfleetError, Unavailable
from tasks.lanes import Lane
from tasks.settings import Settings
from tasks.telemetry import Counters

log = logging.getLogger("snapfleet.coordinator")

SWEEP_EVERY = timedelta(seconds=5)  # reconcile, cleanup jobs, alerts: cheap, and a lost message waits for it
MEND_EVERY = timedelta(minutes=1)
LETTERS_EVERY = timedelta(seconds=30)  # a connection to the broker, which waits for seconds while it is away
REPOSITORIES_EVERY = timedelta(minutes=5)  # what is due once a day there
# A look at every schedule's row and more, for what a wrong clock left in the future; at once when a clock jumps back.
AHEAD_EVERY = timedelta(minutes=5)
CLOSE_EVERY = timedelta(seconds=30)  # a look at all open runs
PAUSE_MOST = 10.0  # seconds between two tries while the catalog is away
# Seconds between two rounds while there is work: a round deals with hundreds of jobs, and what a night trickles in is
# dealt with ten times a second instead of as often as a core allows.
PAUSE_BUSY = 0.1


@dataclass
class Coordinator:
    """One coordinator: what it works with, and when it last did what."""

    settings: Settings
    clock: Clock
    publisher: Publisher
    counters: Counters
    admission: Admission = USUAL
    attention: Attention = field(default_factory=Attention)
    name: str = field(default_factory=lambda: f"{socket.gethostname()}:{os.getpid()}:coordinator")
    _done_at: dict[str, datetime] = field(default_factory=dict)
    _held: Held | None = None
    _share: Share = ALONE
    _memory: Memory = field(default_factory=Memory)
    _pool_queues: PoolQueues = field(default_factory=PoolQueues)
    _touched: set[int] = field(default_factory=set)  # runs that may have come to their end
    _ended: deque[int] = field(default_factory=deque)  # the same, by the threads that plan
    _stages: dict[str, Stage] = field(default_factory=dict)
    _audited: Anchor = Anchor(0, "")

    def step(self) -> bool:
        """One round; whether there was work, so that the next round should follow at once.

        A part of it that fails on a defect is given up for this round, and the others go on: what cannot be planned
        must not keep what is planned from being published. Raises Unavailable when the catalog is away.
        """
        began = time.monotonic()
        with session():
            now, at = self.clock.now(), self.clock.timer()
            self._part("beat", lambda: self._beat(at))
            busy = self._or_wake("tick", lambda: self._tick(now, at))
            busy += self._part("requests", lambda: handle_requests(now, at))
            busy += self._or_wake("plan", lambda: self._plan(at))
            busy += self._part("settle", lambda: settle_jobs(at, self._touched))
            busy += self._part("parts", lambda: look_after_parts(at))
            busy += self._part("syncs", lambda: look_after_syncs(at))
            busy += self._part("close", lambda: self._close(at))
            self._part("ask", lambda: ask_about_operations(at))
            busy += self._or_wake("publish", lambda: self._publish(at))
            self._part("count", lambda: self._count_restores(at))
            if self._is_due("sweep", SWEEP_EVERY, at):
                self._sweep(now, at)
        self.counters.observe("snapfleet_tick_duration_seconds", time.monotonic() - began)
        return bool(busy)

    def _close(self, at: datetime) -> int:
        """Close the runs that this coordinator's work may have ended; now and then look at all of them, for what
        another one left when it ended."""
        while self._ended:
            self._touched.add(self._ended.popleft())
        among = None if self._is_due("close", CLOSE_EVERY, at) else self._touched
        closed = close_runs(at, self.counters, among)
        if among is not None:
            self._touched.clear()
        return closed

    def _tick(self, now: datetime, at: datetime) -> int:
        fresh = timedelta(seconds=self.settings.discover_seconds)
        begun, planned = tick(now, at, self.counters, fresh, self._ended, self._share)
        if planned < begun and "plan" in self._stages:
            self._stages["plan"].wake()
        return begun

    def _plan(self, at: datetime) -> int:
        touched: set[int] = set()
        planned = resolve_runs(at, timedelta(seconds=self.settings.discover_seconds), touched)
        self._ended.extend(touched)
        return planned

    def _publish(self, at: datetime) -> int:
        return publish(self.publisher, self.counters, at, self.admission, self._memory, self._share)

    @contextmanager
    def pipelined(self) -> Iterator[None]:
        """While this block lasts, slots are decided, planned and published in threads that rounds only wake."""
        now, at = self.clock.now, self.clock.timer
        publishing = Stage("publish", lambda: self._part("publish", lambda: self._publish(at())), PUBLISHED)
        planning = Stage("plan", lambda: self._part("plan", lambda: self._plan(at())), 1, publishing)
        deciding = partial(self._part, "tick", lambda: self._tick(now(), at()))
        ticking = Stage("tick", deciding, TICKED, publishing, due_in=lambda: due_in(now()))
        self._stages = {"tick": ticking, "plan": planning, "publish": publishing}
        for stage in self._stages.values():
            stage.start()
        try:
            yield
        finally:
            for stage in self._stages.values():
                stage.stop()
            self._stages = {}

    def _or_wake(self, name: str, work: Callable[[], int]) -> int:
        """Do a part, or wake the thread that does it."""
        if name not in self._stages:
            return self._part(name, work)
        self._stages[name].wake()
        return 0

    def _count_restores(self, at: datetime) -> None:
        """Restores end where their last step is settled, at this round's time."""
        ended = Restore.select(Restore.state, fn.COUNT(Restore.id)).where(Restore.finished_at == at)
        for state, count in rows(ended.group_by(Restore.state)):
            self.counters.add("snapfleet_restores_finished_total", count, state=state)

    def _part(self, name: str, work: Callable[[], int | None]) -> int:
        try:
            return work() or 0
        except (Unavailable, OperationalError, InterfaceError):
            raise  # the session turns it into Unavailable, and the loop waits for the catalog
        except Exception:  # the loop is what everything waits for: a defect in one part must not end it
            log.exception("The part %r of a round was given up on a defect.", name)
            self.counters.add("snapfleet_tick_errors_total")
            return 0

    def _is_due(self, what: str, every: timedelta, at: datetime) -> bool:
        last = self._done_at.get(what)
        if last is not None and last <= at < last + every:
            return False
        self._done_at[what] = at
        return True

    def _beat(self, at: datetime) -> None:
        if self._is_due("beat", BEAT, at):
            row = {"role": "coordinator", "version": version("snapfleet"), "seen_at": at}
            with transaction():
                Process.insert(name=self.name, started_at=at, **row).on_conflict(
                    conflict_target=[Process.name], update={Process.seen_at: at}
                ).execute()
            self._share = read_share(self.name, at)
            self.counters.flush()

    def _sweep(self, now: datetime, at: datetime) -> None:
        held = self._held = take("sweep", self.name, at)
        attentive = self.attention.look(at)
        if held is None:
            return
        lost_after = timedelta(seconds=self.settings.lost_seconds)
        leases = [self.settings.lease(lane) for lane in Lane]
        lease = min(leases)
        if self._is_due("ahead", AHEAD_EVERY, at):
            self._mend(held, now, at, max(leases))
        self._part(
            "reconcile", lambda: reconcile(held, at, lost_after, self.counters, lease=lease, attentive=attentive)
        )
        self._part("accounts", lambda: release_removed_accounts(held, at))
        if self._is_due("mend", MEND_EVERY, at):
            self._part("mend", lambda: mend_outbox(held, at))
        if self._is_due("quiet", QUIET_EVERY, at):
            self._part("quiet", lambda: wake_quiet_places(at))
        self._part("watch", lambda: watch_additions(held, now, at))
        self._part("retention", lambda: self._retention(held, at))
        quarantine = timedelta(seconds=self.settings.quarantine_seconds)
        self._part("cleanups", lambda: plan_cleanups(held, at, quarantine))
        if self._is_due("repositories", REPOSITORIES_EVERY, at):
            self._part("repositories", lambda: look_after_repositories(now, at))
        self._part("audit", self._note_audit)
        self._part("alerts", lambda: len(alerts.evaluate(self.clock)))
        if not self.settings.embedded and self._is_due("letters", LETTERS_EVERY, at):
            self._part("letters", lambda: drain(self.settings, at))
            self._part("pools", lambda: self._pool_queues.look_after(self.settings.broker_url, at))

    def _note_audit(self) -> None:
        """Tell the log how the audit ends whenever it has grown: the log is kept elsewhere, and whoever cuts the
        audit's tail off does not reach it there."""
        end = audit_head()
        if end.rows < self._audited.rows:
            log.error("The audit ended at %s, and ends at %s now: rows were cut off.", self._audited, end)
        elif end != self._audited:
            log.info("The audit ends at %s.", end)
        self._audited = end

    def _mend(self, held: Held, now: datetime, at: datetime, longest: timedelta) -> None:
        """What a wrong clock has left in the future; as long as something is found there may be more."""
        times = self._part("times", lambda: mend_times(held, at, longest))
        if self._part("ahead", lambda: set_schedules_back(held, now)) or times:
            del self._done_at["ahead"]

    def _retention(self, held: Held, at: datetime) -> None:
        """A pass when it is time or somebody asked; the wish is taken down after the pass, so that a crash between
        the two only makes another pass."""
        wanted = meta(RETENTION_NOW)
        if self._is_due("retention", timedelta(seconds=self.settings.retention_seconds), at) or wanted:
            retention_pass(held, self.clock)
            if wanted:
                with transaction():
                    Meta.delete().where(Meta.key == RETENTION_NOW, Meta.value == wanted).execute()

    def stop(self) -> None:
        """Give the lease back and report as gone; whatever is unfinished goes on elsewhere."""
        with session():
            if self._held is not None:
                give_back(self._held, self.clock.timer())
            with transaction():
                Process.delete().where(Process.name == self.name).execute()
            self.counters.flush()


def run(
    settings: Settings,
    *,
    stop: threading.Event | None = None,
    publisher: Publisher | None = None,
    ready: Callable[[], None] | None = None,
) -> None:
    """Run until `stop` is set (or SIGTERM, SIGINT when there is no `stop`). The embedded size passes its publisher.

    Raises Invalid when the catalog does not have this version's schema; waits for a catalog that is away.
    """
    own_process = stop is None
    stop = stop or threading.Event()
    if own_process:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.set())
    open_catalog(settings.catalog) if own_process else None
    _await_catalog(stop)
    if own_process:
        _spare_the_collector()
    publisher = publisher or _fleet_publisher(settings)
    coordinator = Coordinator(settings, settings.clock(), publisher, Counters())
    notifier = Notifier(settings, coordinator.clock)
    notifier.start()
    if ready is not None:
        ready()
    try:
        _loop(coordinator, stop)
    finally:
        notifier.stop()
        publisher.close()
        if own_process:
            close_catalog()


def _await_catalog(stop: threading.Event) -> None:
    pause = 0.5
    while not stop.is_set():
        try:
            require_current()
            return
        except Unavailable as error:
            log.warning("%s Trying again in %.1f s.", error.text, pause)
            stop.wait(pause)
            pause = min(PAUSE_MOST, pause * 2)


def _spare_the_collector() -> None:
    """What was imported stays; and rows that come by the thousand hold no cycles. To look through all of it every few
    batches took a quarter of their time (measured 2026-11-22)."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


def _fleet_publisher(settings: Settings) -> Publisher:
    from coordinator.rabbitmq import ConfirmingPublisher
    from tasks.messages import SignedEncoder

    return ConfirmingPublisher(settings.broker_url, SignedEncoder(settings.message_keys()))


def _loop(coordinator: Coordinator, stop: threading.Event) -> None:
    """Rounds until `stop`, as a pipeline; not in the embedded size, where SQLite has one writer."""
    with nullcontext() if coordinator.settings.embedded else coordinator.pipelined():
        _rounds(coordinator, stop)
    try:
        coordinator.stop()
    except Unavailable as error:
        log.warning("Stopped without a farewell: %s", error.text)


def _rounds(coordinator: Coordinator, stop: threading.Event) -> None:
    pause, away = 0.5, False
    while not stop.is_set():
        try:
            busy = coordinator.step()
            if away:
                log.warning("The catalog is back.")
            pause, away = 0.5, False
            stop.wait(min(coordinator.settings.tick_seconds, PAUSE_BUSY if busy else 1.0))
        except Unavailable as error:
            if not away:
                log.warning("%s Going on as soon as it is back.", error.text)
            away = True
            stop.wait(pause)
            pause = min(PAUSE_MOST, pause * 2)
        except SnapfleetError as error:
            log.error("A round was given up: %s", error)
            stop.wait(coordinator.settings.tick_seconds)
        except Exception:  # the loop is what everything waits for: a defect in one round must not end it
            log.exception("A round was given up on a defect.")
            stop.wait(coordinator.settings.tick_seconds)

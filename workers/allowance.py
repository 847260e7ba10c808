"""How many calls this process may still send: a few at a time from the fleet's paces, counted in memory.

A place (account, region, family of calls) has one pace in the catalog for the whole fleet. A worker takes a sixth of
its burst at once, so that one call in some ten asks the catalog; what is not used within the time in which the pace
brings it back is dropped, and so is what a process that died had taken. A call for which nothing is left is not sent
and not waited for: the job is put off, as if the cloud had throttled it. Restores and polls go ahead and leave the
debt to the others, because a person waits, or late answers delay everything that follows. A look at the estate is the
one that waits, for moments: it is hundreds of calls where a service tells tags one by one, and put off in the middle it
would begin anew and never come to its end.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime, timedelta

from tasks.catalog import Account, Job, session, transaction
from tasks.catalog.budgets import calls_of, lower, take_calls
from tasks.clock import Clock
from tasks.errors import SnapfleetError, Throttled
from tasks.lanes import Lane
from tasks.limits import METERED, ONE_EVENT, Limits, Pace, family_of, family_of_start

log = logging.getLogger("snapfleet.worker")

PORTION = 6  # parts of a burst
ACCOUNTS_FOR = 60.0  # seconds for which the accounts' limits are remembered
LEAST_WAIT = timedelta(seconds=5)
SPENT = "budget-spent"
_URGENT = frozenset({Lane.RESTORE, Lane.POLL})
# How often, and how long at most, a look waits for one call: a portion comes back within a second or two.
TRIES, MOMENT = 4, timedelta(seconds=2)


@dataclass(frozen=True)
class _Work:
    """For what this thread calls: whether it goes ahead of others, and which family its start was dealt from."""

    urgent: bool = True
    dealt: str = ""
    patient: bool = False


_NOBODYS = _Work()
_WORK: ContextVar[_Work] = ContextVar("snapfleet_work", default=_NOBODYS)


@contextmanager
def serving(job: Job) -> Iterator[None]:
    """Calls inside are this job's: paid by its lane's rules."""
    lane = Lane(job.lane)
    dealt = family_of_start(job.service, lane) if lane in METERED else ""
    token = _WORK.set(_Work(lane in _URGENT, dealt, lane is Lane.DISCOVER))
    try:
        yield
    finally:
        _WORK.reset(token)


def patient() -> bool:
    """Whether this thread's calls may be slowed down rather than given up."""
    return _WORK.get().patient


@dataclass
class _Portion:
    """Calls taken and not sent yet, good until `until` (monotonic seconds)."""

    left: int = 0
    until: float = 0.0


def _moment(span: timedelta) -> None:
    threading.Event().wait(span.total_seconds())


class Allowance:
    """Shared by the threads of a process; called by drivers' SDKs right before and after each call."""

    def __init__(self, clock: Clock, wait: Callable[[timedelta], None] | None = None) -> None:
        self._clock, self._wait = clock, wait or _moment
        self._lock = threading.Lock()
        self._portions: dict[str, _Portion] = {}
        self._lowered: dict[str, datetime] = {}
        self._accounts: dict[str, tuple[int, Limits]] = {}
        self._read_at = -ACCOUNTS_FOR

    def take(self, service: str, operation: str, account: str, region: str) -> None:
        """Count one call that is about to be sent. Raises Throttled when it should not be: nothing was sent."""
        family, work = family_of(service, operation), _WORK.get()
        if not family or family == work.dealt:
            return
        try:
            left = self._take(family, account, region, anyway=work.urgent)
            tries = TRIES if work.patient else 0
            while left is not None and tries:
                self._wait(min(left, MOMENT) / 2)
                left, tries = self._take(family, account, region, anyway=False), tries - 1
        except SnapfleetError as error:
            log.warning("a call is not counted: %s", error.text)
            return
        if left is not None:
            text = f"The fleet's share of {family} in {region} is used up for now: others go first."
            raise Throttled(text, code=SPENT, wait=left)

    def throttled(self, service: str, operation: str, account: str, region: str) -> None:
        """The cloud refused a call because there were too many: the whole fleet sends fewer from now on."""
        family, at = family_of(service, operation), self._clock.timer()
        known = self._account(account) if family else None
        if known is None:
            return
        name = calls_of(known[0], region, family)
        with self._lock:
            self._portions.pop(name, None)
            if at - self._lowered.get(name, at - ONE_EVENT) < ONE_EVENT:
                return
            self._lowered[name] = at
        try:
            with transaction():
                share = lower(name, known[1].pace(family), at)
        except SnapfleetError as error:
            log.warning("a throttle is not noted: %s", error.text)
            return
        log.info("%s in %s is throttled: the fleet's share of it is %.0f %% now", family, region, 100 * share)

    def _take(self, family: str, account: str, region: str, *, anyway: bool) -> timedelta | None:
        """None when the call may go, else how long to wait. Raises Unavailable."""
        known = self._account(account)
        if known is None:
            return None
        name, pace = calls_of(known[0], region, family), known[1].pace(family)
        if self._have(name):
            return None
        portion = max(1, pace.burst // PORTION)
        with transaction():
            taken = take_calls(name, pace, portion, self._clock.timer(), anyway=anyway)
        if not taken:
            return max(LEAST_WAIT, pace.worth(pace.burst) / 2)
        self._keep(name, taken - 1, pace)
        return None

    def _have(self, name: str) -> bool:
        with self._lock:
            mine = self._portions.get(name)
            if mine is None or mine.left <= 0 or mine.until < time.monotonic():
                return False
            mine.left -= 1
            return True

    def _keep(self, name: str, left: int, pace: Pace) -> None:
        good_for = max(1.0, (left + 1) / pace.per_second)
        with self._lock:
            mine = self._portions.setdefault(name, _Portion())
            fresh = mine.until >= time.monotonic()
            mine.left = left + (mine.left if fresh else 0)
            mine.until = time.monotonic() + good_for

    def _account(self, name: str) -> tuple[int, Limits] | None:
        """An account's id and limits; None for one that the catalog does not have (a probe, a test)."""
        if time.monotonic() - self._read_at >= ACCOUNTS_FOR:
            with session():
                rows = list(Account.select(Account.id, Account.name, Account.settings))
            self._accounts = {row.name: (row.id, Limits.of(row.settings)) for row in rows}
            self._read_at = time.monotonic()
        return self._accounts.get(name)

"""Threads of one worker that take or end jobs at the same time do it in one statement and one commit.

Whoever comes first writes for all that have come meanwhile; nobody waits for company that may not come, so that a lone
job is as quick as before. What a call returns, or raises, is committed, or was not written at all: a message is
acknowledged after that and never before.
"""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Any, Generic, TypeVar

from tasks.catalog import Job, database, session, transaction
from tasks.catalog.claims import Ended, Wanted, take_and_end
from tasks.catalog.fields import is_postgres
from tasks.errors import FenceLost, Unavailable
from tasks.states import JobState

# More than the threads of one process: the limit only keeps a statement small.
MOST = 256
PAUSES = (0.01, 0.05)  # seconds after a deadlock
_In = TypeVar("_In")
_Out = TypeVar("_Out")


class _Wait(Generic[_In, _Out]):
    """One thread's wish and what became of it; the lock is released when the thread may go on."""

    def __init__(self, wish: _In) -> None:
        self.wish = wish
        self.answer: _Out | None = None
        self.error: BaseException | None = None
        self.leads = False
        self.lock = threading.Lock()
        self.lock.acquire()


class Gather(Generic[_In, _Out]):
    """Hands the wishes of many threads to `act` together. `act` answers one for one, and raises for all of them."""

    def __init__(self, act: Callable[[Sequence[_In]], Sequence[_Out]]) -> None:
        self._act = act
        self._lock = threading.Lock()
        self._waiting: deque[_Wait[_In, _Out]] = deque()
        self._led = False

    def __call__(self, wish: _In) -> _Out:
        """Have the wish done, in this thread or in another that is at it. Raises what `act` raised for its company."""
        mine: _Wait[_In, _Out] = _Wait(wish)
        with self._lock:
            self._waiting.append(mine)
            leads, self._led = not self._led, True
        if not leads:
            mine.lock.acquire()
            leads = mine.leads
        if leads:
            self._lead()
        if mine.error is not None:
            raise mine.error
        return mine.answer  # type: ignore[return-value]

    def _lead(self) -> None:
        """Do what waits, this thread's own wish with it, then hand the lead to whoever came meanwhile."""
        with self._lock:
            company = [self._waiting.popleft() for _ in range(min(MOST, len(self._waiting)))]
        try:
            self._serve(company)
        finally:
            with self._lock:
                heir = self._waiting[0] if self._waiting else None
                self._led = heir is not None
            for one in company:
                one.lock.release()
            if heir is not None:
                heir.leads = True
                heir.lock.release()

    def _serve(self, company: Sequence[_Wait[_In, _Out]]) -> None:
        """Together; and each by itself when one of them cannot be done, so that it spoils nothing for the others."""
        try:
            for one, answer in zip(company, self._act([one.wish for one in company]), strict=True):
                one.answer = answer
        except BaseException as error:  # noqa: BLE001 - each thread of the company raises it
            if len(company) == 1 or isinstance(error, Unavailable) or not isinstance(error, Exception):
                for one in company:
                    one.error = error
            else:
                for one in company:
                    self._serve([one])


def _at_once() -> AbstractContextManager[None]:
    """Around one statement, which PostgreSQL commits by itself: two round trips less than a transaction."""
    return session() if is_postgres(database) else transaction()


def _turn(wishes: Sequence[Wanted | Ended]) -> Sequence[Job | bool | None]:
    """Take jobs and end others: for each the job or None, or whether it could be ended."""
    wanted = [one for one in wishes if isinstance(one, Wanted)]
    ended = [one for one in wishes if isinstance(one, Ended)]

    def write() -> tuple[list[Job | None], set[int]]:
        with _at_once():
            return take_and_end(wanted, ended)

    jobs, done = _patiently(write)
    taken = iter(jobs)
    return [next(taken) if isinstance(one, Wanted) else one.job in done for one in wishes]


def _patiently(write: Callable[[], _Out]) -> _Out:
    """Messages arrive before their publisher has committed, and both write the same rows in an order of their own:
    whom PostgreSQL chose to break a deadlock has written nothing, and finds the other one gone a moment later."""
    for pause in PAUSES:
        try:
            return write()
        except Unavailable as error:
            if "deadlock" not in error.text:
                raise
            threading.Event().wait(pause)  # or the rows are taken once more before the other one has woken up
    return write()


_write = Gather(_turn)


def claim(wanted: Wanted) -> Job | None:
    """Take one job; None for a duplicate or a stale message. Raises Unavailable without a catalog."""
    job = _write(wanted)
    return job if isinstance(job, Job) else None


def finish(job: Job, at: datetime, result: dict[str, Any]) -> None:
    """The job has done what it was for, and that is all there is to write. Raises FenceLost when it was taken over."""
    if not _write(Ended(job.id, job.fence, at, result)):
        raise FenceLost(f"Job {job.id} was taken over by another worker.")
    job.state = JobState.DONE

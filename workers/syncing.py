"""What the jobs of a sync share: how far they are, whose turn it is, and the pace that a bucket asks for.

How far a job is stands in its row's `result` and is written under its fence, so that whoever goes on after a kill
begins where the last page was committed, and a worker that was overtaken writes nothing.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

from tasks.catalog import Budget, Job, session, transaction
from tasks.catalog.budgets import spend
from tasks.catalog.syncs import COPYING, of_stage, parts_of
from tasks.catalog.transitions import requeue, start_waiting
from tasks.crash import reach
from tasks.errors import CloudFailed, Impossible
from tasks.states import JobState
from workers import driver, fence
from workers.buckets import Buckets, Pair, kept, key_of
from workers.context import Context

# More ranges than this are joined two by two, so that a lead's row stays small however large the bucket is.
SHARDS_MOST = 512
# How long nobody starts a page at a bucket that has asked to slow down, whichever worker it told.
SLOW = timedelta(seconds=5)
WIDTH = 16  # objects copied at once by one part: as many connections as a client has


@dataclass
class Lead:
    """A job that leads a sync or a restore, with what it has decided. `writer_id` is the account's row."""

    context: Context
    job: Job
    buckets: Buckets
    writer: driver.Account
    writer_id: int
    state: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        found = dict(self.job.result or {})
        self.state = found if found.get("epoch") == self.job.epoch and "pair" in found else {"epoch": self.job.epoch}

    @property
    def pair(self) -> Pair | None:
        """The buckets, once they were looked at."""
        return Pair.from_json(self.state["pair"]) if "pair" in self.state else None

    def begin(self, pair: Pair) -> None:
        """Decide the pair for all that follows. Raises FenceLost."""
        self.state |= {
            "pair": pair.to_json(),
            "after": "",
            "every": max(1, self.context.settings.sync_keys),
            "bounds": [],
        }
        self._write()

    def sums(self, pair: Pair, late: Callable[[], bool]) -> dict[str, Any] | None:
        """The figures of all parts once everything is copied; None while that takes longer: the job was put back or
        waits for its parts."""
        if "wanted" not in self.state:
            if not self._planned(pair, late):
                again(self.job, self.context.clock.timer(), result=self.state)
                return None
            self.ask(pair, COPYING, [(after, until, 0) for after, until in self._ranges()])
            return None
        return self.done(COPYING)

    def _planned(self, pair: Pair, late: Callable[[], bool]) -> bool:
        """Go on with the list of ranges; whether it is complete."""
        state, ended = self.state, False
        while not ended:
            found, last, ended = self.buckets.bounds(self.writer, pair, key_of(state["after"]), state["every"], late)
            state["bounds"] += [kept(one) for one in found]
            state["after"] = kept(last)
            if len(state["bounds"]) > SHARDS_MOST:
                state["bounds"], state["every"] = state["bounds"][1::2], state["every"] * 2
            if late() and not ended:
                return False
        return True

    def _ranges(self) -> list[tuple[str, str]]:
        bounds = ["", *self.state["bounds"], ""]
        return list(pairwise(bounds))

    def ask(self, pair: Pair, stage: str, ranges: list[tuple[str, str, int]]) -> None:
        """Wait for parts. Raises FenceLost."""
        self.state.pop("bounds", None)
        self.state["wanted"] = {
            "stage": stage,
            "account": self.writer_id,
            "region": pair.target_region,
            "ranges": [list(one) for one in ranges],
        }
        with transaction():
            fence.keep(self.job)
            start_waiting(self.job, result=self.state)
        reach("sync.shared")

    def done(self, stage: str) -> dict[str, Any] | None:
        """The figures of a stage's parts; None, and the job waits on, while they are not all done."""
        with session():
            parts = of_stage(parts_of(self.job), self.job.epoch, stage)
        ranges = self.state["wanted"]["ranges"]
        if len(parts) < len(ranges) or any(one.state is not JobState.DONE for one in parts):
            with transaction():
                fence.keep(self.job)
                start_waiting(self.job, result=self.state)
            return None
        return summed([one.result for one in parts])

    def _write(self) -> None:
        with transaction():
            fence.keep(self.job, result=self.state)


def buckets_of(context: Context) -> Buckets:
    """Bucket access. Raises Impossible when this worker's driver has none."""
    found: Buckets | None = getattr(context.driver_of("s3"), "buckets", None)
    if found is None:
        raise Impossible("This worker has no access to buckets.", code="no-buckets")
    return found


FIGURES = ("objects", "bytes", "there", "vanished", "copied", "copied_bytes", "left_out", "failed", "deleted")
LISTS = ("examples", "vanished_keys")
SHOWN = 5  # names in a report


def summed(results: list[Mapping[str, Any]]) -> dict[str, Any]:
    """Figures of several parts as one; of names the first few."""
    sums: dict[str, Any] = {name: sum(int(one.get(name, 0)) for one in results) for name in FIGURES}
    for name in LISTS:
        sums[name] = [item for one in results for item in one.get(name, ())][:SHOWN]
    sums["vanished_by_part"] = [int(one.get("vanished", 0)) for one in results]
    return sums


def check_whole(figures: Mapping[str, Any]) -> None:
    """Every object must have been copied, or it is not a backup. Raises CloudFailed, which names some."""
    if figures["failed"]:
        examples = "; ".join(figures["examples"])
        raise CloudFailed(f"{figures['failed']} objects could not be copied: {examples}.")


def again(job: Job, at: datetime, ready_at: datetime | None = None, **columns: Any) -> None:
    """Put the job back into the line: it got further, so what failed before counts no more. Raises FenceLost."""
    with transaction():
        fence.keep(job)
        requeue(job, at, ready_at, attempt=0, claims=0, error_code="", error_text="", **columns)


def slow_until(bucket: str) -> datetime | None:
    """Until when nobody should start anything at a bucket."""
    with session():
        row = Budget.get_or_none(Budget.name == _pace_of(bucket))
    return row.tat_at if row is not None else None


def slow_down(bucket: str, at: datetime) -> None:
    """The bucket asked for it: the whole fleet waits. Parts that hear it at the same time count once."""
    until = slow_until(bucket)
    if until is None or until <= at:
        with transaction():
            spend({_pace_of(bucket): SLOW}, at)


def _pace_of(bucket: str) -> str:
    return f"bucket:{bucket}"

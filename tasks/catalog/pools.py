"""Worker pools: which pool an account or a region of it is bound to, and which pools somebody works in.

The estate file binds them (`pool`, `region_pools` of an account). A message goes to the queue of its job's pool, where
only workers of that pool take it. A pool is never more than where messages go: the binding is looked up whenever one
is published, so that a changed binding moves what waits, and what lies in the old queue is sent again through the
catalog.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from peewee import SQL, fn

from tasks.catalog.estate import Account
from tasks.catalog.fleet import DRAIN, SILENT_AFTER, Process
from tasks.catalog.job import Job, Outbox
from tasks.lanes import Lane
from tasks.states import JobState

COMMON = ""  # the pool of whatever is bound to none
Served = frozenset[tuple[str, str]]
"""(lane, pool) that a live worker takes, also one that stops: another takes its place. Not one that an operator has
drained: it stays for hours, and what is sent to it meanwhile would use up the room of the lane for all pools."""


@dataclass(frozen=True)
class Pools:
    """The bindings: account ids to pools, and (account id, region) where a region has another one."""

    accounts: Mapping[int, str] = field(default_factory=dict)
    regions: Mapping[tuple[int, str], str] = field(default_factory=dict)

    def of(self, account: int, region: str) -> str:
        """The pool of a place; '' is the common one."""
        return self.regions.get((account, region)) or self.accounts.get(account, COMMON)

    @property
    def names(self) -> list[str]:
        """Every pool that something is bound to."""
        return sorted({*self.accounts.values(), *self.regions.values()})

    def stranded(self, lane: str, account: int, region: str, served: Collection[tuple[str, str]]) -> bool:
        """Whether a place's pool has nobody who takes this lane. The common pool is never: its workers may come."""
        pool = self.of(account, region)
        return bool(pool) and (lane, pool) not in served


def read_pools() -> Pools:
    """The bindings as the catalog has them. Reads inside the caller's session."""
    accounts: dict[int, str] = {}
    regions: dict[tuple[int, str], str] = {}
    query: Any = Account.select(Account.id, Account.settings).where(SQL("settings <> '{}'"))
    for number, settings in query.tuples():
        if settings.get("pool"):
            accounts[number] = settings["pool"]
        regions |= {(number, region): pool for region, pool in (settings.get("region_pools") or {}).items()}
    return Pools(accounts, regions)


class Fleet(NamedTuple):
    """The live workers: who works where, and how many threads of them do not drain."""

    served: Served
    threads: int


def read_fleet(at: datetime) -> Fleet:
    """The workers that live at machine time `at`. Reads inside the caller's session."""
    alive: Any = Process.select(Process.lanes, Process.pool, Process.threads, Process.draining)
    alive = alive.where(Process.role == "worker", Process.seen_at > at - SILENT_AFTER, Process.wanted != DRAIN)
    workers = list(alive.tuples())
    served = frozenset((lane, pool) for lanes, pool, _, _ in workers for lane in lanes)
    return Fleet(served, sum(threads for *_, threads, draining in workers if not draining))


def stranded_messages(pools: Pools, served: Served) -> dict[Lane, int]:
    """Messages in queues that nobody takes, by lane: they use up none of their lane's room."""
    if not pools.names:
        return {}
    found: dict[Lane, int] = {}
    query: Any = Job.select(Job.lane, Job.account, Job.region, fn.COUNT(Job.id)).where(Job.state == JobState.QUEUED)
    for lane, account, region, count in query.group_by(Job.lane, Job.account, Job.region).tuples():
        if pools.stranded(lane, account, region, served):
            found[Lane(lane)] = found.get(Lane(lane), 0) + count
    return found


def oldest_messages(at: datetime) -> dict[str, datetime]:
    """By lane when the oldest message that could be published became ready; one look at all that waits."""
    read: Any = Outbox.ready_at.python_value
    ready: Any = Outbox.select(Outbox.lane, fn.MIN(Outbox.ready_at)).where(Outbox.ready_at <= at)
    return {lane: read(oldest) for lane, oldest in ready.group_by(Outbox.lane).tuples()}


def due_by_pool(pools: Pools, at: datetime) -> dict[tuple[str, str], datetime]:
    """(lane, pool) to when the oldest job that could run there became due."""
    read: Any = Outbox.ready_at.python_value
    ready: Any = (
        Outbox.select(Outbox.lane, Job.account, Job.region, fn.MIN(Outbox.ready_at))
        .join(Job)
        .where(Outbox.ready_at <= at)
        .group_by(Outbox.lane, Job.account, Job.region)
    )
    queued: Any = (
        Job.select(Job.lane, Job.account, Job.region, fn.MIN(Job.not_before_at))
        .where(Job.state == JobState.QUEUED)
        .group_by(Job.lane, Job.account, Job.region)
    )
    found: dict[tuple[str, str], datetime] = {}
    for lane, account, region, oldest in [*ready.tuples(), *queued.tuples()]:
        key, due = (lane, pools.of(account, region)), read(oldest)
        found[key] = min(found.get(key, due), due)
    return found

"""Why what waits has not gone yet: the questions that planning and publishing ask, asked about single runs and jobs.

Reads inside the caller's session, writes nothing. The answers come from the same statements and decisions that act:
what they let go now waits for its turn only.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from coordinator.admission import COPIES, LANE, PACE, USUAL, Admission, Candidate, InFlight, held_back
from coordinator.candidates import jobs_ahead, ready_among
from coordinator.copy_slots import COPY_SLOTS
from coordinator.flight import Paces, queued_messages, read_flight
from coordinator.looks import read_looks
from coordinator.planner import LOOK_PATIENCE
from coordinator.reason import Reason
from coordinator.targets import scopes_of
from tasks.catalog import Account, Job, Operation, Outbox, Policy, Run, rows
from tasks.catalog.budgets import read_limits, read_paces
from tasks.catalog.pools import COMMON, Pools, Served, read_fleet, read_pools
from tasks.catalog.standstill import Standstill, standstill
from tasks.lanes import Lane
from tasks.states import JobState, OperationState, RunState

_BATCH = 500  # ids in one statement; SQLite takes 32,766 parameters


def why_unplanned(run: Run, at: datetime, freshness: timedelta) -> list[Reason]:
    """What a run that has no jobs yet waits for at machine time `at`."""
    if run.state != RunState.RESOLVING:
        return []
    looks, policy = read_looks(), Policy.get_by_id(run.policy_id)
    scopes = scopes_of(policy.spec.get("targets") or (), looks.regions)
    stale = looks.stale(scopes, run.created_at - freshness)
    waited = [scope for scope in stale if not looks.refusal(scope, run.created_at)]
    if not waited or at - run.created_at >= LOOK_PATIENCE:
        return [Reason("next-round", "a coordinator plans it in one of its next rounds")]
    until = run.created_at + LOOK_PATIENCE
    return [
        Reason("stale-look", f"waits until {_shown(until)} for a look at {service} in {account}/{region}")
        for account, region, service in waited
    ]


def why_behind(jobs: Sequence[int]) -> dict[int, Reason]:
    """Of these jobs those that wait for another one of their chain, and for which."""
    behind = {
        job: ahead
        for start in range(0, len(jobs), _BATCH)
        for job, ahead in jobs_ahead(jobs[start : start + _BATCH]).items()
    }
    wanted = sorted({numbers[0] for numbers in behind.values()})
    first: dict[int, tuple[int | None, str]] = {
        number: (run, str(state))
        for start in range(0, len(wanted), _BATCH)
        for number, run, state in rows(
            Job.select(Job.id, Job.run, Job.state).where(Job.id.in_(wanted[start : start + _BATCH]))
        )
    }
    return {job: _behind(ahead, *first[ahead[0]]) for job, ahead in behind.items()}


def _behind(ahead: Sequence[int], run: int | None, state: str) -> Reason:
    of_run = f" of run-{run}" if run else ""
    more = f", and {len(ahead) - 1} more" if len(ahead) > 1 else ""
    return Reason("in-line", f"behind job-{ahead[0]}{of_run}, which is {state}{more}: one of a resource goes at a time")


def why_waiting(jobs: Sequence[Job], at: datetime) -> dict[int, Reason]:
    """What each of these jobs that have not ended waits for at machine time `at`."""
    pending = [job.id for job in jobs if job.state == JobState.PENDING]
    facts = _facts(pending, at)
    found = {job.id: _pending(job, facts) for job in jobs if job.state == JobState.PENDING}
    found |= {job.id: _queued(job, facts) for job in jobs if job.state == JobState.QUEUED}
    found |= {job.id: _running(job, at) for job in jobs if job.state == JobState.RUNNING}
    return found | _with_the_cloud([job for job in jobs if job.state == JobState.WAITING])


@dataclass(frozen=True)
class _Facts:
    """What publishing reads, for some pending jobs."""

    at: datetime
    still: Standstill | None
    pools: Pools
    served: Served
    admission: Admission
    ready_at: Mapping[int, datetime]
    behind: Mapping[int, Reason]
    ready: Mapping[int, Candidate]
    flight: InFlight
    places: Mapping[int, str]


def _facts(pending: Sequence[int], at: datetime) -> _Facts:
    pools, (served, threads) = read_pools(), read_fleet(at)
    admission = replace(USUAL.for_fleet(threads), accounts=read_limits())
    ready_at: dict[int, datetime] = {}
    ready: dict[int, Candidate] = {}
    for start in range(0, len(pending), _BATCH):
        some = pending[start : start + _BATCH]
        ready_at |= dict(rows(Outbox.select(Outbox.job, Outbox.ready_at).where(Outbox.job.in_(some))))
        ready |= {one.job: one for one in ready_among(at, some)}
    flight = read_flight(at, queued_messages(pools, served), list(ready.values()), Paces(admission, read_paces(at)))
    names = dict(rows(Account.select(Account.id, Account.name)))
    behind = why_behind(pending)
    return _Facts(at, standstill(), pools, served, admission, ready_at, behind, ready, flight, names)


def _pending(job: Job, facts: _Facts) -> Reason:
    """In the order in which publishing asks."""
    if facts.still is not None and job.lane != Lane.POLL:
        return Reason("standstill", f"the fleet stands still since {_shown(facts.still.since)} ({facts.still.who})")
    ready_at = facts.ready_at.get(job.id)
    if ready_at is None:
        return Reason("no-message", "it has no message; a coordinator writes one within a minute")
    if ready_at > facts.at:
        return _put_off(job, ready_at)
    if job.id in facts.behind:
        return facts.behind[job.id]
    if facts.pools.stranded(job.lane, job.account_id, job.region, facts.served):
        return _without_worker(facts.pools.of(job.account_id, job.region), job.lane)
    item = facts.ready.get(job.id)
    held = held_back(item, facts.flight, COPY_SLOTS, facts.admission) if item else ""
    place = f"{facts.places.get(job.account_id, '')}/{job.region}"
    texts = {
        LANE: f"workers have as many messages of the lane {job.lane} before them as may be",
        PACE: f"{place} has had as many starts of {job.service or job.lane} as its pace allows just now",
        COPIES: f"all copy slots of {job.service} in {place} are taken",
    }
    return Reason(held, texts[held]) if held else Reason("next-round", "ready: it goes as soon as its turn comes")


def _put_off(job: Job, ready_at: datetime) -> Reason:
    if not job.error_code:
        return Reason("not-before", f"it may begin at {_shown(ready_at)}")
    tried = f"attempt {job.attempt} of {job.max_attempts} " if job.attempt else "the last one "
    return Reason(
        "retry", f"{tried}ended with {job.error_code}; it is tried again at {_shown(ready_at)}: {job.error_text}"
    )


def _without_worker(pool: str, lane: str) -> Reason:
    where = f"the pool {pool}" if pool != COMMON else "the fleet"
    return Reason("pool-without-worker", f"no worker of {where} takes the lane {lane}")


def _queued(job: Job, facts: _Facts) -> Reason:
    pool = facts.pools.of(job.account_id, job.region)
    if (job.lane, pool) not in facts.served:
        return _without_worker(pool, job.lane)
    sent = f" since {_shown(job.published_at)}" if job.published_at else ""
    return Reason("in-broker", f"its message waits in the broker{sent} for a free worker")


def _running(job: Job, at: datetime) -> Reason:
    if job.lease_until_at is not None and job.lease_until_at < at:
        text = f"{job.lease_owner or 'its worker'} has not been heard of since {_shown(job.lease_until_at)}"
        return Reason("worker-silent", f"{text}; another takes it up")
    return Reason("running", f"{job.lease_owner or 'a worker'} has it in hand")


def _with_the_cloud(jobs: Sequence[Job]) -> dict[int, Reason]:
    """Jobs of which nothing of ours is held: the cloud works for them, or other jobs do their parts."""
    percents: dict[int, list[int]] = {job.id: [] for job in jobs}
    ids = list(percents)
    for start in range(0, len(ids), _BATCH):
        going = Operation.select(Operation.job, Operation.percent).where(
            Operation.job.in_(ids[start : start + _BATCH]), Operation.state == OperationState.RUNNING
        )
        for job, percent in rows(going):
            percents[job].append(percent)
    return {
        job: Reason("cloud-works", f"the cloud is at {min(found)} % ({len(found)} operations)")
        if found
        else Reason("parts", "other jobs do its parts")
        for job, found in percents.items()
    }


def _shown(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S} UTC"

"""What a finished job leads to: the next copy, the next restore step, an undo, the end of an intermediate copy.

Every follow-up is written in the transaction that marks the job as settled, so that it is planned once. A job whose
follow-up cannot be planned is settled with the reason; it never holds up the others.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from peewee import SQL

from coordinator.archive import archive_due, plan_archive, repositories
from coordinator.exports import EXPORT, export_due, plan_cold, plan_export
from coordinator.facts import policy_facts, source_facts
from coordinator.importing import LOOK, plan_imports
from coordinator.plan import PolicyFacts, destination_of, destinations_due, plan_copy
from coordinator.recover import give_up_restore, settle_restore
from coordinator.routes import TWO_HOPS, Refusal, SourceFacts
from tasks.catalog import Account, Job, Point, Policy, Run, database, hold_rows, lock_rows, rows, transaction
from tasks.catalog.fields import is_postgres
from tasks.catalog.job import UNSETTLED
from tasks.catalog.transitions import add_jobs, move_parts, move_point, move_points
from tasks.crash import reach
from tasks.errors import Internal, SnapfleetError
from tasks.lanes import Lane
from tasks.resources import TYPES
from tasks.states import JobState, PointState

log = logging.getLogger("snapfleet.coordinator")

SETTLED_A_TICK = 1000
_RESTORING = frozenset({"restore-step", "restore-undo"})
_MAKES_A_POINT = frozenset({"snapshot", "copy", "archive", "import"})
_DEAR = frozenset(kind.service for kind in TYPES.values() if kind.temporary)


def settle_jobs(at: datetime, touched: set[int] | None = None) -> int:
    """Plan what follows the jobs that finished; how many were settled. Adds their runs to `touched`."""
    with transaction():
        jobs = list(lock_rows(Job.select().where(SQL(UNSETTLED)).order_by(Job.id).limit(SETTLED_A_TICK)))
        if not jobs:
            return 0
        for job in jobs:
            if job.kind in _RESTORING:
                _settle_restore(job, at)
            elif job.kind == LOOK and job.state == JobState.DONE:
                _settle_look(job, at)
        making = [job for job in jobs if job.kind in _MAKES_A_POINT]
        _fail_points([job for job in making if job.state != JobState.DONE])
        good = [job for job in making if job.state == JobState.DONE]
        parted = [job for job in making if job.state == JobState.FAILED and job.error_code == TWO_HOPS]
        _plan_copies([job for job in [*good, *parted] if job.run_id is not None], at)
        add_jobs([plan_cold(job) for job in good if job.spec.get("role") == EXPORT and job.spec.get("class")], at)
        _retire_intermediates([*good, *(job for job in making if _is_dear(job))], at)
        Job.update(settled=True).where(Job.id.in_([job.id for job in jobs])).execute()
        reach("coordinator.settle-before-commit")
    if touched is not None:
        touched.update(job.run_id for job in jobs if job.run_id is not None)
    return len(jobs)


def _settle_restore(job: Job, at: datetime) -> None:
    try:
        with database.atomic():
            settle_restore(job, at)
    except SnapfleetError as error:
        give_up_restore(job, error, at)
    except (KeyError, TypeError, ValueError) as error:  # what a step made known is not what the next one needs
        log.exception("What follows job %d of restore-%s cannot be planned.", job.id, job.restore_id)
        give_up_restore(job, Internal(f"A defect in this version: {type(error).__name__}."), at)


def _settle_look(job: Job, at: datetime) -> None:
    """What was found becomes jobs, or the look says why not: another look finds it again."""
    try:
        with database.atomic():
            plan_imports(job, at)
    except (SnapfleetError, KeyError, TypeError, ValueError) as error:
        log.exception("What the look of job %d found cannot be planned.", job.id)
        text = str(error) if isinstance(error, SnapfleetError) else f"A defect in this version: {type(error).__name__}."
        Job.update(state=JobState.FAILED, error_code="import-failed", error_text=text).where(Job.id == job.id).execute()


def _fail_points(jobs: Sequence[Job]) -> None:
    """A job that ended without success (also cancelled, or stranded) leaves no point that is still being made."""
    by_point = {job.point_id: job for job in jobs if job.point_id is not None}
    left = Point.select(Point.id).where(Point.id.in_(list(by_point)), Point.state == PointState.CREATING)
    for row in left if by_point else ():
        job = by_point[row.id]
        move_parts(row.id, PointState.FAILED)
        move_point(row.id, PointState.FAILED, error_code=job.error_code, error_text=job.error_text)


@dataclass(frozen=True)
class _Done:
    """A good point that may be copied onward, with the job that made it and its run."""

    job: Job
    run: Run
    policy: PolicyFacts
    source: SourceFacts


def _plan_copies(jobs: Sequence[Job], at: datetime) -> None:
    """A good primary fans out to the DR entries that are due; an intermediate goes on to its one.

    So does the source of a copy that the cloud refused to make in one step: by two hops.
    """
    runs = {row.id: row for row in Run.select().where(Run.id.in_({job.run_id for job in jobs}))} if jobs else {}
    policies = _counted(runs, {job.run_id for job in jobs if job.kind == "snapshot"})
    wanted = [job for job in jobs if _may_lead_on(job, runs[job.run_id], policies)]
    if not wanted:
        return
    sources = _sources([number for job in wanted if (number := _source_of(job)) is not None])
    accounts = {row.name: row.id for row in Account.select(Account.id, Account.name).where(Account.enabled)}
    facts = {row.id: policy_facts(row) for row in policies.values()}
    planned: list[dict[str, Any]] = []
    for job in sorted(wanted, key=lambda one: _source_of(one) or 0):  # copies wait in the order of their points
        source = sources.get(_source_of(job) or 0)
        if source is not None:
            run = runs[job.run_id]
            done = _Done(job, run, facts[run.policy_id], source)
            planned += _copies_of(done, accounts, lambda one, no: _record_refusal(one, no, accounts, at))
            planned += _archive_of(done, accounts, lambda one, no: _record_refusal(one, no, accounts, at, "archive"))
            planned += _export_of(done, accounts, lambda one, no: _record_refusal(one, no, accounts, at, EXPORT))
    add_jobs(planned, at)


def _source_of(job: Job) -> int | None:
    """The point that is copied next: what the job made, or what it could not copy in one step."""
    number: int | None = job.point_id if job.state == JobState.DONE else job.spec.get("point")
    return number


def _may_lead_on(job: Job, run: Run, policies: Mapping[int, Policy]) -> bool:
    policy = policies[run.policy_id]
    if run.cancelled_at is not None or policy.deleted_at is not None:
        return False
    if job.kind == "snapshot":
        return any(policy.spec.get(name) for name in ("dr", "repository", EXPORT))
    return bool(policy.spec.get("dr") and (job.spec.get("onward") or job.state == JobState.FAILED))


def _counted(runs: Mapping[int, Run], backed_up: set[int]) -> dict[int, Policy]:
    """The runs' policies, after each run with its first good backup got its number among the policy's successes.

    The number is given here and not when the run ends, since copies may go on for hours while the next runs begin. A
    run of only some targets has the next one's number and uses none up, so that it shifts no `every: n`.
    """
    fresh = sorted(number for number in backed_up if runs[number].ordinal == 0)
    query = Policy.select().where(Policy.id.in_({run.policy_id for run in runs.values()})).order_by(Policy.id)
    if not runs or not fresh:
        return {row.id: row for row in query} if runs else {}
    policies = {row.id: row for row in _exclusive(query)}  # before the runs: the order in which everybody locks
    for number, ordinal in rows(Run.select(Run.id, Run.ordinal).where(Run.id.in_(fresh)).order_by(Run.id)):
        run, policy = runs[number], policies[runs[number].policy_id]
        run.ordinal = ordinal or policy.successes + 1
        if ordinal:
            continue
        Run.update(ordinal=run.ordinal).where(Run.id == number).execute()
        if not run.only:
            policy.successes += 1
            Policy.update(successes=policy.successes).where(Policy.id == policy.id).execute()
    return policies


def _exclusive(query: Any) -> Any:
    """Lock rows and wait for them; SQLite's write lock already excludes others."""
    return query.for_update() if is_postgres(database) else query


def _sources(point_ids: Sequence[int]) -> dict[int, SourceFacts]:
    """Those that are good, held so until the copy's job is there: cleanup then sees the one or the other."""
    query = Point.select().where(Point.id.in_(list(point_ids)), Point.state == PointState.GOOD).order_by(Point.id)
    return source_facts(list(hold_rows(query)))


def _copies_of(
    done: _Done, accounts: Mapping[str, int], refuse: Callable[[_Done, Refusal], None]
) -> list[dict[str, Any]]:
    apart = done.job.state == JobState.FAILED
    onward = done.job.spec.get("destination" if apart else "onward", "")
    planned = []
    try:
        for entry in destinations_due(done.policy, done.run.ordinal):
            if onward and destination_of(entry, done.source) != onward:
                continue
            row = plan_copy(done.policy, done.run.id, done.source, entry, accounts, done.job.priority, apart=apart)
            if isinstance(row, Refusal):
                refuse(done, row)
            else:
                planned.append(row)
    except (KeyError, TypeError, ValueError) as error:  # one policy that cannot be read stops no other
        log.exception("The copies of rp-%d cannot be planned.", done.source.point_id)
        refuse(done, Refusal("/", "malformed", f"The policy's DR entries are malformed ({type(error).__name__})."))
    return planned


def _archive_of(
    done: _Done, accounts: Mapping[str, int], refuse: Callable[[_Done, Refusal], None]
) -> list[dict[str, Any]]:
    """A good primary of every n-th successful run goes into the policy's repository."""
    try:
        name = archive_due(done.policy, done.run.ordinal) if done.job.kind == "snapshot" else ""
        if not name:
            return []
        row = plan_archive(done.policy, done.run.id, done.source, name, repositories(), accounts, done.job.priority)
    except (KeyError, TypeError, ValueError) as error:  # one policy that cannot be read stops no other
        log.exception("The archive of rp-%d cannot be planned.", done.source.point_id)
        row = Refusal("/", "malformed", f"The policy's repository is malformed ({type(error).__name__}).")
    if isinstance(row, Refusal):
        refuse(done, row)
        return []
    return [row]


def _export_of(
    done: _Done, accounts: Mapping[str, int], refuse: Callable[[_Done, Refusal], None]
) -> list[dict[str, Any]]:
    """A good primary of every n-th successful run is exported, where the policy says so."""
    try:
        entry = export_due(done.policy, done.run.ordinal) if done.job.kind == "snapshot" else {}
        if not entry:
            return []
        row = plan_export(done.policy, done.run.id, done.source, entry, accounts, done.job.priority)
    except (KeyError, TypeError, ValueError) as error:  # one policy that cannot be read stops no other
        log.exception("The export of rp-%d cannot be planned.", done.source.point_id)
        row = Refusal("/", "malformed", f"The policy's export is malformed ({type(error).__name__}).")
    if isinstance(row, Refusal):
        refuse(done, row)
        return []
    return [row]


def _record_refusal(
    done: _Done, refusal: Refusal, accounts: Mapping[str, int], at: datetime, kind: str = "copy"
) -> None:
    """A copy that cannot work is a failed job with the cloud's reason: the run shows it, nothing was called."""
    account, region = refusal.destination.split("/", 1)
    job = done.job
    Job.insert(
        kind=kind,
        lane=str(Lane.COPY if kind == "copy" else Lane.REPOSITORY),
        key=f"refused:{kind}:{job.key}:{refusal.destination}",
        run=job.run_id,
        account=accounts.get(account, job.account_id),
        region=region,
        service=job.service,
        resource=job.resource_id,
        spec={"point": done.source.point_id, "destination": refusal.destination, "role": kind},
        state=JobState.FAILED,
        not_before_at=at,
        created_at=at,
        finished_at=at,
        settled=True,
        error_code=refusal.code,
        error_text=refusal.text,
    ).on_conflict_ignore().execute()


def _is_dear(job: Job) -> bool:
    """A copy that failed for good, of something temporary that is billed by the hour: that waits for nobody."""
    return job.kind == "copy" and job.state == JobState.FAILED and job.service in _DEAR


def _retire_intermediates(jobs: Sequence[Job], at: datetime) -> None:
    """The one copy for which an intermediate point was made has ended: the intermediate may go."""
    sources = [job.spec.get("point") for job in jobs if job.kind == "copy"]
    if not sources:
        return
    done = Point.select(Point.id).where(Point.id.in_(sources), Point.kind == "intermediate")
    move_points(
        [row.id for row in done],
        PointState.EXPIRING,
        expire_code="intermediate",
        expire_text="It was only made to be copied onward, and that copy has ended.",
        marked_at=at,
    )

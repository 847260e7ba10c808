"""A run that has begun becomes jobs: first a fresh look at what exists, then targets, then one transaction.

Nothing is planned from a look older than `discover_seconds`; a look that fails or takes too long does not hold the
run up: what was known before is backed up, and the run says so.
"""

import logging
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from coordinator.facts import policy_facts, resource_facts
from coordinator.looks import Looks, ask_for_looks, read_looks
from coordinator.plan import plan_snapshots
from coordinator.targets import Problem, Resolved, resolve, scopes_of
from tasks.catalog import Job, Point, Policy, Run, rows, transaction
from tasks.catalog.transitions import BATCH, add_jobs
from tasks.crash import reach
from tasks.errors import SnapfleetError, Unavailable
from tasks.states import JOB_OPEN, JobState, PointState, RunState

log = logging.getLogger("snapfleet.coordinator")

# A look at one account, region and service takes seconds to a minute; after this long the run goes on without it.
LOOK_PATIENCE = timedelta(minutes=5)
# Runs planned in one round, so that a wave of them does not keep what is planned from being published.
PLANNED_A_TICK = 20
# Runs looked through for some that can be planned: those that wait for looks must not hide the others.
EXAMINED_A_TICK = 1000


def resolve_runs(at: datetime, freshness: timedelta) -> int:
    """Plan the runs whose looks are fresh (machine time `at`), ask for the looks of the others; how many planned."""
    waiting = list(Run.select().where(Run.state == RunState.RESOLVING).order_by(Run.id).limit(EXAMINED_A_TICK))
    if not waiting:
        return 0
    policies = {row.id: row for row in Policy.select().where(Policy.id.in_({run.policy_id for run in waiting}))}
    looks = read_looks()
    planned = 0
    for run in waiting:
        planned += _resolve_or_fail(run, policies[run.policy_id], looks, at, freshness)
        if planned >= PLANNED_A_TICK:
            break
    return planned


def _resolve_or_fail(run: Run, policy: Policy, looks: Looks, at: datetime, freshness: timedelta) -> int:
    try:
        return _resolve(run, policy, looks, at, freshness)
    except Unavailable:
        raise
    except (SnapfleetError, KeyError, TypeError, ValueError, AttributeError) as error:
        log.exception("run-%d of policy %s cannot be planned.", run.id, policy.name)
        problem = Problem(policy.name, "malformed", f"The policy cannot be read ({type(error).__name__}).")
        _end(run, RunState.FAILED, at, problems=[problem.to_json()])
        return 1


def _end(run: Run, state: RunState, at: datetime, **columns: Any) -> None:
    with transaction():
        Run.update(state=state, finished_at=at, **columns).where(
            Run.id == run.id, Run.state == RunState.RESOLVING
        ).execute()


def _resolve(run: Run, policy: Policy, looks: Looks, at: datetime, freshness: timedelta) -> int:
    if policy.deleted_at is not None:
        _end(run, RunState.CANCELLED, at, reason="The policy was removed before the run was planned.")
        return 1
    scopes = scopes_of(policy.spec.get("targets") or (), looks.regions)
    stale = looks.stale(scopes, run.created_at - freshness)
    unanswered = [scope for scope in stale if not looks.refusal(scope, run.created_at)]
    if unanswered and at - run.created_at < LOOK_PATIENCE:
        with transaction():
            ask_for_looks(looks, unanswered, at)
        return 0
    late = [_stale_look(scope, looks.refusal(scope, run.created_at)) for scope in stale]
    _plan(run, policy, looks, late, at)
    return 1


def _stale_look(scope: tuple[str, str, str], why: str) -> Problem:
    place = f"{scope[0]}/{scope[1]}"
    return Problem(place, "stale-look", f"{place} could not be looked at: {why or 'no answer yet.'}")


def _plan(run: Run, policy: Policy, looks: Looks, late: list[Problem], at: datetime) -> None:
    ids = {name: row.id for name, row in looks.accounts.items()}
    targets = policy.spec.get("targets") or ()
    resolved = resolve(targets, resource_facts(targets, ids))
    if run.only:
        resolved = _only(resolved, run.only)
    with transaction():
        taken = (
            Run.update(state=RunState.OPEN, planned_at=at, targets=len(resolved.targets))
            .where(Run.id == run.id, Run.state == RunState.RESOLVING)
            .execute()
        )
        if not taken:
            return  # another coordinator planned it, or somebody cancelled it
        jobs = _ordered(
            plan_snapshots(
                policy_facts(policy),
                run.id,
                run.slot_at.isoformat(),
                run.trigger == "manual",
                resolved.targets,
                ids,
                _imaged(policy),
            )
        )
        waiting = _in_line(policy) if run.trigger == "schedule" else frozenset()
        add_jobs([job for job in jobs if job["resource"] not in waiting], at)
        _note_overlaps([job for job in jobs if job["resource"] in waiting], at)
        problems = [problem.to_json() for problem in (*resolved.problems, *late)]
        if not jobs and not problems:
            problems = [Problem(policy.name, "no-targets", "No resource matches this policy's targets.").to_json()]
        Run.update(problems=problems).where(Run.id == run.id).execute()
        reach("coordinator.plan-before-commit")
    reach("coordinator.plan-committed")


def _in_line(policy: Policy) -> frozenset[int]:
    """Resources whose backup for an earlier run has not begun yet. That one keeps its place in line and stands for
    this run's too: otherwise a backlog would grow for ever, and its end would be many snapshots of one moment."""
    query = (
        Job.select(Job.resource)
        .join(Run)
        .where(Run.policy == policy.id, Job.kind == "snapshot", Job.state.in_([JobState.PENDING, JobState.QUEUED]))
    )
    return frozenset(resource for (resource,) in rows(query))


def _note_overlaps(jobs: Sequence[dict[str, Any]], at: datetime) -> None:
    """Each target of a run has a job, also one that is not done because the run before has not come to it yet."""
    ended = {
        "state": JobState.CANCELLED,
        "created_at": at,
        "not_before_at": at,
        "finished_at": at,
        "settled": True,
        "error_code": "overlapped",
        "error_text": "Its backup for an earlier run had not begun yet and stands for this one too.",
    }
    for start in range(0, len(jobs), BATCH):
        Job.insert_many([{**job, **ended} for job in jobs[start : start + BATCH]]).on_conflict_ignore().execute()


def _only(resolved: Resolved, wanted: Sequence[str]) -> Resolved:
    targets = tuple(item for item in resolved.targets if item.resource.external_id in wanted)
    found = {item.resource.external_id for item in targets}
    missing = [
        Problem(name, "not-a-target", f"{name} is not a target of this policy.") for name in wanted if name not in found
    ]
    problems = tuple(item for item in resolved.problems if item.target in wanted)
    named = {item.target for item in problems}
    return Resolved(targets, (*problems, *(item for item in missing if item.target not in named)))


def _ordered(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One chain per resource: a run that overlaps the one before waits for it, resource by resource."""
    return [{**row, "chain": f"snapshot:{row['resource']}"} for row in rows]


def _imaged(policy: Policy) -> frozenset[int]:
    """Resources of the policy that have an image, or one on its way: `image-once` makes no second one."""
    if policy.spec.get("mode") != "image-once":
        return frozenset()
    good = Point.select(Point.resource).where(
        Point.policy == policy.id, Point.kind == "image", Point.state == PointState.GOOD, Point.destination == ""
    )
    begun = (
        Job.select(Job.resource, Job.spec)
        .join(Run)
        .where(Run.policy == policy.id, Job.kind == "snapshot", Job.state.in_(list(JOB_OPEN)))
    )
    return frozenset(
        {resource for (resource,) in rows(good)}
        | {resource for resource, spec in rows(begun) if spec.get("mode") == "image"}
    )

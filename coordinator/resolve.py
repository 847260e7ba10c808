"""A run that has begun becomes jobs: first a fresh look at what exists, then targets, then one transaction.

Nothing is planned from a look older than `discover_seconds`; a look that fails or takes too long does not hold the
run up: what was known before is backed up, and the run says so.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from coordinator.facts import policy_facts, resource_facts
from coordinator.plan import plan_snapshots
from coordinator.standing import wake
from coordinator.targets import Problem, Resolved, resolve, scopes_of
from tasks.catalog import Account, Job, Point, Policy, Run, Scan, transaction
from tasks.catalog.transitions import add_jobs
from tasks.crash import reach
from tasks.lanes import Lane
from tasks.resources import TYPES
from tasks.states import JOB_OPEN, PointState, RunState

# A look at one account, region and service takes seconds to a minute; after this long the run goes on without it.
LOOK_PATIENCE = timedelta(minutes=5)
RUNS_A_TICK = 20


def resolve_runs(at: datetime, freshness: timedelta) -> int:
    """Plan the runs whose looks are fresh (machine time `at`), ask for the looks of the others; how many planned."""
    waiting = list(Run.select().where(Run.state == RunState.RESOLVING).order_by(Run.id).limit(RUNS_A_TICK))
    return sum(_resolve(run, at, freshness) for run in waiting)


def _resolve(run: Run, at: datetime, freshness: timedelta) -> int:
    policy = Policy.get_by_id(run.policy_id)
    accounts = {row.name: row for row in Account.select().where(Account.enabled)}
    regions = {name: tuple(row.regions) for name, row in accounts.items()}
    scopes = scopes_of(policy.spec.get("targets") or (), regions)
    stale = _stale(scopes, accounts, run.created_at - freshness)
    if stale and at - run.created_at < LOOK_PATIENCE:
        with transaction():
            ask_for_looks(stale, accounts, at)
        return 0
    late = [
        Problem(f"{account}/{region}", "stale-look", f"{account}/{region} could not be looked at: {why}")
        for account, region, _, why in stale
    ]
    _plan(run, policy, accounts, late, at)
    return 1


def _stale(
    scopes: set[tuple[str, str, str]], accounts: dict[str, Account], since: datetime
) -> list[tuple[str, str, str, str]]:
    """Scopes without a successful look since then, each with the reason."""
    names = {row.id: name for name, row in accounts.items()}
    scans = {
        (names[scan.account_id], scan.region, scan.service): scan
        for scan in Scan.select().where(Scan.account.in_(list(names)))
    }
    stale = []
    for scope in sorted(scopes):
        scan = scans.get(scope)
        if scan is None or scan.finished_at is None or scan.finished_at < since:
            stale.append((*scope, scan.error_text if scan and scan.error_text else "no answer yet."))
    return stale


def ask_for_looks(scopes: Sequence[tuple[str, str, str, str]], accounts: dict[str, Account], at: datetime) -> list[int]:
    """Wake the discover job of each scope, unless one failed only a moment ago; call inside a transaction."""
    woken = []
    for account, region, service, _ in scopes:
        row = accounts[account]
        scan = Scan.get_or_none(Scan.account == row.id, Scan.region == region, Scan.service == service)
        if scan is not None and scan.wanted_at is not None and at - scan.wanted_at < timedelta(seconds=30):
            continue
        Scan.insert(account=row.id, region=region, service=service, wanted_at=at).on_conflict(
            conflict_target=[Scan.account, Scan.region, Scan.service], update={Scan.wanted_at: at}
        ).execute()
        types = [name for name, kind in TYPES.items() if kind.service == service and kind.cloud == row.cloud]
        woken.append(wake("discover", Lane.DISCOVER, row.id, region, service, at, {"types": types}))
    return woken


def _plan(run: Run, policy: Policy, accounts: dict[str, Account], late: list[Problem], at: datetime) -> None:
    ids = {name: row.id for name, row in accounts.items()}
    resolved = resolve(policy.spec.get("targets") or (), resource_facts(policy.spec.get("targets") or (), ids))
    if run.only:
        resolved = _only(resolved, run.only)
    with transaction():
        taken = (
            Run.update(state=RunState.OPEN, planned_at=at, targets=len(resolved.targets))
            .where(Run.id == run.id, Run.state == RunState.RESOLVING)
            .execute()
        )
        if not taken:
            return  # another coordinator planned it
        rows = plan_snapshots(
            policy_facts(policy),
            run.id,
            run.slot_at.isoformat(),
            run.trigger == "manual",
            resolved.targets,
            ids,
            _imaged(policy),
        )
        add_jobs(_ordered(rows), at)
        problems = [problem.to_json() for problem in (*resolved.problems, *late)]
        if not rows and not problems:
            problems = [Problem(policy.name, "no-targets", "No resource matches this policy's targets.").to_json()]
        Run.update(problems=problems).where(Run.id == run.id).execute()
        reach("coordinator.plan-before-commit")
    reach("coordinator.plan-committed")


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
    open_jobs = Job.select(Job.resource, Job.spec).where(
        Job.kind == "snapshot", Job.state.in_(list(JOB_OPEN)), Job.resource.is_null(False)
    )
    return frozenset(
        {row.resource_id for row in good} | {job.resource_id for job in open_jobs if job.spec.get("mode") == "image"}
    )

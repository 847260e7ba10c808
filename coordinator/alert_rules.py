"""What is worth telling an operator: pure rules over facts. A rule names conditions; it does not know what is open.

A condition's key is `family:subject`. While the same key comes out of an evaluation the alert stays open; the first
evaluation without it ends the alert. So a resource that fails every night is one alert, not one for each run.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from coordinator.ahead import WrongClock
from coordinator.undone import FailedUndo
from tasks.catalog.drift import DriftedPlace
from tasks.catalog.standstill import Standstill

# Above this many failing targets of one policy, one alert tells of all: the cause is common, and hundreds of calls to
# a pager hide it.
TARGETS_ONE_BY_ONE = 20
# An alert that tells of many targets names so many: enough to begin with, and a pager shows no more.
TARGETS_NAMED = 3
# Work may wait this long for a worker or for the broker before somebody is told.
UNSERVED_AFTER = timedelta(minutes=1)
STUCK_AFTER = timedelta(minutes=2)
FAMILIES = (
    "target-failing",
    "targets-failing",
    "targets-given-up",
    "run-failed",
    "slots-missed",
    "account-unreachable",
    "dead-letters",
    "no-worker",
    "pool-without-worker",
    "outbox-stuck",
    "restore-left-over",
    "clock-wrong",
)
STALE_FAMILY, LOST_FAMILY, DRIFT_FAMILY, REBUILD_FAMILY = (
    "points-too-old", "points-lost", "tags-drifted", "rebuild-missing"
)  # fmt: skip
SLOW_FAMILIES = (STALE_FAMILY, LOST_FAMILY, DRIFT_FAMILY, REBUILD_FAMILY)  # their facts are looked up once a minute


@dataclass(frozen=True)
class Condition:
    """Something is wrong just now. `severity` is info, warning or critical; texts are one sentence each."""

    key: str
    severity: str
    title: str
    text: str
    detail: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class FailedTarget:
    """A target whose newest attempt at a backup or copy failed for good."""

    policy: str
    account: str
    region: str
    resource: str
    run: int
    code: str
    text: str


@dataclass(frozen=True)
class LaneFact:
    """What waits in a lane. `due_at` is when its oldest ready job became due, `unsent_at` the same for jobs that are
    not published and that no copy limit or chain holds back; None when there is none. `moved_at` is when a message
    of the lane was last published."""

    lane: str
    due_at: datetime | None
    unsent_at: datetime | None
    moved_at: datetime | None
    has_room: bool
    workers: int


@dataclass(frozen=True)
class PoolFact:
    """A worker pool in which jobs wait since `due_at` (machine time) in lanes that nobody takes there."""

    pool: str
    due_at: datetime
    lanes: tuple[str, ...]


@dataclass(frozen=True)
class StalePolicy:
    """A policy with a target that has had no good point since two slots. Calendar times."""

    policy: str
    newest_at: datetime
    due_at: datetime
    targets: int


@dataclass(frozen=True)
class LostPoints:
    """Good recovery points of a policy that somebody else deleted in the cloud, newest loss first, with their
    resources; `text` says what is gone of the first."""

    policy: str
    points: Sequence[tuple[int, str]]
    text: str


@dataclass(frozen=True)
class Facts:
    """What one evaluation looks at."""

    targets: Sequence[FailedTarget] = ()  # of runs that have ended
    given_up: Sequence[FailedTarget] = ()  # of runs that still go on
    runs: Sequence[tuple[str, int, int]] = ()  # policy, run, targets: the newest full run failed for all of them
    missed: Sequence[tuple[str, int, datetime, datetime]] = ()  # policy, slots, first, last
    accounts: Sequence[tuple[str, str]] = ()  # name and why it cannot be entered
    letters: Mapping[str, int] = field(default_factory=dict)  # lane to open dead letters
    lanes: Sequence[LaneFact] = ()
    pools: Sequence[PoolFact] = ()
    stale: Sequence[StalePolicy] = ()
    undos: Sequence[FailedUndo] = ()
    lost: Sequence[LostPoints] = ()
    drifted: Sequence[DriftedPlace] = ()
    unrebuilt: Sequence[str] = ()  # places of which a catalog that took over a lost one's id knows nothing yet
    clock: WrongClock | None = None
    still: Standstill | None = None  # an operator wants that nothing begins


def conditions(facts: Facts, at: datetime) -> list[Condition]:
    """Everything that is wrong at machine time `at`, each key once."""
    found = [
        *_targets(facts.targets),
        *_given_up(facts.given_up, facts.targets),
        *_runs(facts.runs),
        *_missed(facts.missed),
        *_accounts(facts.accounts),
        *_letters(facts.letters),
        *_lanes(facts.lanes, facts.still, at),
        *_pools(facts.pools, at),
        *_stale(facts.stale),
        *_undos(facts.undos),
        *_lost(facts.lost),
        *_drifted(facts.drifted),
        *_unrebuilt(facts.unrebuilt),
        *_clock(facts.clock),
    ]
    return list({condition.key: condition for condition in found}.values())


def family_of(key: str) -> str:
    """The family of a condition's key."""
    return key.partition(":")[0]


def _targets(failed: Sequence[FailedTarget]) -> Iterator[Condition]:
    by_policy: dict[str, list[FailedTarget]] = defaultdict(list)
    for one in failed:
        by_policy[one.policy].append(one)
    for policy, group in by_policy.items():
        if len(group) > TARGETS_ONE_BY_ONE:
            codes = ", ".join(sorted({one.code for one in group})[:5])
            yield Condition(
                f"targets-failing:{policy}",
                "critical",
                f"{len(group)} targets of policy {policy} have no new recovery point",
                f"Their last attempts ended with: {codes}. See `snapfleet runs show run-{group[0].run}`.",
                {"policy": policy, "targets": len(group)},
            )
            continue
        for one in group:
            yield Condition(
                f"target-failing:{policy}/{one.account}/{one.region}/{one.resource}",
                "warning",
                f"{one.resource} has no new recovery point under policy {policy}",
                f"run-{one.run} ended with {one.code}: {one.text}",
                {"policy": policy, "account": one.account, "region": one.region, "resource": one.resource},
            )


def _given_up(failed: Sequence[FailedTarget], told: Sequence[FailedTarget]) -> Iterator[Condition]:
    """One condition for each policy and error code; targets that already failed in the run before are told of there."""
    known = {_place(one) for one in told}
    groups: dict[tuple[str, str], dict[tuple[str, ...], FailedTarget]] = defaultdict(dict)
    for one in failed:
        if _place(one) not in known:
            groups[one.policy, one.code].setdefault(_place(one), one)
    for (policy, code), group in groups.items():
        first, count = next(iter(group.values())), len(group)
        names = [one.resource for one in group.values()][:TARGETS_NAMED]
        more = f" and {count - len(names)} more" if count > len(names) else ""
        yield Condition(
            f"targets-given-up:{policy}/{code}",
            "warning",
            f"{count} {'target' if count == 1 else 'targets'} of policy {policy} failed for good: {code}",
            f"run-{first.run} still goes on without {', '.join(names)}{more}. The first ended with: {first.text}",
            {"policy": policy, "code": code, "targets": count, "resources": names},
        )


def _place(one: FailedTarget) -> tuple[str, ...]:
    return one.policy, one.account, one.region, one.resource


def _runs(failed: Sequence[tuple[str, int, int]]) -> Iterator[Condition]:
    for policy, run, targets in failed:
        yield Condition(
            f"run-failed:{policy}",
            "critical",
            f"The last run of policy {policy} failed for all its targets",
            f"run-{run} had {targets} targets and none of them has a new recovery point.",
            {"policy": policy, "run": run},
        )


def _missed(missed: Sequence[tuple[str, int, datetime, datetime]]) -> Iterator[Condition]:
    for policy, count, first, last in missed:
        yield Condition(
            f"slots-missed:{policy}",
            "warning",
            f"Policy {policy} missed {count} slots",
            f"No coordinator was there from {first:%Y-%m-%d %H:%M} to {last:%Y-%m-%d %H:%M} UTC; the newest slot ran.",
            {"policy": policy, "slots": count},
        )


def _accounts(accounts: Sequence[tuple[str, str]]) -> Iterator[Condition]:
    for name, why in accounts:
        text = why or "The last contact failed; check it with `snapfleet doctor`."
        title = f"Account {name} cannot be entered"
        yield Condition(f"account-unreachable:{name}", "critical", title, text, {"account": name})


def _letters(letters: Mapping[str, int]) -> Iterator[Condition]:
    if not letters:
        return
    listed = ", ".join(f"{count} in {lane}" for lane, count in sorted(letters.items()))
    total = sum(letters.values())
    yield Condition(
        "dead-letters:all",
        "warning",
        f"{total} messages could not be read",
        f"They are {listed}; look at them with `snapfleet dead list`.",
        {"lanes": dict(letters)},
    )


def _lanes(lanes: Sequence[LaneFact], still: Standstill | None, at: datetime) -> Iterator[Condition]:
    what = "check the broker."
    if still is not None:
        what = f"{still.who} let the fleet stand still at {still.since:%Y-%m-%d %H:%M} UTC; `snapfleet resume` ends it."
    for lane in lanes:
        if not lane.workers and lane.due_at is not None and at - lane.due_at > UNSERVED_AFTER:
            yield Condition(
                f"no-worker:{lane.lane}",
                "critical",
                f"No worker takes the lane {lane.lane}",
                f"Work has been due since {lane.due_at:%H:%M:%S} UTC; start `snapfleet worker --lanes {lane.lane}` "
                "or undrain one (`snapfleet worker list`).",
                {"lane": lane.lane},
            )
        if lane.unsent_at is None or not lane.has_room or at - lane.unsent_at <= STUCK_AFTER:
            continue
        if lane.moved_at is None or at - lane.moved_at > STUCK_AFTER:
            yield Condition(
                f"outbox-stuck:{lane.lane}",
                "warning" if still else "critical",
                f"Nothing is published in the lane {lane.lane}",
                f"A message has been due since {lane.unsent_at:%H:%M:%S} UTC; {what}",
                {"lane": lane.lane},
            )


def _undos(undos: Sequence[FailedUndo]) -> Iterator[Condition]:
    for one in undos:
        stopped = f"Stopped: {', '.join(one.stopped)}. " if one.stopped else ""
        left = f"Left: {', '.join(one.left)}. " if one.left else ""
        yield Condition(
            f"restore-left-over:restore-{one.restore}",
            "critical",
            f"restore-{one.restore} failed and could not be taken back",
            f"{stopped}{left}{one.error}",
            {"restore": one.restore, "stopped": list(one.stopped), "left": list(one.left)},
        )


def _lost(lost: Sequence[LostPoints]) -> Iterator[Condition]:
    for one in lost:
        named = ", ".join(f"rp-{point} of {resource}" for point, resource in one.points[:TARGETS_NAMED])
        more = f" and {len(one.points) - TARGETS_NAMED} more" if len(one.points) > TARGETS_NAMED else ""
        yield Condition(
            f"{LOST_FAMILY}:{one.policy}",
            "critical",
            f"Recovery points of policy {one.policy} were deleted outside Snapfleet",
            f"{named}{more}. {one.text}",
            {"policy": one.policy, "points": len(one.points)},
        )


def _drifted(drifted: Sequence[DriftedPlace]) -> Iterator[Condition]:
    for one in drifted:
        named = ", ".join(f"{thing.external_id} of rp-{thing.point}" for thing in one.things[:TARGETS_NAMED])
        more = f" and {one.count - TARGETS_NAMED} more" if one.count > TARGETS_NAMED else ""
        where = f"{one.account}, {one.region}"
        yield Condition(
            f"{DRIFT_FAMILY}:{one.account}/{one.region}/{one.service}",
            "warning",
            f"Somebody took off or changed Snapfleet's tags in {where} ({one.service})",
            f"{named}{more}. Nothing without these tags is ever deleted, so it would cost for ever: `snapfleet drift` "
            "lists what to put back.",
            {"account": one.account, "region": one.region, "service": one.service, "things": one.count},
        )


def _unrebuilt(places: Sequence[str]) -> Iterator[Condition]:
    if places:
        more = f" and {len(places) - TARGETS_NAMED} more" if len(places) > TARGETS_NAMED else ""
        yield Condition(
            f"{REBUILD_FAMILY}:catalog",
            "warning",
            "What the lost catalog's installation made is not known at some places",
            f"{', '.join(places[:TARGETS_NAMED])}{more}: points of before cannot be restored, never age, and no "
            "orphans are looked for. Run `snapfleet state rebuild --wait`.",
            {"places": len(places)},
        )


def _pools(pools: Sequence[PoolFact], at: datetime) -> Iterator[Condition]:
    for one in pools:
        if at - one.due_at > UNSERVED_AFTER:
            yield Condition(
                f"pool-without-worker:{one.pool}",
                "critical",
                f"No worker of the pool {one.pool} takes {', '.join(one.lanes)}",
                f"Work has been due since {one.due_at:%H:%M:%S} UTC; start `snapfleet worker --pool {one.pool}` or "
                "undrain one (`snapfleet worker list`), or bind its accounts to another pool.",
                {"pool": one.pool, "lanes": list(one.lanes)},
            )


def _stale(stale: Sequence[StalePolicy]) -> Iterator[Condition]:
    for one in stale:
        yield Condition(
            f"{STALE_FAMILY}:{one.policy}",
            "critical",
            f"Policy {one.policy} is behind: its oldest newest point is too old",
            f"A target has had no good point since {one.newest_at:%Y-%m-%d %H:%M} UTC, "
            f"though slots have come since {one.due_at:%Y-%m-%d %H:%M} UTC.",
            {"policy": one.policy, "targets": one.targets},
        )


def _clock(wrong: WrongClock | None) -> Iterator[Condition]:
    if wrong is not None:
        yield Condition(
            "clock-wrong:schedules",
            "critical",
            f"The clock was wrong: {wrong.schedules} schedules stood in the future",
            f"They stood as far ahead as {wrong.furthest:%Y-%m-%d %H:%M} UTC and were set back at "
            f"{wrong.noticed_at:%Y-%m-%d %H:%M} UTC; slots after that time run again.",
            {"schedules": wrong.schedules},
        )

"""What must be true when a simulated fleet has healed: judged from the cloud and the catalog, not from what it says."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from tasks.catalog import Creation, Job, MissedSlots, Part, Point, Policy, Resource, Restore, Run, rows
from tasks.states import JobState, OperationState, PointState, RestoreState, RunState
from tests.fakes.cloud import Thing
from tests.sim.cloud import SimCloud
from workers import driver


@dataclass
class Verdict:
    """Four figures that must be zero, each with its stories, and what else should not be."""

    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    dangling: list[str] = field(default_factory=list)
    below_floor: list[str] = field(default_factory=list)
    defects: list[str] = field(default_factory=list)

    @property
    def stories(self) -> list[str]:
        """Everything that is wrong, each with its kind."""
        return [f"{name}: {story}" for name, stories in vars(self).items() for story in stories]

    def figures(self) -> Mapping[str, int]:
        """The four figures."""
        return {name: len(getattr(self, name)) for name in ("lost", "doubled", "dangling", "below_floor")}


class Floor:
    """Watches every deletion: the last good snapshot of a line (policy, source, place) never goes."""

    def __init__(self, cloud: SimCloud, state_of: Any) -> None:
        self._cloud, self._state_of = cloud, state_of
        self.broken: list[str] = []
        cloud.on_remove = self._judge

    def _judge(self, thing: Thing) -> None:
        if thing.kind != "snapshot" or self._state_of(thing) is not OperationState.DONE:
            return
        line = self._line(thing)
        others = [
            one
            for one in self._cloud.of_kind("snapshot")
            if one is not thing and self._line(one) == line and self._state_of(one) is OperationState.DONE
        ]
        if not others:
            self.broken.append(f"{thing.id} was the last one of {line}")

    def _line(self, thing: Thing) -> tuple[Any, ...]:
        return thing.doc["tags"].get(driver.TAG_POLICY), thing.doc["source"], thing.account, thing.region


def judge(
    cloud: SimCloud, floor: Floor, slots: Mapping[str, list[datetime]], targets: Mapping[str, set[str]]
) -> Verdict:
    """Judge a healed fleet; call inside a session. `slots` and `targets` by policy are what there should have been."""
    found = Verdict(below_floor=list(floor.broken))
    for policy in Policy.select():
        found.lost += _missing_slots(policy, slots[policy.name])
        found.lost += _missing_points(policy, targets[policy.name])
    found.lost += _missing_copies() + _unfinished()
    found.doubled = _twins() + _unknown_to_the_catalog(cloud)
    found.dangling = _dangling(cloud)
    return found


def _missing_slots(policy: Policy, due: list[datetime]) -> list[str]:
    started = {slot for (slot,) in rows(Run.select(Run.slot_at).where(Run.policy == policy.id))}
    missed = [(row.first_at, row.last_at) for row in MissedSlots.select().where(MissedSlots.policy == policy.id)]
    return [
        f"{policy.name} at {slot:%H:%M}: no run, and not recorded as missed"
        for slot in due
        if slot not in started and not any(first <= slot <= last for first, last in missed)
    ]


def _missing_points(policy: Policy, targets: set[str]) -> list[str]:
    """A finished run has a point that was good of every target, or says why not: an earlier backup stood for it."""
    lost = []
    for run in Run.select().where(Run.policy == policy.id, Run.state != RunState.CANCELLED, Run.cancelled_at.is_null()):
        good = (
            Point.select(Resource.external_id)
            .join(Resource)
            .where(Point.run == run.id, Point.destination == "", Point.completed_at.is_null(False))
        )
        stood = Job.select(Resource.external_id).join(Resource).where(Job.run == run.id, Job.error_code == "overlapped")
        have = {name for (name,) in rows(good)} | {name for (name,) in rows(stood)}
        if any(problem["code"] == "stale-look" for problem in run.problems):
            have = targets  # nobody could look for minutes, and the run says so
        lost += [
            f"run-{run.id} ({run.state}, {run.problems}) has no good point of {name}" for name in sorted(targets - have)
        ]
    return lost


def _missing_copies() -> list[str]:
    failed = Job.select(Job.id, Job.error_code).where(Job.kind == "copy", Job.state != JobState.DONE)
    planned = {spec["point"] for (spec,) in rows(Job.select(Job.spec).where(Job.kind == "copy"))}
    primaries = (
        Point.select(Point.id, Policy.spec)
        .join(Policy)
        .switch(Point)
        .join(Run)
        .where(Point.destination == "", Point.completed_at.is_null(False), Run.cancelled_at.is_null())
    )
    lost = [f"copy job {number} ended without success ({code})" for number, code in rows(failed)]
    return lost + [
        f"rp-{number} was never copied" for number, spec in rows(primaries) if spec.get("dr") and number not in planned
    ]


def _unfinished() -> list[str]:
    open_ = Restore.select(Restore.id, Restore.state).where(
        Restore.state.not_in([RestoreState.DONE, RestoreState.FAILED])
    )
    return [f"restore-{number} is still {state}" for number, state in rows(open_)]


def _twins() -> list[str]:
    """Runs with more than one point, that is or was good, of one resource in one place; slots with two runs."""
    good = rows(
        Point.select(Point.run, Point.resource, Point.destination).where(
            Point.completed_at.is_null(False), Point.kind != "intermediate"
        )
    )
    slots = rows(Run.select(Run.policy, Run.slot_at).where(Run.trigger == "schedule"))
    return [f"run-{run} has {n} points of {what} at {where!r}" for (run, what, where), n in _more(good)] + [
        f"policy {policy} has {n} runs at {slot:%H:%M}" for (policy, slot), n in _more(slots)
    ]


def _more(keys: list[Any]) -> list[tuple[Any, int]]:
    return [(key, count) for key, count in Counter(keys).items() if count > 1]


def _unknown_to_the_catalog(cloud: SimCloud) -> list[str]:
    """What exists with our tag and belongs to no point that is there, and to no restore."""
    gone = [PointState.DELETED, PointState.LOST]
    parts = Part.select(Part.external_id).join(Point).where(Point.state.not_in(gone))
    made = Creation.select(Creation.external_id).where(Creation.removed_at.is_null())
    known = {one for (one,) in rows(parts)} | {one for (one,) in rows(made)}
    return [
        f"nobody knows {one.id} of {one.doc.get('source', one.kind)} with the key {one.key}"
        for one in cloud.things.values()
        if one.key and one.id not in known
    ]


def _dangling(cloud: SimCloud) -> list[str]:
    good = rows(Part.select(Point.id, Part.external_id).join(Point).where(Point.state == PointState.GOOD))
    made = rows(Creation.select(Creation.restore, Creation.external_id).where(Creation.removed_at.is_null()))
    found = [f"rp-{point} points to {one}, which is gone" for point, one in good if cloud.get(one) is None]
    bad = {one.id for one in cloud.of_kind("snapshot") if one.doc.get("fate") == "error"}
    found += [f"rp-{point} is good and {one} is not" for point, one in good if one in bad]
    return found + [f"restore-{number} made {one}, which is gone" for number, one in made if cloud.get(one) is None]


def slots_between(first: datetime, last: datetime, every: timedelta) -> list[datetime]:
    """The slots of a schedule that starts with the hour, after `first` and not after `last`: counted, not asked for."""
    count = int((last - first) / every)
    return [first + every * number for number in range(1, count + 1)]

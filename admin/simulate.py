"""What a retention rule would keep: slots of schedules to come become points, and the rule that acts judges them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from heapq import merge
from typing import Any
from zoneinfo import ZoneInfo

from admin.queries import Row, find_policy, near
from coordinator.due import Grid, count_slots, slots_between
from coordinator.retention import PointFact, Rule, plan_expiry, simulate
from coordinator.rules import rules_of
from tasks.catalog import Policy, PolicySchedule, Schedule, session
from tasks.errors import Invalid
from tasks.states import PointState

# Ten years of a quarter-hourly schedule take half a minute; more is a mistake in --until.
MOST_SLOTS = 400_000
NOT_DELETED = Policy.deleted_at.is_null()


@dataclass(frozen=True)
class Scene:
    """A rule and the grids whose slots it judges."""

    rule: Rule
    grids: tuple[Grid, ...]


def list_rules() -> list[Row]:
    """The rule of each policy, and of the places whose copies have their own."""
    with session():
        found = [(row.name, *rules_of(row)) for row in Policy.select().where(NOT_DELETED).order_by(Policy.name)]
    return [
        {
            "policy": name,
            "destination": place,
            "generations": used.generations,
            "keep": dict(used.keep),
            "keep_days": used.keep_for.days if used.keep_for else None,
            "time_zone": used.zone,
        }
        for name, rule, places in found
        for place, used in [("", rule), *sorted(places.items())]
    ]


def scene_of(policy: str, schedules: Sequence[str], generations: int | None, keep: Mapping[str, int]) -> Scene:
    """A policy's rule and schedules, with what is given instead of the policy's own.

    Raises Invalid for names that are not there, for a rule that keeps everything, and where no slot can be made.
    """
    with session():
        rule, names = Rule(), list(schedules)
        if policy:
            row = find_policy(policy)
            rule, own = rules_of(row)[0], PolicySchedule.select().where(PolicySchedule.policy == row.id)
            names = names or [one.schedule.name for one in own]
        grids = tuple(_grid(name) for name in dict.fromkeys(names))
    if not grids:
        raise Invalid("There is no schedule to take slots from.", advice="Name one with --schedule.")
    if generations is not None or keep:
        rule = replace(rule, generations=generations, keep=dict(keep), zone=grids[0].time_zone)
    if not rule.tiers:
        raise Invalid("This rule keeps everything.", advice="Give --generations or --keep.")
    return Scene(rule, grids)


def _grid(name: str) -> Grid:
    row = Schedule.get_or_none(Schedule.name == name)
    if row is None:
        names = [other.name for other in Schedule.select(Schedule.name)]
        raise Invalid(f"There is no schedule {name!r}.", advice=near(name, names) or "See `snapfleet schedules`.")
    return Grid.from_spec(row.spec)


def simulate_retention(scene: Scene, begin: datetime, until: datetime) -> dict[str, Any]:
    """One healthy target under the rule, a point for each slot in (begin, until], retention judged daily.

    `kept` has what is left at `until`, newest first, each with its reasons; `most` is the most points at any time.
    """
    total = sum(count_slots(grid, begin, until) for grid in scene.grids)
    if total > MOST_SLOTS:
        raise Invalid(f"There are {total} slots until then; at most {MOST_SLOTS} are simulated.")
    steps, kept = simulate(scene.rule, _slots(scene.grids, begin, until), until)
    return {
        "rule": {"generations": scene.rule.generations, "keep": dict(scene.rule.keep), "time_zone": scene.rule.zone},
        "begin_at": begin,
        "until": until,
        "taken": sum(len(step.taken) for step in steps),
        "expired": sum(len(step.expired) for step in steps),
        "most": max((step.kept for step in steps), default=0),
        "kept": _reasons(scene, kept, until),
    }


def _slots(grids: Sequence[Grid], begin: datetime, until: datetime) -> Iterator[datetime]:
    """The slots of all grids in order; schedules that meet make one run."""
    last = None
    for slot in merge(*(slots_between(grid, begin, until) for grid in grids)):
        if slot != last:
            yield slot
        last = slot


def _reasons(scene: Scene, kept: Sequence[datetime], until: datetime) -> list[Row]:
    zone = ZoneInfo(scene.rule.zone)
    facts = [PointFact(number, "simulated", slot, PointState.GOOD) for number, slot in enumerate(kept)]
    verdicts = plan_expiry(facts, scene.rule, until).verdicts
    return [
        {
            "slot_at": fact.taken_at,
            "local": f"{fact.taken_at.astimezone(zone):%a %Y-%m-%d %H:%M %Z}",
            "reasons": [{"code": reason.code, "text": reason.text} for reason in verdicts[fact.id].reasons],
        }
        for fact in reversed(facts)
    ]

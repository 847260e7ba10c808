"""Which archives move to a cold storage class, by their policies. Pure but for `moves_of`, which reads.

A cold class costs a tenth or less to keep, and hours and money to read. Only what a policy's `archive` block says
moves, and never back.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from coordinator.interval import Interval
from tasks.catalog import Part, Point, Policy, rows
from tasks.catalog.archives import ARCHIVE, repository_destination
from tasks.states import PointState

# The estate's words for the classes of Amazon S3 and Azure Blob.
CLASSES = {"glacier": "GLACIER", "deep-archive": "DEEP_ARCHIVE", "archive": "ARCHIVE"}


@dataclass(frozen=True)
class ColdRule:
    """An archive moves once it is `after` old and beyond the `generations` newest of its resource, where given."""

    storage_class: str
    after: timedelta | None = None
    generations: int | None = None

    @classmethod
    def of(cls, spec: Mapping[str, object]) -> "ColdRule | None":
        """The rule of a policy's `repository` block; None when it has none."""
        block = spec.get("archive")
        if not isinstance(block, Mapping) or block.get("class") not in CLASSES:
            return None
        after = Interval.parse(block["after"], "archive.after").duration if block.get("after") else None
        return cls(CLASSES[str(block["class"])], after, block.get("generations"))


@dataclass(frozen=True)
class ArchiveFact:
    """A good archive: which point of which resource, when it was taken, and where its parts lie by now."""

    point: int
    resource: int
    taken_at: datetime
    storage_class: str = ""


def cold_points(facts: Iterable[ArchiveFact], rule: ColdRule, now: datetime) -> list[int]:
    """The points that belong into the rule's class, oldest first, also those that are there already."""
    by_resource: dict[int, list[ArchiveFact]] = defaultdict(list)
    for fact in sorted(facts, key=lambda one: (one.taken_at, one.point), reverse=True):
        by_resource[fact.resource].append(fact)
    chosen = [
        fact
        for line in by_resource.values()
        for rank, fact in enumerate(line, start=1)
        if (rule.after is None or now - fact.taken_at >= rule.after)
        and (rule.generations is None or rank > rule.generations)
    ]
    return [fact.point for fact in sorted(chosen, key=lambda one: (one.taken_at, one.point))]


def moves_of(repository: str, now: datetime) -> dict[str, list[int]]:
    """By class, the points of a repository that belong there; empty when all of them are there."""
    found: dict[str, list[int]] = defaultdict(list)
    due = False
    for policy in Policy.select().where(Policy.deleted_at.is_null()):
        block = policy.spec.get("repository") or {}
        rule = ColdRule.of(block) if block.get("name") == repository else None
        if rule is None:
            continue
        facts = {fact.point: fact for fact in _facts(policy, repository)}
        chosen = cold_points(facts.values(), rule, now)
        due = due or any(facts[point].storage_class != rule.storage_class for point in chosen)
        found[rule.storage_class] += chosen
    return {name: points for name, points in found.items() if points} if due else {}


def _facts(policy: Policy, repository: str) -> list[ArchiveFact]:
    mine = (
        (Point.policy == policy.id)
        & (Point.kind == ARCHIVE)
        & (Point.destination == repository_destination(repository))
        & (Point.state == PointState.GOOD)
    )
    classes: dict[int, set[str]] = defaultdict(set)
    for point, attributes in rows(Part.select(Part.point, Part.attributes).join(Point).where(mine)):
        classes[point].add(str(attributes.get("storage_class", "")))
    query = Point.select(Point.id, Point.resource, Point.taken_at).where(mine)
    return [
        ArchiveFact(point, resource, taken_at, next(iter(classes[point])) if len(classes[point]) == 1 else "")
        for point, resource, taken_at in rows(query)
    ]

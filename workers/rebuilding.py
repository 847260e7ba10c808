"""Good recovery points from the tags of what lies in the clouds, for a catalog that was lost without a backup.

What one attempt made and the cloud says is complete is a good point again, as the attempt would have written it: where
it lies, what it consists of, when it was begun, of what and for which policy. What the tags do not tell is taken from
the resource as it is known now, and the point says so. What is not complete, or was made twice, is a failed point as
orphans are, and held. Retention lets no good one go for `REST`: what was held in the lost catalog nobody knows here.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from tasks.catalog import Job, Part, Point, Resource, rows
from tasks.catalog.archives import ARCHIVE
from tasks.catalog.point import PARTS_MISSING
from tasks.resources import TYPES
from tasks.states import PointState
from workers import driver, fence, orphans
from workers.context import Context
from workers.handlers.discover import storable
from workers.tagged import HELD, Attempt, attempts, keeper, place_of_point, policy_of, resource_of, source_of, unknown
from workers.tagged import write_failed as write_orphan

REST = timedelta(days=3)
KEEPER = "adopted:tags"  # the policy of points whose own the estate has not: it has no rule, so nothing of them expires
RUN = "run"  # of a part's attributes: the run that made it, by the name that its catalog had for it
_NOW = "It was written from the cloud's tags: what is recorded of {source} is as on {day}, not as when it was taken."
_UNKNOWN = "Nothing is known of {source} any more: what it consists of can be restored, and not the whole of it."
_NO_DEVICE = "Where {part} belongs is not known: {source} has its volume no more."
_OUTDATED = "It carries the tag of what its account may not delete."
_UNMARK = f"{_OUTDATED} Take {driver.TAG_OUTDATED} off it, and adopt it again."
_TWICE = (
    "{part} was made a second time, and which of them belong together is not known: restore what you need of them with "
    "the cloud's own tools. `snapfleet release` lets them go where they are held."
)


@dataclass
class Sorted:
    """What was found, by what becomes of it: good points, failed ones with the reason, and what still runs."""

    good: list[Attempt] = field(default_factory=list)
    left: list[tuple[Attempt, str]] = field(default_factory=list)
    running: list[Attempt] = field(default_factory=list)


def sort_out(found: Iterable[driver.Tagged], settled: frozenset[str], at: datetime) -> Sorted:
    """Sort what no row knows. `settled` are the keys of jobs that made a good point. Of several attempts of one job
    that are whole the fullest counts, and of these the last: an attempt follows one that failed."""
    out = Sorted()
    whole: dict[tuple[str, str], list[Attempt]] = defaultdict(list)
    for attempt in attempts(found):
        first, twins = _apart(attempt)
        if why := why_not(first):
            young = not all(one.complete for one in first.members) and first.began_at > at - orphans.GRACE
            out.running.append(first) if young else out.left.append((attempt, why))
        else:
            whole[first.source, first.job].append(first)
            out.left += [(twins, "It was made twice.")] if twins is not None else []
    for some in whole.values():
        *older, newest = sorted(some, key=lambda one: (len(one.members), one.epoch))
        taken = newest.job in settled
        out.left += [(one, "Another attempt of its job made a good point.") for one in older]
        out.left += [(newest, "Its job made another point.")] if taken else []
        out.good += [] if taken else [newest]
    out.good.sort(key=lambda one: (bool(one.copied_from), one.began_at))  # a copy after what it is of
    return out


def why_not(attempt: Attempt) -> str:
    """Why what an attempt made is no good point; '' when it is one."""
    unfinished = [one.external_id for one in attempt.members if not one.complete]
    if unfinished:
        return f"The cloud does not say that {unfinished[0]} is complete."
    if not attempt.tags.get(driver.TAG_POLICY):
        return "It was made for no policy: a restore or a repository had a use for it."
    return ""


def why_no_orphan(attempt: Attempt, destination: str) -> str:
    """Why an orphan at a destination is no good point, and what to do; '' when it is one."""
    if any(driver.TAG_OUTDATED in one.tags for one in attempt.members):
        return _UNMARK
    twins = _apart(attempt)[1]
    twice = _TWICE.format(part=twins.members[0].external_id) if twins is not None else ""
    return why_not(attempt) or twice or why_no_copy(attempt, destination)


def why_no_copy(attempt: Attempt, destination: str) -> str:
    """Why what is a copy is no good point beside what the catalog has; '' when it is one, or no copy."""
    source = source_of(attempt)
    if source is None:
        return ""
    if _has_copy(source, destination):
        return f"rp-{source.id} has a copy there already."
    lacking = Part.select().where(Part.point == source.id).count() - len(attempt.snapshots)
    return f"It lacks {lacking} of the parts of rp-{source.id}." if lacking > 0 else ""


def _apart(attempt: Attempt) -> tuple[Attempt, Attempt | None]:
    """What an attempt made, and what it made a second time: a call whose answer was lost and that went out again."""
    first: dict[str, driver.Tagged] = {}
    for one in sorted(attempt.members, key=lambda one: (not one.complete, one.began_at, one.external_id)):
        origin = one.attributes.get("source_snapshot") or one.source_id or one.external_id
        first.setdefault("image" if one.kind == "image" else str(origin), one)
    kept = {one.external_id for one in first.values()}
    twins = tuple(one for one in attempt.members if one.external_id not in kept)
    return Attempt(tuple(one for one in attempt.members if one.external_id in kept)), Attempt(twins) if twins else None


@dataclass
class Tally:
    """What became of a place: points written, what was left as failed, what nothing was made of, and the reasons."""

    points: list[dict[str, Any]] = field(default_factory=list)
    failed: list[dict[str, Any]] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)


def write_all(context: Context, job: Job, finder: driver.Driver, some: Sorted, tally: Tally) -> None:
    """Write points of a few attempts. Call inside a transaction; raises FenceLost."""
    fence.keep(job)
    at = context.clock.timer()
    orphans.note_look(job, at)
    here = [one for attempt in [*some.good, *(one for one, _ in some.left)] for one in attempt.members]
    still = {one.external_id for one in unknown(here, region=job.region)}
    for attempt in some.good:
        if all(one.external_id in still for one in attempt.members):
            _write(context, job, finder, attempt, tally)
    for attempt, why in some.left:
        if all(one.external_id in still for one in attempt.members):
            _leave(context, job, attempt, why, tally)


def _write(context: Context, job: Job, finder: driver.Driver, attempt: Attempt, tally: Tally) -> None:
    resource = resource_of(job, attempt, context.clock.timer())
    if resource is None:
        told = f"{attempt.members[0].external_id}: its tags do not say which resource it is of."
        tally.skipped.append(told)
        return
    where = place_of_point(job, attempt, resource)
    if why := why_no_copy(attempt, where["destination"]):
        _leave(context, job, attempt, why, tally)
        return
    parts, columns = described(context, finder, attempt, resource)
    outdated = any(driver.TAG_OUTDATED in one.tags for one in attempt.members)
    state = PointState.OUTDATED if outdated else PointState.GOOD
    point = Point.create(
        **where,
        **columns,
        **({"expire_code": "outdated", "expire_text": _OUTDATED} if outdated else {}),
        policy=policy_to_keep(context, attempt),
        state=state,
        taken_at=attempt.began_at,
        locked_until_at=context.clock.now() + REST,
    )
    if parts:
        Part.insert_many([{**part, "point": point.id, "state": state} for part in parts]).execute()
    tally.points.append(_told(attempt, where["destination"]))


def policy_to_keep(context: Context, attempt: Attempt) -> int:
    """The policy by whose rules it ages."""
    return policy_of(attempt) or keeper(KEEPER, {"targets": []}, context.clock.now())


def _leave(context: Context, job: Job, attempt: Attempt, why: str, tally: Tally) -> None:
    point = write_orphan(context, job, attempt, held=HELD, warnings=[why])
    told = {**_told(attempt, ""), "why": why}
    if point is None:
        tally.skipped.append(f"{told['parts']}: {why} Its tags do not say which resource it is of.")
        return
    tally.failed.append({**told, "destination": point.destination})


def _told(attempt: Attempt, destination: str) -> dict[str, Any]:
    return {
        "resource": attempt.source,
        "policy": attempt.tags.get(driver.TAG_POLICY, ""),
        "destination": destination,
        "taken_at": attempt.began_at.isoformat(),
        "parts": ", ".join(one.external_id for one in attempt.members),
    }


def _missing(parts: Sequence[Any], attributes: Any) -> dict[str, str]:
    """What says that the resource has more volumes now than the point has parts: excluded ones, new ones, or parts that
    were lost with the catalog. Nobody can tell, so it takes no whole one's place."""
    held = attributes.get("volumes") or attributes.get("disks") or ()
    if len(parts) >= len(held):
        return {}
    return {
        "error_code": PARTS_MISSING,
        "error_text": f"It has {len(parts)} parts, and its resource {len(held)} volumes.",
    }


def _has_copy(source: Point, destination: str) -> bool:
    """Whether there is a copy of a point at a place that was, or is being, made."""
    made = [PointState.CREATING, PointState.GOOD, PointState.EXPIRING]
    query = Point.select().where(Point.copy_of == source.id, Point.destination == destination, Point.state.in_(made))
    return bool(query.exists())


def described(
    context: Context, finder: driver.Driver, attempt: Attempt, resource: Resource
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The parts of a point, and its columns that say what it is like."""
    known = context.resource(resource)
    known = replace(known, attributes=_with_disks(known.attributes))
    parts = [_part(finder, one, known) for one in sorted(attempt.snapshots, key=lambda one: one.external_id)]
    parts.sort(key=lambda part: (part["device"] or "~", part["external_id"]))
    captured = {**known.attributes, "name": known.name, "tags": dict(known.tags)} if known.attributes else {}
    text = (_NOW if captured else _UNKNOWN).format(source=attempt.source, day=f"{context.clock.now():%Y-%m-%d}")
    lost = [part["external_id"] for part in parts if captured.get("volumes") and not part["device"]]
    return parts, {
        "attributes": captured,
        "warnings": [storable(text), *(_NO_DEVICE.format(part=one, source=attempt.source) for one in lost)],
        "size_gib": sum(part["size_gib"] for part in parts),
        "completed_at": max(one.began_at for one in attempt.members),
        **_missing(parts, captured),
    }


def _with_disks(attributes: Any) -> dict[str, Any]:
    """A machine whose disks are resources of their own knows of each what that resource knows, as a backup of it
    does."""
    held = attributes.get("disks") or []
    query = Resource.select(Resource.external_id, Resource.attributes).where(
        Resource.external_id.in_([one.get("id") for one in held])
    )
    known = dict(rows(query)) if held else {}
    return {**attributes, **({"disks": [{**one, **known.get(one.get("id"), {})} for one in held]} if held else {})}


def _part(finder: driver.Driver, one: driver.Tagged, resource: driver.Resource) -> dict[str, Any]:
    one = replace(one, source_id=one.source_id or one.tags.get(driver.TAG_VOLUME, ""))
    part = driver.Part(
        one.external_id, one.source_id, one.device, one.size_gib, one.encrypted, one.kms_key_id, one.attributes
    )
    if isinstance(finder, driver.RebuildsParts):
        part = finder.part_again(one, resource)
    run = one.tags.get(driver.TAG_RUN, "")
    return {
        "external_id": part.external_id,
        "source_id": part.source_id,
        "device": part.device,
        "size_gib": part.size_gib,
        "encrypted": int(part.encrypted),
        "kms_key_id": part.kms_key_id,
        "attributes": storable({**part.attributes, **({RUN: run} if run else {})}),
    }


def link_copies(service: str) -> int:
    """Tie a service's copies to what they are of, wherever both were found and in whichever order: a copy is as old as
    its source, and its parts are of the same volumes. How many. Call inside a transaction."""
    kinds = [name for name, kind in TYPES.items() if kind.service == service]
    loose = [Point.copy_of.is_null(), Point.run.is_null(), Point.destination != "", Point.kind != ARCHIVE]
    linked = 0
    there = Point.state.in_([PointState.GOOD, PointState.OUTDATED])
    for copy in Point.select().join(Resource).where(*loose, there, Resource.type.in_(kinds)).order_by(Point.id):
        parts = list(Part.select().where(Part.point == copy.id))
        source = _source(copy, parts)
        if source is not None:
            same = {"copy_of": source.id, "taken_at": source.taken_at, "consistency": source.consistency}
            linked += Point.update(**same).where(Point.id == copy.id, Point.copy_of.is_null()).execute()
            _fill(parts, source)
    return linked


def _source(copy: Point, parts: Sequence[Part]) -> Point | None:
    """What a copy was made of, by what its parts say; else what the same run made of the same resource at home."""
    said = [part.attributes["source_snapshot"] for part in parts if part.attributes.get("source_snapshot")]
    of_it = Point.select().join(Part).where(Point.resource == copy.resource_id, Point.id != copy.id)
    found: Point | None = of_it.where(Part.external_id.in_(said)).order_by(Point.id).first() if said else None
    runs = {part.attributes.get(RUN) for part in parts} - {None}
    if found is not None or not runs:
        return found
    home = Part.select(Part.point, Part.attributes).join(Point)
    home = home.where(Point.resource == copy.resource_id, Point.destination == "", Point.run.is_null())
    # A run's name is a row's number, which catalogs give again: the nearest before the copy is meant.
    home = home.where(Point.policy == copy.policy_id, Point.taken_at <= copy.taken_at).order_by(Point.taken_at.desc())
    number = next((point for point, attributes in rows(home) if attributes.get(RUN) in runs), None)
    return Point.get_or_none(Point.id == number)


def _fill(parts: Sequence[Part], source: Point) -> None:
    """What a copy's parts lack, those of its source know."""
    first = {part.external_id: part for part in Part.select().where(Part.point == source.id)}
    by_volume = {part.source_id: part for part in first.values() if part.source_id}
    for part in parts:
        of = first.get(part.attributes.get("source_snapshot", "")) or by_volume.get(part.source_id)
        if of is not None:
            kept = {name: value for name, value in of.attributes.items() if name not in ("default_key", RUN)}
            Part.update(
                source_id=part.source_id or of.source_id,
                device=part.device or of.device,
                attributes={**kept, **part.attributes},
            ).where(Part.id == part.id).execute()

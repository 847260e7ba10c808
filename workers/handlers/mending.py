"""Winning back what packs hold that nobody needs any more, and saving what is sound of a damaged repository.

Both go in turns, each of them whole: a worker that dies, or whose slice is over, leaves a repository that the next
turn goes on with.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tasks.catalog import Job, Part, Point, session, transaction
from tasks.catalog.archives import repository_destination
from tasks.catalog.bulk import among
from tasks.catalog.point import BLOCKS_LOST, BLOCKS_LOST_TEXT
from tasks.catalog.transitions import move_parts, move_points
from tasks.states import PointState
from workers import fence
from workers.context import Context
from workers.repositories import Place, go_on_later, locked_until, open_place, slice_end, translated
from workers.repository.compact import CompactPlan, compact, plan_compaction
from workers.repository.generations import read_index
from workers.repository.names import PACKS
from workers.repository.repair import repair
from workers.repository.repository import Repository
from workers.repository.store import Put
from workers.repository.verify import verify

# Bytes of packs that one turn reads: half a minute at the 300 MiB/s that two cores prove.
TURN_BYTES = 8 << 30
# Lost generations, locked packs and objects that are told one by one.
_TOLD = 50
_GIVEN_UP = "A repair of the repository found nothing of it that can be restored."
Facts = dict[str, Any]


def compaction(context: Context, place: Place, job: Job) -> Facts | None:
    """Move what is alive out of packs that are mostly dead, where that pays; None when the next message does the rest.

    Cold packs and those that several volumes share stay, and locked ones, which are told with the end of their lock.
    With `dry_run` only said. The old packs go with a prune after the grace.
    """
    opened, late, spec = open_place(context, place), slice_end(context), job.spec
    with translated():
        plan = plan_compaction(opened)
    done = dict(spec.get("going") or {"moved_bytes": 0, "freed_bytes": 0, "packs": 0})
    left = {"moved_bytes": plan.moved, "freed_bytes": plan.freed, "packs": sum(map(len, plan.packs.values()))}
    if spec.get("dry_run"):
        return {**left, **_held(plan)}
    how = Put(retain_until=locked_until(context, job))
    total = done["moved_bytes"] + plan.moved
    meter = context.meters.begin(job, context.clock.timer(), total, done["moved_bytes"])
    for turn in _turns(plan):
        with translated():
            report = compact(opened, turn, read_index(opened).generations, how)
        places = [place for packs in turn.packs.values() for place in packs]
        won = sum(place.size for place in places) - report.moved
        done = {
            "moved_bytes": done["moved_bytes"] + report.moved,
            "freed_bytes": done["freed_bytes"] + won,
            "packs": done["packs"] + len(places),
        }
        meter.moved_to(done["moved_bytes"])
        if late() and done["packs"] < left["packs"]:
            _later(context, job, done)
            return None
    return {**done, **_held(plan)}


def _held(plan: CompactPlan) -> Facts:
    """What locks keep from being moved: sparse packs, the bytes in them that nobody needs, and when each is free."""
    told = [f"{name}: locked until {until:%Y-%m-%d}" for name, until in sorted(plan.locked.items())]
    return {"locked": len(plan.locked), "locked_bytes": plan.held, "told": told[:_TOLD]}


def _turns(plan: CompactPlan) -> list[CompactPlan]:
    """A plan in pieces of one volume's packs and some gigabytes each."""
    found: list[CompactPlan] = []
    for lineage, packs in sorted(plan.packs.items()):
        piece: dict[Any, int] = {}
        for place, bits in packs.items():
            piece[place] = bits
            if sum(one.size for one in piece) >= TURN_BYTES:
                found.append(CompactPlan({lineage: piece}, 0, 0))
                piece = {}
        if piece:
            found.append(CompactPlan({lineage: piece}, 0, 0))
    return found


def repairing(context: Context, place: Place, job: Job) -> Facts | None:
    """Read every byte; leave out of each generation what is lost, write lost leases anew, give up lost manifests.

    None when the next message does the rest. With `dry_run` only said. Nothing is deleted. A volume of which something
    was lost is archived whole the next time.
    """
    opened, late, spec = open_place(context, place), slice_end(context), job.spec
    with translated():
        stored = sum(one.size for one in opened.store.list(PACKS))
    going = dict(spec.get("going") or {"next": 0, "turns": max(1, stored // TURN_BYTES), "facts": {}})
    meter = context.meters.begin(job, context.clock.timer(), stored, going["facts"].get("read_bytes", 0))
    while going["next"] < going["turns"]:
        with translated():
            facts = _mended(opened, (going["next"], going["turns"]), bool(spec.get("dry_run")))
        going = {**going, "next": going["next"] + 1, "facts": _joined(going["facts"], facts)}
        meter.moved_to(going["facts"]["read_bytes"])
        if late() and going["next"] < going["turns"]:
            _later(context, job, going)
            return None
    lost = dict(sorted(going["facts"]["lost"].items()))
    if not spec.get("dry_run"):
        going["facts"]["points_lost"] = _noted(job, place.name, opened)
    return {**going["facts"], "generations": len(lost), "lost": {name: lost[name] for name in list(lost)[:_TOLD]}}


def _noted(job: Job, name: str, opened: Repository) -> list[str]:
    """The catalog knows what was given up: blocks at their parts, and points of which nothing is left as lost, so that
    retention counts them no more; the latter by name."""
    query = (
        Part.select(Part, Point)
        .join(Point)
        .where(Point.destination == repository_destination(name), Point.state == PointState.GOOD)
    )
    with session():
        parts = list(query)
    with translated():  # after the parts: what is good in the catalog was committed before
        blocks = {one.id: sum(count for _, count in one.lost) for one in read_index(opened).generations}
    gone = [part for part in parts if part.external_id not in blocks]
    with transaction():
        fence.keep(job)
        for part in parts:
            if blocks.get(part.external_id, 0) != part.attributes.get("lost_blocks", 0):
                known = {**part.attributes, "lost_blocks": blocks.get(part.external_id, 0)}
                Part.update(attributes=known).where(Part.id == part.id).execute()
        for code, text, ids in _damaged(parts, blocks):
            Point.update(error_code=code, error_text=text).where(
                among(Point.id, ids), Point.error_code != code
            ).execute()
        for part in gone:
            move_parts(part.point_id, PointState.LOST, [part.external_id])
        whole = {part.point_id for part in parts if part.external_id in blocks}
        lost = sorted({part.point_id for part in gone} - whole)
        move_points(lost, PointState.LOST, error_code="object-missing", error_text=_GIVEN_UP)
    return [f"rp-{number}" for number in lost]


def _damaged(parts: Sequence[Part], blocks: Mapping[str, int]) -> Iterator[tuple[str, str, list[int]]]:
    """Points that are good in part, and those that are whole: the code, the text, and their ids."""
    harmed = {part.point_id for part in parts if blocks.get(part.external_id, 1)}
    yield BLOCKS_LOST, BLOCKS_LOST_TEXT, sorted(harmed)
    yield "", "", sorted({part.point_id for part in parts} - harmed)


def _mended(opened: Repository, turn: tuple[int, int], dry_run: bool) -> Facts:
    found = verify(opened, turn)
    facts = {
        "read_bytes": found.read_bytes,
        "lost": {name: sum(count for _, count in spans) for name, spans in found.affected.items()},
        "described": False,
        "leases": [],
        "given_up": [],
        "told": [f"{one.name}: {one.kind}: {one.detail}" for one in found.problems[:_TOLD]],
    }
    if dry_run or found.sound:
        return facts
    done = repair(opened, found)
    return {**facts, "described": done.described, "leases": done.leases, "given_up": done.given_up}


def _joined(before: Facts, more: Facts) -> Facts:
    """Of all turns; blocks lost are those of each turn, as what one turn gave up the next does not see."""
    lost = dict(before.get("lost", {}))
    for name, blocks in more["lost"].items():
        lost[name] = lost.get(name, 0) + blocks
    lists = {name: list(dict.fromkeys([*before.get(name, ()), *more[name]])) for name in ("leases", "given_up", "told")}
    read, described = before.get("read_bytes", 0) + more["read_bytes"], before.get("described", False)
    return {"read_bytes": read, "described": described or more["described"], "lost": lost, **lists}


def _later(context: Context, job: Job, going: Facts) -> None:
    with transaction():
        fence.keep(job, spec={**job.spec, "going": going})
    go_on_later(context, job)

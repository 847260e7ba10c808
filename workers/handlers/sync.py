"""A bucket is brought in step with the one that its policy names: one job leads, parts copy, and it ends as a point.

Three stages: the source's listing is cut into ranges; parts compare and copy; then, where the policy wants it and the
brake lets it, parts delete what vanished from the source. Deleting comes last, so that a sync that broke off has only
added. The point says where the objects are and, where that bucket keeps versions, as of when.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from tasks.catalog import Account, Job, Part, Point, Resource, Restore, Run, session, transaction
from tasks.catalog.point import SUPERSEDED
from tasks.catalog.syncs import DELETING
from tasks.catalog.transitions import finish_job, move_parts, move_point, move_points
from tasks.crash import reach
from tasks.errors import Gone, Invalid, QuotaReached
from tasks.states import PointState, RestoreState
from workers import driver, fence, points
from workers.buckets import Pair
from workers.context import Context
from workers.repositories import slice_end
from workers.syncing import SHOWN, Lead, again, buckets_of, check_whole

# A share above which deletions look like a mistake rather than like use; as of recovery points (coordinator.brake).
DELETE_MOST = 20
_RESTORING = (RestoreState.REQUESTED, RestoreState.RUNNING, RestoreState.UNDOING)
_SECOND = timedelta(seconds=1)
_GIB = 1 << 30


def run(context: Context, job: Job) -> None:
    """The next stage of the sync that the job leads. Raises the family; FenceLost when overtaken."""
    with session():
        row, source, writer_row = _read(context, job)
        options: Mapping[str, str] = job.spec.get("options", {})
        lead = Lead(context, job, buckets_of(context), context.account(writer_row), writer_row.id)
        reading = _is_read(row.id)
    pair = lead.pair
    if pair is None:
        pair = lead.buckets.prepare(source.account, lead.writer, source, options)
        if reading and not pair.versioned:
            raise QuotaReached(f"A restore reads {pair.target}, which keeps no versions.", code="being-restored")
        if _same_second(lead, pair, row):
            again(job, context.clock.timer(), context.clock.timer() + _SECOND)
            return
        _intend(context, job, row, writer_row, pair)
        lead.begin(pair)
        reach("sync.intended")
    if lead.state.get("wanted", {}).get("stage") != DELETING:
        figures = lead.sums(pair, slice_end(context))
        if figures is None:
            return
        check_whole(figures)
        lead.state["figures"] = figures
        if _wants_deletions(lead, pair, figures, options):
            return
    elif (deleted := lead.done(DELETING)) is not None:
        lead.state["figures"]["deleted"] = deleted["deleted"]
    else:
        return
    _conclude(lead, pair, row)


def _read(context: Context, job: Job) -> tuple[Resource, driver.Resource, Account]:
    """The bucket, and the account that copies: the one that owns the destination."""
    row = Resource.get_or_none(Resource.id == job.resource_id)
    run_row = Run.get_or_none(Run.id == job.run_id)
    if row is None or row.gone_at is not None or run_row is None:
        raise Gone("The bucket does not exist any more.")
    name = job.spec.get("options", {}).get("account", "")
    if not name:
        return row, context.resource(row), row.account
    writer = Account.get_or_none(Account.name == name, Account.enabled)
    if writer is None:
        raise Invalid(f"There is no account {name!r} for the bucket.", advice="Correct the target's options.account.")
    return row, context.resource(row), writer


def _is_read(resource_id: int) -> bool:
    """Whether a restore reads what this sync would write over."""
    query = Restore.select(Restore.id).join(Point)
    return bool(query.where(Point.resource == resource_id, Restore.state.in_(_RESTORING)).exists())


def _place(pair: Pair) -> str:
    """What points call the copies' place; the same for every sync of the bucket to there."""
    return f"s3://{pair.target}/{pair.target_prefix}"


def _same_second(lead: Lead, pair: Pair, row: Resource) -> bool:
    """Versions are dated in whole seconds: what is written in the second in which the last sync ended would seem to be
    of that one."""
    if not pair.versioned:
        return False
    with session():
        last = (
            Part.select(Part.attributes)
            .join(Point)
            .where(Point.resource == row.id, Part.external_id == _place(pair))
            .order_by(Part.id.desc())
            .first()
        )
    if last is None:
        return False
    return lead.buckets.now(lead.writer, pair) <= datetime.fromisoformat(last.attributes["as_of"])


def _intend(context: Context, job: Job, row: Resource, writer: Account, pair: Pair) -> None:
    with session():
        policy_id = Run.get_by_id(job.run_id).policy_id
    points.intend(
        job,
        resource=row.id,
        policy=policy_id,
        account=writer.id,
        region=pair.target_region,
        attributes=row.attributes,
        taken_at=context.clock.now(),
    )


def _wants_deletions(lead: Lead, pair: Pair, figures: dict[str, Any], options: Mapping[str, str]) -> bool:
    """Ask for the last stage if there is something to delete and it may go; else say why not."""
    wanted, vanished, there = options.get("delete", "no"), figures["vanished"], figures["there"]
    by_part = figures.pop("vanished_by_part")
    if wanted == "no" or not vanished:
        return False
    names = ", ".join(figures["vanished_keys"][:SHOWN])
    found = f"{vanished} of {there} objects in {pair.target} vanished from {pair.source}, first {names}"
    most = int(options.get("delete_most", DELETE_MOST))
    if wanted == "dry-run":
        lead.state["warnings"] = [f"Dry run: {found}; they would be deleted."]
        return False
    if not lead.writer.may_delete:
        lead.state["warnings"] = [f"Nothing was deleted: {found}; the account may not delete."]
        return False
    if vanished > max(1, there * most // 100):
        lead.state["warnings"] = [
            f"Nothing was deleted: {found}; at most {most} % may go in one sync. Look why, and raise "
            "options.delete_most if it is right."
        ]
        lead.context.counters.add("snapfleet_deletions_refused_total", reason="brake")
        return False
    ranges = lead.state["wanted"]["ranges"]
    going = [(after, until, count) for (after, until, _), count in zip(ranges, by_part, strict=True) if count]
    lead.ask(pair, DELETING, going)
    return True


def _conclude(lead: Lead, pair: Pair, row: Resource) -> None:
    """The point is good, older ones of an unversioned place are not to be had any more, and the job is done."""
    context, job, figures = lead.context, lead.job, lead.state["figures"]
    as_of = lead.buckets.now(lead.writer, pair).isoformat()
    warnings = lead.state.get("warnings", [])
    if figures["left_out"]:
        warnings = [*warnings, f"{figures['left_out']} objects in archive classes were left out."]
    kept = {name: figures[name] for name in ("objects", "bytes", "copied", "copied_bytes", "deleted", "left_out")}
    place = {
        "bucket": pair.target, "prefix": pair.target_prefix, "region": pair.target_region, "owner": pair.target_owner,
        "versioned": pair.versioned, "opaque": pair.opaque, "as_of": as_of, **kept,
    }  # fmt: skip
    point_id = int(job.point_id or 0)
    with transaction():
        fence.keep(job)
        size = -(-figures["bytes"] // _GIB)
        Part.insert(
            point=point_id, external_id=_place(pair), source_id=row.external_id, size_gib=size, attributes=place
        ).on_conflict_ignore().execute()
        move_parts(point_id, PointState.GOOD)
        captured = {**row.attributes, "name": row.name, "tags": row.tags, "bucket": row.external_id, "sync": place}
        done = {"completed_at": context.clock.now(), "size_gib": size, "attributes": captured, "warnings": warnings}
        move_point(point_id, PointState.GOOD, error_code="", error_text="", **done)
        if not pair.versioned:
            _supersede(job, pair, context.clock.timer())
        finish_job(job, context.clock.timer(), result={"figures": kept}, warnings=warnings)
    reach("sync.recorded")
    context.counters.add("snapfleet_points_completed_total", role="snapshots")


def _supersede(job: Job, pair: Pair, at: datetime) -> None:
    """Points of the same place whose objects were written over by this sync."""
    older = (
        Point.select(Point.id)
        .join(Part)
        .where(
            Part.external_id == _place(pair),
            Point.resource == job.resource_id,
            Point.id != job.point_id,
            Point.state == PointState.GOOD,
        )
    )
    text = f"A later sync has written over it: {pair.target} keeps no versions."
    move_points(
        [row.id for row in older],
        PointState.EXPIRING,
        expire_code=SUPERSEDED,
        expire_text=text,
        marked_at=at,
    )

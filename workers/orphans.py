"""What the cloud holds with our tag and no row knows: a slow look, and a failed recovery point for what it finds.
The same look finds what rows know and the cloud does not hold any more (`workers.missing`).

Such a thing is left when a process freezes between the last question and the creating call, or when a catalog was
restored from yesterday. One paginated question a day for each place in which work is followed. What is younger than a
day is passed over: somebody may still be about to adopt it. What is older becomes a failed recovery point with its
parts, which `snapfleet orphans` lists; retention lets it go as it does with failed attempts, once a later good one
exists, and the cleanup role deletes it. Nothing that carries another installation's tag is ever looked at.
"""

import logging
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from tasks.catalog import (
    Creation,
    Job,
    Operation,
    Part,
    Point,
    Policy,
    Resource,
    meta,
    rows,
    session,
    set_meta,
    transaction,
)
from tasks.errors import SnapfleetError
from tasks.states import JOB_OPEN, PointState
from workers import driver, missing
from workers.context import Context

log = logging.getLogger("snapfleet.worker")

EVERY = GRACE = timedelta(days=1)
ORPHAN = "orphan"  # the error code of such a point
KEEPER = "adopted:orphans"  # the policy of what belongs to none any more
_TEXT = "The cloud holds it with this installation's tag, and no record of it was left."
_EPOCH = re.compile(r"-\d+(/.*)?$")  # what a token has behind its job's key
_TYPES = {"i": "instance", "vol": "volume"}
_MOST = 500  # rows in one question


def look(context: Context, job: Job) -> int:
    """Look at the place of a poll when it is time; how many orphans became points. Never raises the family: the poll
    is good without it, and the next one tries again."""
    finder, at = context.drivers_of(job.service)[0], context.clock.timer()
    if not isinstance(finder, driver.FindsTagged) or not _is_due(job, at):
        return 0
    try:
        with session():
            account = context.account(job.account)
        found = finder.tagged(account, job.region, context.installation)
        if isinstance(finder, driver.SeesPresent):
            missing.look(context, job, finder, account, {one.external_id for one in found})
        old = [one for one in found if one.began_at < at - GRACE]
        with session():
            lost = _unknown(old)
        made = 0
        for one_key in _by_wish(lost).values():
            with transaction():
                made += _adopt(context, job, one_key)
    except SnapfleetError as error:
        log.info("a look for orphans in %s came to nothing: %s", job.region, error.text)
        return 0
    if made:
        log.warning("%d orphans in %s became failed points: see `snapfleet orphans`", made, job.region)
    return made


def _is_due(job: Job, at: datetime) -> bool:
    """Whether the last look here is a day old; then this one is it, so that two polls do not both look."""
    key = f"orphans:{job.account_id}:{job.region}:{job.service}"
    with transaction():
        looked = meta(key)
        if looked and at - datetime.fromisoformat(looked) < EVERY:
            return False
        set_meta(key, at.isoformat())
    return True


def _unknown(found: Sequence[driver.Tagged]) -> list[driver.Tagged]:
    """Those that no part, image, operation or restore names, and no unfinished job may still adopt."""
    ids = [one.external_id for one in found]
    columns = (Part.external_id, Point.image_id, Operation.external_id, Creation.external_id)
    known = {one for column in columns for one in _among(column, ids)}
    keys = sorted({_job_key(one) for one in found})
    open_keys = {
        key
        for start in range(0, len(keys), _MOST)
        for (key,) in rows(
            Job.select(Job.key).where(Job.key.in_(keys[start : start + _MOST]), Job.state.in_(list(JOB_OPEN)))
        )
    }
    return [one for one in found if one.external_id not in known and _job_key(one) not in open_keys]


def _among(column: Any, ids: Sequence[str]) -> Iterable[str]:
    for start in range(0, len(ids), _MOST):
        query: Any = column.model.select(column).where(column.in_(ids[start : start + _MOST]))
        yield from (one for (one,) in query.tuples())


def _job_key(one: driver.Tagged) -> str:
    return _EPOCH.sub("", one.tags.get(driver.TAG_JOB, ""))


def _by_wish(lost: Iterable[driver.Tagged]) -> Mapping[tuple[str, str], list[driver.Tagged]]:
    """What one attempt made is one point: the snapshots of a machine's volumes go together."""
    groups: dict[tuple[str, str], list[driver.Tagged]] = defaultdict(list)
    for one in lost:
        groups[one.tags.get(driver.TAG_SOURCE, ""), one.tags.get(driver.TAG_JOB, "").split("/")[0]].append(one)
    return groups


def _adopt(context: Context, job: Job, members: Sequence[driver.Tagged]) -> int:
    """Write the failed point of one wish; 0 when its tags do not say what it is of."""
    tags, at = members[0].tags, context.clock.timer()
    resource = _resource(job, tags.get(driver.TAG_SOURCE, ""), at)
    if resource is None:
        log.warning("%s in %s carries our tag and does not say what it is of", members[0].external_id, job.region)
        return 0
    home = (resource.account_id, resource.region) == (job.account_id, job.region)
    images = [one.external_id for one in members if one.kind == "image"]
    point = Point.create(
        resource=resource.id,
        policy=_policy(tags.get(driver.TAG_POLICY, ""), at),
        account=job.account_id,
        region=job.region,
        destination="" if home else f"{job.account.name}/{job.region}",
        kind="image" if images else "snapshots",
        state=PointState.FAILED,
        image_id=images[0] if images else "",
        size_gib=sum(one.size_gib for one in members),
        error_code=ORPHAN,
        error_text=_TEXT,
        taken_at=min(one.began_at for one in members),
    )
    parts = [
        {
            "point": point.id,
            "external_id": one.external_id,
            "source_id": one.source_id,
            "size_gib": one.size_gib,
            "state": PointState.FAILED,
        }
        for one in members
        if one.kind != "image"
    ]
    if parts:
        Part.insert_many(parts).on_conflict_ignore().execute()
    return 1


def _resource(job: Job, source: str, at: datetime) -> Resource | None:
    """What it is of, wherever that lies; one that discovery never saw is written as gone."""
    known: Resource | None = (
        Resource.select().where(Resource.external_id == source).order_by(Resource.account != job.account_id).first()
    )
    kind = _TYPES.get(source.split("-", maxsplit=1)[0])
    if known is not None or kind is None:
        return known
    place = {"account": job.account_id, "region": job.region, "type": kind, "external_id": source}
    made: Resource = Resource.create(**place, found_at=at, seen_at=at, gone_at=at)
    return made


def _policy(name: str, at: datetime) -> int:
    """The policy that it was made for, or one that runs never and only holds what belongs to none."""
    known = Policy.get_or_none(Policy.name == name, Policy.deleted_at.is_null())
    known = known or Policy.get_or_none(Policy.name == KEEPER)
    if known is None:
        columns = {"enabled": False, "deleted_at": at, "created_at": at, "changed_at": at}
        known = Policy.create(name=KEEPER, spec={"targets": [], "generations": 1}, **columns)
    return int(known.id)

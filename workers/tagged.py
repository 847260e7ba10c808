"""What carries our tag in a cloud and no row knows, and the rows made of it: the failed point of an orphan, and
what a catalog that is written again (`workers.rebuilding`) shares with that.
"""

import logging
import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from tasks.catalog import Account, Creation, Job, Operation, Part, Point, Policy, Resource, rows
from tasks.catalog.point import ORPHAN
from tasks.resources import TYPES
from tasks.states import JOB_OPEN, JobState, PointState
from workers import driver
from workers.context import Context
from workers.handlers.discover import storable

log = logging.getLogger("snapfleet.worker")

KEEPER = "adopted:orphans"  # the policy of what belongs to none any more
# Of what was begun before a catalog was lost or put back: it may be whole, and nobody knows here.
HELD = "made before this catalog was put back: adopt it, or release it to let it go"
_TEXT = "The cloud holds it with this installation's tag, and no record of it was left."
_EPOCH = re.compile(r"-\d+(/.*)?$")  # what a token has behind its job's key
_MOST = 500  # rows in one question


@dataclass(frozen=True)
class Attempt:
    """What one attempt of a job made, which is one point: the snapshots of a machine's volumes go together."""

    members: tuple[driver.Tagged, ...]

    @property
    def tags(self) -> Mapping[str, str]:
        return self.members[0].tags

    @property
    def source(self) -> str:
        return self.tags.get(driver.TAG_SOURCE, "")

    @property
    def job(self) -> str:
        """The key of the job, which its attempts share."""
        return job_key(self.members[0])

    @property
    def epoch(self) -> int:
        """Which attempt it was."""
        token = self.tags.get(driver.TAG_JOB, "").split("/")[0]
        return int(token.rpartition("-")[2] or 0) if _EPOCH.search(token) else 0

    @property
    def image(self) -> str:
        return next((one.external_id for one in self.members if one.kind == "image"), "")

    @property
    def snapshots(self) -> list[driver.Tagged]:
        return [one for one in self.members if one.kind != "image"]

    @property
    def copied_from(self) -> list[str]:
        """What a copy is a copy of, where the cloud tells; nothing for what was made where the resource lies."""
        found = (one.attributes.get("source_snapshot") for one in self.members)
        return sorted({str(one) for one in found if one})

    @property
    def home(self) -> tuple[str, str] | None:
        """Account number and region of what it is of, where the cloud tells."""
        return self.members[0].home

    @property
    def began_at(self) -> datetime:
        return min(one.began_at for one in self.members)


def job_key(one: driver.Tagged) -> str:
    """The key of the job that made something."""
    return _EPOCH.sub("", one.tags.get(driver.TAG_JOB, ""))


def attempts(found: Iterable[driver.Tagged]) -> list[Attempt]:
    """Things by the attempt that made them."""
    groups: dict[tuple[str, str], list[driver.Tagged]] = defaultdict(list)
    for one in found:
        groups[one.tags.get(driver.TAG_SOURCE, ""), one.tags.get(driver.TAG_JOB, "").split("/")[0]].append(one)
    return [Attempt(tuple(members)) for members in groups.values()]


def unknown(
    found: Sequence[driver.Tagged], states: Collection[JobState] = JOB_OPEN, region: str = ""
) -> list[driver.Tagged]:
    """Those that no part, image, operation or restore names, and that were made for no job in these states: an
    unfinished one may still adopt them. With a `region` only what is known there counts: a copy that a warehouse
    carries to another one has its source's name."""
    ids = [one.external_id for one in found]
    here = Part.point.in_(Point.select(Point.id).where(Point.region == region)) if region else None
    columns = (
        (Part.external_id, here),
        (Point.image_id, None),
        (Operation.external_id, Operation.region == region if region else None),
        (Creation.external_id, None),
    )
    known = {one for column, where in columns for one in _among(column, ids, where)}
    keys = sorted({job_key(one) for one in found})
    taken = {
        key
        for start in range(0, len(keys), _MOST)
        for (key,) in rows(
            Job.select(Job.key).where(Job.key.in_(keys[start : start + _MOST]), Job.state.in_(list(states)))
        )
    }
    return [one for one in found if one.external_id not in known and job_key(one) not in taken]


def made_good(found: Sequence[driver.Tagged], region: str) -> frozenset[str]:
    """The keys of jobs that made a point in a region of which something is among these, unless that point failed."""
    ids = [one.external_id for one in found]
    good = Point.select(Point.id).where(Point.state != PointState.FAILED, Point.region == region)
    known = {*_among(Part.external_id, ids, Part.point.in_(good)), *_among(Point.image_id, ids, Point.id.in_(good))}
    return frozenset(job_key(one) for one in found if one.external_id in known)


def _among(column: Any, ids: Sequence[str], where: Any = None) -> Iterable[str]:
    for start in range(0, len(ids), _MOST):
        some = column.in_(ids[start : start + _MOST])
        query: Any = column.model.select(column).where(some if where is None else some & where)
        yield from (one for (one,) in query.tuples())


def write_failed(context: Context, job: Job, attempt: Attempt, **columns: Any) -> Point | None:
    """The failed point of what is left over at a job's place; None when its tags do not say what it is of."""
    at = context.clock.timer()
    resource = resource_of(job, attempt, at)
    if resource is None:
        first = attempt.members[0].external_id
        log.warning("%s in %s carries our tag and does not say what it is of", first, job.region)
        return None
    point: Point = Point.create(
        **place_of_point(job, attempt, resource),
        policy=policy_of(attempt) or keeper(KEEPER, {"targets": [], "generations": 1}, at),
        state=PointState.FAILED,
        size_gib=sum(one.size_gib for one in attempt.members),
        error_code=ORPHAN,
        error_text=_TEXT,
        taken_at=attempt.began_at,
        **columns,
    )
    parts = [
        {
            "point": point.id,
            "external_id": one.external_id,
            "source_id": one.source_id,
            "size_gib": one.size_gib,
            "state": PointState.FAILED,
        }
        for one in attempt.snapshots
    ]
    if parts:
        Part.insert_many(parts).on_conflict_ignore().execute()
    return point


def place_of_point(job: Job, attempt: Attempt, resource: Resource) -> dict[str, Any]:
    """Columns of a point that say what it is, of what, and where it lies."""
    here = (resource.account_id, resource.region) == (job.account_id, job.region)
    here = here and _is_home(attempt, job.account, job.region)
    return {
        "resource": resource.id,
        "account": job.account_id,
        "region": job.region,
        "destination": "" if here and not attempt.copied_from else f"{job.account.name}/{job.region}",
        "kind": "image" if attempt.image else "snapshots",
        "image_id": attempt.image,
    }


def resource_of(job: Job, attempt: Attempt, at: datetime) -> Resource | None:
    """What it is of, wherever that lies; one that discovery never saw is written as gone. None where the tags name
    nothing, or more than one thing: names are not the clouds' alone."""
    told, source = attempt.members[0].type, attempt.source
    kinds = [told] if told else [name for name, kind in TYPES.items() if kind.service == job.service]
    known = list(Resource.select().where(Resource.external_id == source, Resource.type.in_(kinds))) if source else []
    known = [one for one in known if _is_home(attempt, one.account, one.region)]
    first = source_of(attempt)
    choices = (
        [one for one in known if first is not None and one.id == first.resource_id],
        [one for one in known if (one.account_id, one.region) == (job.account_id, job.region)],
        [one for one in known if one.gone_at is None],
        known,
    )
    chosen = next((some for some in choices if some), [])
    if chosen or not source or len(kinds) > 1:
        return chosen[0] if len(chosen) == 1 else None
    number, region = attempt.home or ("", job.region)
    owner = Account.get_or_none(Account.number == number) if number else None
    place = {"account": owner or job.account_id, "region": region, "type": kinds[0], "external_id": storable(source)}
    made: Resource = Resource.create(**place, found_at=at, seen_at=at, gone_at=at)
    return made


def _is_home(attempt: Attempt, account: Account, region: str) -> bool:
    """Whether what an attempt is of may lie there; an account whose number nobody wrote down may be any."""
    number, where = attempt.home or ("", region)
    return region == where and number in ("", account.number or number)


def source_of(attempt: Attempt) -> Point | None:
    """The point that a copy is of, where the catalog has it."""
    query = Point.select().join(Part).where(Part.external_id.in_(attempt.copied_from)).order_by(Point.id)
    found: Point | None = query.first() if attempt.copied_from else None
    return found


def policy_of(attempt: Attempt) -> int | None:
    """The policy that it was made for, while the estate has it."""
    name = attempt.tags.get(driver.TAG_POLICY, "")
    known = Policy.get_or_none(Policy.name == name, Policy.deleted_at.is_null()) if name else None
    return int(known.id) if known else None


def keeper(name: str, spec: Mapping[str, Any], at: datetime) -> int:
    """A policy that runs never and only holds what belongs to none."""
    columns = {"enabled": False, "deleted_at": at, "created_at": at, "changed_at": at}
    known = Policy.get_or_none(Policy.name == name)
    if known is None:  # another place's job may write it at this moment
        Policy.insert(name=name, spec=dict(spec), **columns).on_conflict_ignore().execute()
    return int((known or Policy.get(Policy.name == name)).id)

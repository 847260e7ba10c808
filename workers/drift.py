"""Things of points whose tags somebody took off or changed: found by the daily look, told of until they are put back.

Cleanup deletes only what carries this installation's tag, and a lost catalog is written again from the tags of source
and job: what carries others stays for ever, costs for ever, and is not found again. No role may put a tag on what
carries none of ours, so that people do (runbook tags-drifted).
"""

import logging
import re
from collections.abc import Collection, Mapping

from tasks.catalog import Job, Point, Resource, rows, session, transaction
from tasks.catalog.drift import Drifted, note_drift
from tasks.states import PointState
from workers import driver
from workers.context import Context

log = logging.getLogger("snapfleet.worker")

_LONGEST = 256  # of a tag's value: what is longer was cut
_CHANGED = re.compile(
    r"[^\w.]"
)  # of other characters some services take only a few, and the rest was written as others
_MAKERS = ("snapshot", "copy")  # the kinds of jobs whose key is a point's tag


def look(context: Context, job: Job, things: Mapping[int, Collection[str]], told: driver.Presence) -> int:
    """Compare the tags of a place's points with what the catalog knows of them, and note the difference; how many
    differ. Of what is not `told`, or told without tags, nothing is judged."""
    with session():
        wanted = _wanted(context, job)
    found = []
    for point in sorted(things.keys() & wanted.keys()):
        for one in sorted(things[point]):
            tags = told.get(one)
            wrong = _wrong(tags, wanted[point]) if tags is not None else {}
            if wrong:
                found.append(Drifted(one, point, wrong))
    with transaction():
        note_drift(job.account_id, job.region, job.service, found)
    if found:
        log.warning("%d things of points in %s do not carry their tags: see `snapfleet drift`", len(found), job.region)
    return len(found)


def _wanted(context: Context, job: Job) -> dict[int, dict[str, str]]:
    """The tags that the things of each point of a place are to carry. Of whose job nothing is known, none of a job."""
    held = [PointState.GOOD, PointState.EXPIRING]
    place = [Point.account == job.account_id, Point.region == job.region, Point.state.in_(held)]
    points = rows(Point.select(Point.id, Resource.external_id).join(Resource).where(*place))
    wanted: dict[int, dict[str, str]] = {
        point: {driver.TAG_INSTALLATION: context.installation, driver.TAG_SOURCE: source} for point, source in points
    }
    made = Job.select(Job.point_id, Job.key, Job.epoch).join(Point, on=(Job.point_id == Point.id))
    for point, key, epoch in rows(made.where(*place, Job.kind.in_(_MAKERS))):
        wanted[point][driver.TAG_JOB] = f"{key}-{epoch}"
    return wanted


def _wrong(tags: Mapping[str, str], wanted: Mapping[str, str]) -> dict[str, str]:
    """Those of the wanted tags that are others or none."""
    return {name: value for name, value in wanted.items() if not _is_same(name, tags.get(name, ""), value)}


def _is_same(name: str, found: str, wanted: str) -> bool:
    """Whether a tag says what it was written to say. A job's may name another attempt, and the part that it made."""
    if name == driver.TAG_JOB:
        return _plain(found).startswith(_plain(wanted.rpartition("-")[0]) + "_")
    return found == wanted if name == driver.TAG_INSTALLATION else _plain(found) == _plain(wanted)


def _plain(value: str) -> str:
    return _CHANGED.sub("_", value)[:_LONGEST].lower()

"""What the cloud holds with our tag and no row knows: a slow look, and a failed recovery point for what it finds.
The same look finds what rows know and the cloud does not hold any more (`workers.missing`).

Such a thing is left when a process freezes between the last question and the creating call, or when a catalog was
restored from yesterday. One paginated question a day for each place in which work is followed. What is younger than a
day is passed over: somebody may still be about to adopt it. What is older becomes a failed recovery point with its
parts, which `snapfleet orphans` lists; retention lets it go as it does with failed attempts, once a later good one
exists, and the cleanup role deletes it. What was made before the catalog was put back is held, since it may be whole.
Nothing that carries another installation's tag is ever looked at. In a catalog that took over a lost one's id nothing
is left over until the place was rebuilt (`workers.rebuilding`).
"""

import logging
from datetime import datetime

from tasks.catalog import Job, meta, session, set_meta, transaction
from tasks.catalog.era import awaits_rebuild, place_of, read_era
from tasks.catalog.looking import LOOK_EVERY, look_is_due, look_key
from tasks.errors import SnapfleetError
from workers import driver, missing
from workers.context import Context
from workers.tagged import HELD, Attempt, attempts, unknown, write_failed

log = logging.getLogger("snapfleet.worker")

EVERY = GRACE = LOOK_EVERY


def look(context: Context, job: Job) -> int:
    """Look at the place of a poll when it is time; how many orphans became points. Never raises the family: the poll
    is good without it, and the next one tries again."""
    finder, at = context.drivers_of(job.service)[0], context.clock.timer()
    if not _is_due(job, at):
        return 0
    try:
        with session():
            account = context.account(job.account)
        found = _tagged(context, job, finder, account)
        if isinstance(finder, driver.SeesPresent):
            missing.look(context, job, finder, account, found)
        old = [one for one in found if one.began_at < at - GRACE]
        with session():
            awaited = awaits_rebuild(place_of(job.account_id, job.region, job.service))
            lost = [] if awaited else unknown(old)
        made = sum(_write(context, job, one) for one in attempts(lost))
    except SnapfleetError as error:
        log.info("a look for orphans in %s came to nothing: %s", job.region, error.text)
        return 0
    if made:
        log.warning("%d orphans in %s became failed points: see `snapfleet orphans`", made, job.region)
    return made


def _tagged(context: Context, job: Job, finder: driver.Driver, account: driver.Account) -> list[driver.Tagged]:
    """What carries our tag there; nothing where the cloud does not list by tag."""
    return finder.tagged(account, job.region, context.installation) if isinstance(finder, driver.FindsTagged) else []


def _is_due(job: Job, at: datetime) -> bool:
    """Whether the last look here is a day old; then this one is it, so that two polls do not both look."""
    with transaction():
        if not look_is_due(meta(_key(job)), at):
            return False
        note_look(job, at)
    return True


def note_look(job: Job, at: datetime) -> None:
    """This is the look at a place. Whoever else writes what one found there waits until this transaction ends."""
    set_meta(_key(job), at.isoformat())


def _key(job: Job) -> str:
    return look_key(job.account_id, job.region, job.service)


def _write(context: Context, job: Job, attempt: Attempt) -> bool:
    """The failed point of an attempt, unless somebody wrote what it made since."""
    with transaction():
        note_look(job, context.clock.timer())
        whole, era = len(unknown(attempt.members)) == len(attempt.members), read_era()
        held = HELD if era is not None and attempt.began_at <= era.until else ""
        return whole and write_failed(context, job, attempt, held=held) is not None

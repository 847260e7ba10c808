"""From a claimed job to its handler, and from what a handler raised to what the catalog says about the attempt.

Nothing raised here reaches dramatiq: expected failures and defects alike become the job's next state.
"""

import logging
import time
from collections.abc import Callable, Mapping
from datetime import timedelta

from tasks.catalog import Job, session, transaction
from tasks.catalog.copy_slots import note_refusal
from tasks.catalog.transitions import fail_attempt, verdict_on
from tasks.crash import reach
from tasks.errors import FenceLost, Internal, QuotaReached, Retry, SnapfleetError, Throttled, Transient, Unavailable
from tasks.lanes import Lane
from tasks.logs import clean, place_of
from tasks.messages import JobMessage
from tasks.states import JobState
from workers import driver, fence, points, steps
from workers.allowance import SPENT, serving
from workers.context import Context, is_first, token
from workers.handlers import (
    adopt,
    archive,
    archive_part,
    check,
    cleanup,
    cooling,
    copy,
    deleting,
    discover,
    foreign,
    forget,
    importing,
    keyslots,
    poll,
    rebuild,
    repository,
    restore,
    snapshot,
    sync_part,
)
from workers.held import Held

log = logging.getLogger("snapfleet.worker")

HANDLERS: Mapping[str, Callable[[Context, Job], None]] = {
    "snapshot": snapshot.run,
    "copy": copy.run,
    "archive": archive.run,
    "archive-part": archive_part.run,
    "sync-part": sync_part.run,
    "import-look": foreign.run,
    "import": importing.run,
    "adopt": adopt.run,
    "restore-step": restore.run_step,
    "restore-undo": restore.run_undo,
    "poll": poll.run,
    "discover": discover.run,
    "check": check.run,
    "cleanup": cleanup.run,
    "archive-cleanup": forget.run,
    "export-cold": cooling.run,
    "rebuild": rebuild.run,
    "rebuild-look": rebuild.run,
    "orphan-adopt": rebuild.adopt,
    "repository": repository.run,
    "repository-keys": keyslots.run,
    "repository-delete": deleting.run,
}
_MAKES_A_POINT = frozenset({"snapshot", "copy", "archive", "import"})
_FINDS_BY_TAG = frozenset({"snapshot", "copy"})
_CREATES = frozenset({"snapshot", "copy", "restore-step"})
# A restore has a person waiting, a look or a poll is one job for each place: those always try.
_CAN_WAIT = frozenset({"snapshot", "copy", "cleanup", "sync-part"})


def runner(context: Context, held: Held) -> Callable[[Lane, JobMessage], None]:
    """What `tasks.broker.register_actors` calls: works on the job that this thread has claimed, if it has."""

    def run(_lane: Lane, _message: JobMessage) -> None:
        mine = held.mine()
        if mine is not None:
            work(context, mine.job)

    return run


def work(context: Context, job: Job) -> str:
    """Run the handler of a claimed job and record how it ended; returns the outcome as the metrics name it.

    Outcomes: done, waiting, retry, deferred (costs no attempt), failed, fence-lost; and unrecorded when the catalog
    is away: then the lease runs out and another attempt adopts what this one began.
    """
    try:
        outcome = _attempt(context, job)
    except FenceLost as error:
        log.info("stopped: %s", error.text)
        outcome = "fence-lost"
    except Unavailable as error:
        log.warning("the attempt could not be recorded: %s", error.text)
        return "unrecorded"
    context.counters.add("snapfleet_job_attempts_total", kind=job.kind, outcome=outcome)
    return outcome


def _attempt(context: Context, job: Job) -> str:
    with serving(job):
        return _served(context, job)


def _served(context: Context, job: Job) -> str:
    try:
        if job.kind not in HANDLERS:
            raise Internal(f"This version has no handler for {clean(job.kind)!r}.", code="unknown-kind")
        _handle(context, job)
    except FenceLost:
        raise
    except SnapfleetError as error:
        return _give_up(context, job, error)
    except Exception as error:  # noqa: BLE001 - a defect in a handler must end as the job's state, not as a thread
        log.error("a defect in %s: %s at %s", job.kind, type(error).__name__, place_of(error))
        return _give_up(context, job, Internal(f"A defect in this version: {type(error).__name__}."))
    return "waiting" if job.state is JobState.WAITING else "done"


def _handle(context: Context, job: Job) -> None:
    """Run the handler, unless this is work that can wait and its place answers nothing just now."""
    place, at, began = (job.account_id, job.region), context.clock.timer(), time.monotonic()
    pause = context.strain.pause(place, at) if job.kind in _CAN_WAIT else None
    if pause is not None:
        text = f"The account did not answer the last calls in {job.region}: others go first."
        raise Throttled(text, code="place-strained", wait=pause * (1 + job.id % 10 / 20))  # not all at once again
    strike = False
    try:
        HANDLERS[job.kind](context, job)
    except (Throttled, Transient) as error:
        strike = error.code != SPENT  # of ours alone: the cloud was not asked
        raise
    finally:
        context.strain.note(place, at + timedelta(seconds=time.monotonic() - began), strike=strike)


def _give_up(context: Context, job: Job, error: SnapfleetError) -> str:
    """Record a failed attempt, and with it what becomes of the point or the restore step it was for."""
    if job.kind in _FINDS_BY_TAG and isinstance(error, Unavailable | Internal):
        # It was not the cloud that said no: the backup may have begun, and be found by its tag only a while later.
        error.wait = max(error.wait, timedelta(seconds=context.settings.guard_seconds))
    made = _made_so_far(context, job, error)
    at = context.clock.timer()
    reach("job.failing")
    with transaction():
        row = fence.reread(job)
        # What is recorded as left over goes with its failed point: no later attempt may adopt it.
        decision = fail_attempt(row, error, at, over=bool(made) and row.kind in _MAKES_A_POINT)
        if row.kind == "copy" and isinstance(error, QuotaReached):
            note_refusal(row.account_id, row.region, row.service, at)
        if row.kind == "restore-step":
            steps.record_creations(context, row, [driver.Created(one.kind, one.external_id) for one in made])
            steps.mirror(row)
        elif row.kind in _MAKES_A_POINT and not decision.again:
            points.record_left_over(row, made)
            points.close_failed(context, row, error)
    reach("job.failed")
    context.counters.add("snapfleet_job_errors_total", kind=job.kind, code=error.code)
    log.warning("attempt %d failed (%s): %s", job.attempt, error.code, error.text)
    if not decision.again:
        return "failed"
    return "retry" if decision.burns else "deferred"


def _made_so_far(context: Context, job: Job, error: SnapfleetError) -> list[driver.Found]:
    """What a job that will not be tried again may have made before it failed and the catalog does not know, so that an
    undo or a cleanup finds it. Nobody is asked when the very first call was refused."""
    refused = is_first(job) and error.retry is Retry.NEVER
    if refused or job.kind not in _CREATES or verdict_on(job, error, context.clock.timer()).again:
        return []
    try:
        with session():
            account, driver_ = context.account(job.account), context.drivers_of(job.service)[0]
        return driver_.find(account, job.region, token(job))
    except Exception as another:  # noqa: BLE001 - it must not keep the failure itself from being recorded
        log.warning("what the failed job made is unknown (%s)", type(another).__name__)
        return []

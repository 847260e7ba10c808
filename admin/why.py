"""Why something is as it is: a point, a run, a job, a restore, a policy or one of its slots, a resource.

Answers are reasons with a code for programs and a sentence for people, taken from what is recorded and from the same
pure decisions that the coordinator acts by: retention's verdicts, the due slots, the targets, admission. Nothing is
written. What an answer names can be asked about in turn.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from admin.forecast import why_point
from admin.queries import Row, find_point, find_run, number_of
from coordinator.reason import Reason
from coordinator.waiting import why_unplanned, why_waiting
from tasks.catalog import Job, Point, Policy, Restore, Run, session
from tasks.catalog.point import in_quarantine
from tasks.clock import Clock
from tasks.errors import Invalid
from tasks.settings import Settings
from tasks.states import JOB_OPEN, JOB_TERMINAL, RUN_OPEN, JobState, PointState

_ASKED = 2000  # open jobs of a run that are asked one by one
_EXAMPLES = 3  # jobs that a reason of many names


@dataclass(frozen=True)
class Asking:
    """The two readings of the clock at which is asked, and the settings that decisions depend on."""

    now: datetime
    at: datetime
    freshness: timedelta = timedelta(seconds=900)
    quarantine: timedelta = timedelta(0)

    @classmethod
    def of(cls, settings: Settings, clock: Clock) -> "Asking":
        """As the coordinator of this installation would decide just now."""
        spans = (timedelta(seconds=seconds) for seconds in (settings.discover_seconds, settings.quarantine_seconds))
        return cls(clock.now(), clock.timer(), *spans)


def told(reasons: Iterable[Reason], **more: str) -> list[Row]:
    """Reasons as they are shown."""
    return [{"code": one.code, "text": one.text, **more} for one in reasons]


def explain(thing: str, asking: Asking) -> Row:
    """What is asked about, its kind, its state and its reasons. Raises Invalid, with the next step, for what is not
    there."""
    for prefix, answer in _BY_PREFIX.items():
        if thing.startswith(f"{prefix}-") and thing.removeprefix(f"{prefix}-").isdecimal():
            return answer(thing, asking)
    if thing.isdecimal():
        return _BY_PREFIX["rp"](thing, asking)
    from admin.why_policy import explain_named

    return explain_named(thing, asking)


def _answer(thing: str, kind: str, state: object, reasons: Iterable[Row], **more: Any) -> Row:
    return {"thing": thing, "kind": kind, "state": str(state), **more, "reasons": list(reasons)}


def _of_point(text: str, asking: Asking) -> Row:
    """Retention's verdict, and whatever else decides: who still makes it, what failed, how long it is still there."""
    with session():
        point = find_point(text)
        verdict = why_point(text, asking.now)
        reasons = [*verdict["reasons"], *told(_beside_retention(point, asking))]
        name = verdict["point"]
        return _answer(name, "point", point.state, reasons, point=name, keep=verdict["keep"])


def _beside_retention(point: Point, asking: Asking) -> list[Reason]:
    found = []
    if point.error_code and point.state != PointState.LOST:
        found.append(Reason(point.error_code, point.error_text or "it failed"))
    if point.state == PointState.CREATING:
        makers = list(Job.select().where(Job.point_id == point.id, Job.state.in_(list(JOB_OPEN))))
        found += [Reason(one.code, f"job-{job}: {one.text}") for job, one in why_waiting(makers, asking.at).items()]
    if point.state == PointState.GOOD and point.expire_text and not point.expire_code:
        found.append(Reason("kept-by-cleanup", f"it was marked, and cleanup gave it back: {point.expire_text}"))
    waits = Point.id == point.id, Point.state == PointState.EXPIRING, in_quarantine(asking.at, asking.quarantine)
    if Point.select().where(*waits).exists():
        until = shown(point.marked_at + asking.quarantine)
        found.append(Reason("quarantine", f"marked, and still there until {until}: `snapfleet hold` takes it back"))
    return found


def _of_job(text: str, asking: Asking) -> Row:
    with session():
        job = Job.get_or_none(Job.id == number_of(text, "job"))
        if job is None:
            raise Invalid(f"There is no {text}.", advice="See `snapfleet why run-N`, which names a run's jobs.")
        reasons = [_reason_of(job)] if job.state in JOB_TERMINAL else [why_waiting([job], asking.at)[job.id]]
        reasons += [Reason("warning", str(warning)) for warning in job.warnings]
        more = {"run": f"run-{job.run_id}" if job.run_id else "", "attempt": job.attempt, "attempts": job.max_attempts}
        return _answer(f"job-{job.id}", f"{job.kind} job", job.state, told(reasons), **more)


def _reason_of(job: Job) -> Reason:
    """Why a job ended as it did, as it is recorded."""
    if job.state == JobState.DONE:
        return Reason("done", f"it was done at {shown(job.finished_at)}" if job.finished_at else "it was done")
    return Reason(job.error_code, job.error_text or f"it was {job.state}")


def _of_run(text: str, asking: Asking) -> Row:
    with session():
        run = find_run(text)
        policy = Policy.get_by_id(run.policy_id).name
        return _answer(f"run-{run.id}", "run", run.state, told(reasons_of_run(run, asking)), policy=policy)


def reasons_of_run(run: Run, asking: Asking) -> list[Reason]:
    """Why it began, what it waits for or how it ended, and what its jobs say, alike ones together. Inside the caller's
    session."""
    begun = {"schedule": f"the slot of {shown(run.slot_at)}", "added": "a resource joined the policy"}
    text = run.reason or begun.get(run.trigger, f"asked for at {shown(run.created_at)}")
    found = [Reason(run.trigger, text), *why_unplanned(run, asking.at, asking.freshness)]
    if run.error_code:
        found.append(Reason(run.error_code, f"it is {run.state}: {run.error_code} is why, or why for most of it"))
    elif run.state not in RUN_OPEN:
        found.append(Reason("done", "all of it has ended well"))
    if run.cancelled_at is not None and run.state in RUN_OPEN:
        found.append(Reason("cancelled", "cancelled; what the cloud has begun goes on to its end"))
    found += [Reason(problem["code"], f"{problem['target']}: {problem['text']}") for problem in run.problems]
    jobs = list(Job.select().where(Job.run == run.id, Job.state != JobState.DONE).order_by(Job.id))
    return found + _together(jobs, asking)


def _together(jobs: Sequence[Job], asking: Asking) -> list[Reason]:
    """The jobs' reasons, one for all that have the same code and state."""
    waiting = why_waiting([job for job in jobs if job.state in JOB_OPEN][:_ASKED], asking.at)
    groups: dict[tuple[str, str], list[tuple[int, str]]] = defaultdict(list)
    for job in jobs:
        why = _reason_of(job) if job.state in JOB_TERMINAL else waiting.get(job.id)
        if why is not None:
            groups[str(job.state), why.code].append((job.id, why.text))
    found = []
    for (state, code), members in groups.items():
        some = ", ".join(f"job-{number}" for number, _ in members[:_EXAMPLES])
        more = f" and {len(members) - _EXAMPLES} more" if len(members) > _EXAMPLES else ""
        found.append(Reason(code, f"{len(members)} {state} ({some}{more}): {members[0][1]}"))
    return found


def _of_restore(text: str, asking: Asking) -> Row:
    with session():
        row = Restore.get_or_none(Restore.id == number_of(text, "restore"))
        if row is None:
            raise Invalid(f"There is no {text}.", advice="See `snapfleet restores`.")
        found = [Reason("manual", f"asked for by {row.requested_by} at {shown(row.created_at)}")]
        if row.error_code:
            found.append(Reason(row.error_code, row.error_text or f"it is {row.state}"))
        if row.finished_at is not None and not row.error_code:
            found.append(Reason("done", f"it was done at {shown(row.finished_at)}"))
        jobs = list(Job.select().where(Job.restore_id == row.id, Job.state != JobState.DONE).order_by(Job.id))
        return _answer(f"restore-{row.id}", "restore", row.state, told(found + _together(jobs, asking)))


_BY_PREFIX: Mapping[str, Callable[[str, Asking], Row]] = {
    "rp": _of_point,
    "run": _of_run,
    "job": _of_job,
    "restore": _of_restore,
}


def shown(at: datetime) -> str:
    """An instant as a person reads it."""
    return f"{at:%Y-%m-%d %H:%M} UTC"

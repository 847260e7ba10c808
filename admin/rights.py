"""What the last check of an account said its roles may do: one row an action, with what does not work without it."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from admin.iam import needed_by
from tasks.catalog import Account, Job, session
from tasks.lanes import Lane
from tasks.states import JOB_TERMINAL, JobState

Row = dict[str, Any]
WORDS = {"ok": "OK", "missing": "MISSING", "unknown": "UNKNOWN"}
_ORDER = ("MISSING", "UNKNOWN", "OK")


def check_jobs(jobs: Sequence[int]) -> list[Any]:
    """Checks with their accounts, in a reader's order."""
    with session():
        return list(
            Job.select(Job, Account).join(Account).where(Job.id.in_(list(jobs))).order_by(Account.name, Job.region)
        )


def is_over(job: Any, asked_at: datetime) -> bool:
    """Whether a check that was asked for at a machine time has ended since."""
    return job.state in JOB_TERMINAL and job.finished_at is not None and job.finished_at >= asked_at


def last_checks(account: str = "") -> list[Row]:
    """What the last checks of an account, or of all, said; nothing is asked again."""
    with session():
        # the index on state and lane serves: a job of any state, of the few in this lane
        checks = Job.state.in_(list(JobState)) & (Job.lane == Lane.DISCOVER) & (Job.kind == "check")
        query = Job.select(Job, Account).join(Account).where(Account.enabled, checks)
        query = query.where(Account.name == account) if account else query
        return rights_of(list(query.order_by(Job.region, Job.service)))


def rights_of(jobs: Sequence[Any]) -> list[Row]:
    """{account, region, service, role, action, outcome, text}, what is missing first; a place that was not entered is
    one row. What no policy of the account needs is left out, as long as any policy uses it."""
    needed = {name: needed_by(name) for name in {job.account.name for job in jobs}}
    rows = [row for job in jobs for row in _of(job) if _counts(row, needed[job.account.name])]
    return sorted(rows, key=lambda row: (_ORDER.index(row["outcome"]), row["region"], row["service"], row["action"]))


def _counts(row: Row, needed: Mapping[str, set[str]]) -> bool:
    """One role's answer counts for what this role needs: another type's action may be another role's here."""
    duties = row["role"].split(", ") if row["role"] else list(needed)
    return not needed or row["action"] == "contact" or any(row["action"] in needed.get(duty, ()) for duty in duties)


def _of(job: Any) -> list[Row]:
    place = {"account": job.account.name, "region": job.region, "service": job.service}
    if job.error_text:
        return [{**place, "role": "", "action": "contact", "outcome": "MISSING", "text": job.error_text}]
    return [
        {
            **place,
            "role": one.get("role", ""),
            "action": one["name"],
            "outcome": WORDS.get(one["outcome"], "UNKNOWN"),
            "text": one["text"],
        }
        for one in (job.result or {}).get("checks", ())
    ]

"""`snapfleet doctor`: one line a check, with what to do."""

import threading
from datetime import datetime
from typing import Any

import click

from admin.cli.command import command
from admin.cli.context import Context
from admin.cli.output import columns
from admin.doctor import FAIL, OK, WARN, Finding, examine, judge_checks
from admin.requests import answer, request_look, somebody_runs
from tasks.catalog import Account, Job, session
from tasks.errors import Exit, SnapfleetError
from tasks.states import JOB_TERMINAL

_SHOWN = columns("outcome", "what=name", "seen=text", "do=advice")
_LOOK_SECONDS = 0.5


@command(example="snapfleet doctor --wait 60")
@click.option(
    "--wait", type=click.IntRange(0, 3600), default=30, show_default=True, help="Seconds to wait for accounts; 0: skip."
)
def doctor(at: Context, wait: int) -> int:
    """Check this installation.

    Settings, files, catalog, broker, clocks and processes; and, by a worker, whether each account can be entered and
    what its role lacks. Exit 1 when something fails.
    """
    try:
        found = examine(at.settings)
    except SnapfleetError as error:
        found = [Finding("settings", FAIL, error.text, error.advice)]
    if wait and all(item.outcome != FAIL or not item.name.startswith(("settings", "catalog")) for item in found):
        found += _contact(at, wait)
    at.output.rows([item.to_json() for item in found], _SHOWN)
    return int(Exit.FAILED if any(item.outcome == FAIL for item in found) else Exit.DONE)


def _contact(at: Context, wait: int) -> list[Finding]:
    """Have a worker enter every account."""
    with session():
        names = [row.name for row in Account.select(Account.name).where(Account.enabled)]
    if not names:
        return []
    if not somebody_runs(at.clock):
        return [Finding("accounts", WARN, "not entered, since nothing runs", "Start `snapfleet up`, then ask again.")]
    asked_at = at.clock.timer()
    wish = request_look("check", None, who=at.who, clock=at.clock)
    jobs: list[Any] = []
    for _ in range(int(wait / _LOOK_SECONDS)):
        result = answer(wish)
        if result is not None:
            jobs = _jobs(result.get("jobs", []))
            if all(_is_over(job, asked_at) for job in jobs):
                break
        threading.Event().wait(_LOOK_SECONDS)
    late = [job for job in jobs if not _is_over(job, asked_at)]
    found = [
        item
        for job in jobs
        if job not in late
        for item in judge_checks(job.account.name, job.region, job.result, job.error_text)
    ]
    if late or not jobs:
        text = f"{len(late) or 'all'} accounts and regions have not answered within {wait} s"
        found.append(Finding("accounts", WARN, text, "Wait longer with --wait, and see `snapfleet queue status`."))
    return found or [Finding("accounts", OK, "nothing to enter")]


def _jobs(ids: list[int]) -> list[Any]:
    with session():
        return list(Job.select(Job, Account).join(Account).where(Job.id.in_(ids)).order_by(Account.name, Job.region))


def _is_over(job: Any, asked_at: datetime) -> bool:
    return job.state in JOB_TERMINAL and job.finished_at is not None and job.finished_at >= asked_at

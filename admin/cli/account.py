"""`snapfleet account check`: may its roles do what its policies need, and what stops working where they may not?"""

import threading
from collections import Counter
from typing import Any

import click

from admin.cli.command import command, group
from admin.cli.context import Context
from admin.cli.follow import settle
from admin.cli.output import columns
from admin.requests import request_look
from admin.rights import check_jobs, is_over, last_checks, rights_of
from tasks.errors import Exit

_SHOWN = columns("outcome", "action", "region", "service", "role", "without it=text")
_LOOK_SECONDS = 0.5


@group(example="snapfleet account check prod")
def account(at: Context) -> None:
    """Look at one account: what its roles may do."""
    at.output.line("See `snapfleet account check NAME`; `snapfleet accounts` lists them.")


@command(example="snapfleet account check prod --all", name="check")
@click.argument("name")
@click.option(
    "--wait", type=click.IntRange(0, 3600), default=60, show_default=True, help="Seconds to wait for workers."
)
@click.option("--last", is_flag=True, help="What the last check said; nothing is asked anew.")
@click.option("--all", "everything", is_flag=True, help="What is allowed, too.")
def _check(at: Context, name: str, wait: int, last: bool, everything: bool) -> int:
    """Check what an account's roles may do.

    A worker tries reads and dry runs, and asks IAM about every other action that the account's types need, as each of
    its roles. OK, MISSING with what does not work without it, or UNKNOWN. Exit 1 when something is missing, 3 when
    places have not answered in time.
    """
    at.open()
    late = 0
    if last:
        rows = last_checks(name)
    else:
        asked_at = at.clock.timer()
        wish = request_look("check", name, who=at.who, clock=at.clock)
        got = settle(at, wish, lambda got: f"{len(got.get('jobs', ()))} checks were asked for.", wait=True)
        if got is None:
            return int(Exit.FAILED)
        jobs, late = _answered(got["jobs"], asked_at, wait)
        rows = rights_of(jobs)
    counts = Counter(row["outcome"] for row in rows)
    shown = rows if everything or at.output.json else [row for row in rows if row["outcome"] != "OK"]
    told = ", ".join(f"{count} {word}" for word, count in sorted(counts.items())) or "Nothing was checked yet."
    at.output.rows(shown, _SHOWN, told)
    if shown and not at.output.json:
        at.output.line(told)
    if late and not at.output.json:
        at.output.line(f"{late} places have not answered within {wait} s.")
    return int(Exit.FAILED if counts["MISSING"] else Exit.PARTLY if late else Exit.DONE)


def _answered(ids: list[int], asked_at: Any, wait: int) -> tuple[list[Any], int]:
    """The checks that have ended, and how many have not in time."""
    jobs: list[Any] = check_jobs(ids)
    for _ in range(int(wait / _LOOK_SECONDS)):
        if all(is_over(job, asked_at) for job in jobs):
            break
        threading.Event().wait(_LOOK_SECONDS)
        jobs = check_jobs(ids)
    over = [job for job in jobs if is_over(job, asked_at)]
    return over, len(ids) - len(over)


account.add_command(_check)

"""What commands about repositories share: a wish that becomes a worker's job, and its outcome."""

import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import click

from admin.cli.context import Context
from admin.cli.follow import LOOK_SECONDS, settle
from admin.cli.output import Column, columns
from admin.queries_repository import find_work
from admin.safe import safe
from tasks.errors import Exit, Refused

# What archiving would cost at most, by storage class (admin.costs).
COSTS = columns(
    "archive", "class", "EBS requests#=ebs_requests", "store requests#=s3_requests", "GiB stored#=stored_gib",
    "USD once#=once_usd", "USD a month#=month_usd",
)  # fmt: skip


def follow_work(
    at: Context,
    wish: int,
    said: Callable[[Mapping[str, Any]], str],
    *,
    what: str,
    wait: bool,
    rows: tuple[str, Sequence[Column]] | None = None,
    costs: Callable[[Mapping[str, Any]], list[dict[str, Any]]] | None = None,
) -> int | None:
    """Say that a worker was asked, or with `wait` what it found; the exit code says whether that has problems.

    `rows` names a field of the result that is shown as a table, with its columns; `costs` says what doing it would
    cost. Raises Refused with the worker's reason.
    """
    result = work_done(at, wish, said, what=what, wait=wait)
    if result is None:
        return None
    priced = costs(result) if costs else []
    if at.output.json:
        at.output.value({**result, "costs": priced} if costs else result)
        return int(Exit.FAILED) if result.get("problems") else None
    listed = rows[0] if rows else ""
    plain = tuple(name for name in result if name != listed)
    if plain:
        at.output.record(result, plain)
    if rows and result.get(listed):
        at.output.line() if plain else None
        at.output.rows(result[listed], rows[1], "")
    if priced:
        at.output.line()
        at.output.rows(priced, COSTS)
    return int(Exit.FAILED) if result.get("problems") else None


def work_done(
    at: Context, wish: int, said: Callable[[Mapping[str, Any]], str], *, what: str, wait: bool
) -> Mapping[str, Any] | None:
    """Say that a worker was asked (None), or with `wait` give what it found. Raises Refused with its reason."""
    found = settle(at, wish, said, wait=wait)
    if not wait or found is None:
        return None
    done = _followed(int(found["job"]), wish, what)
    if done["state"] == "failed":
        raise Refused(done["reason"] or f"{what} failed.", code="repository-failed")
    result: Mapping[str, Any] = done["result"]
    return result


def _followed(job: int, wish: int, what: str) -> dict[str, Any]:
    """Wait for the end of a job; on a terminal it is told how far it is."""
    told = None
    while True:
        found = find_work(job, wish)
        if found["state"] != "open":
            return found
        if found["percent"] not in (None, told) and sys.stderr.isatty():
            told = found["percent"]
            click.echo(f"{safe(what)}: {told} %", err=True)
        threading.Event().wait(LOOK_SECONDS)

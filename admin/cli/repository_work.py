"""What commands about repositories share: a wish that becomes a worker's job, and its outcome."""

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from admin.cli.context import Context
from admin.cli.follow import LOOK_SECONDS, settle
from admin.cli.output import Column
from admin.queries_repository import find_work
from tasks.errors import Exit, Refused


def follow_work(
    at: Context,
    wish: int,
    said: Callable[[Mapping[str, Any]], str],
    *,
    what: str,
    wait: bool,
    rows: tuple[str, Sequence[Column]] | None = None,
) -> int | None:
    """Say that a worker was asked, or with `wait` what it found; the exit code says whether that has problems.

    `rows` names a field of the result that is shown as a table, with its columns. Raises Refused with the worker's
    reason.
    """
    found = settle(at, wish, said, wait=wait)
    if not wait or found is None:
        return None
    done = _followed(int(found["job"]), wish)
    if done["state"] == "failed":
        raise Refused(done["reason"] or f"{what} failed.", code="repository-failed")
    result = done["result"]
    if at.output.json:
        at.output.value(result)
    else:
        listed = rows[0] if rows else ""
        plain = tuple(name for name in result if name != listed)
        if plain:
            at.output.record(result, plain)
        if rows and result.get(listed):
            at.output.line() if plain else None
            at.output.rows(result[listed], rows[1], "")
    return int(Exit.FAILED) if result.get("problems") else None


def _followed(job: int, wish: int) -> dict[str, Any]:
    while True:
        found = find_work(job, wish)
        if found["state"] != "open":
            return found
        threading.Event().wait(LOOK_SECONDS)

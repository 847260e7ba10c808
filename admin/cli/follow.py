"""Waiting: for a wish to be taken up, and for a run or restore to end.

On a terminal progress is drawn; elsewhere each change is a line, and with `--output json` each line is a JSON object,
the last one of type `result`. Ctrl-C stops the waiting, never the work.
"""

import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any, NamedTuple

from admin.cli.context import Context
from admin.queries import show_restore, show_run, sum_up_run
from admin.queries_estate import list_looks
from admin.requests import answer, somebody_runs
from tasks.errors import Exit, Unavailable
from tasks.states import RUN_TERMINAL, RestoreState

LOOK_SECONDS = 0.5
# A coordinator takes a wish up within a second; after this long without --wait the command says it is recorded.
ANSWER_LOOKS = 20
# How long nobody may be there before waiting is given up: longer than a restart, or a failover to another coordinator.
ALONE_LOOKS = 120
# `snapfleet up &` and the next command are often typed together: a coordinator reports itself within this many looks.
STARTING_LOOKS = 8
_RUN_EXITS = {"done": Exit.DONE, "partial": Exit.PARTLY}
_RESTORE_ENDS = {str(RestoreState.DONE), str(RestoreState.FAILED), str(RestoreState.CANCELLED)}
_REASONS = 20  # failed jobs that are told; `snapfleet runs show` has them all


class Progress(NamedTuple):
    """How far it is: steps or jobs done of all, and words that say it."""

    done: int
    total: int
    words: str


Row = dict[str, Any]
_START = "Start `snapfleet up`, or a coordinator and workers."


def settle(
    at: Context, wish: int, said: Callable[[Mapping[str, Any]], str], *, wait: bool = False
) -> Mapping[str, Any] | None:
    """Wait shortly for a wish to be taken up and say what became of it; None when it is only recorded so far.

    Raises Refused when the coordinator said no, and with `wait` Unavailable when nothing runs that could take it up.
    """
    if not (_comes_up(at) if wait else somebody_runs(at.clock)):
        if wait:
            raise Unavailable(f"Request {wish} is recorded, but nothing runs that would do it.", advice=_START)
        text = f"Recorded as request {wish}; it is done as soon as something runs. {_START}"
        at.output.result({"request": wish, "state": "recorded"}, text)
        return None
    found = _answered(at, wish, wait)
    if found is None:
        at.output.result({"request": wish, "state": "recorded"}, f"Recorded as request {wish}; not taken up yet.")
    elif not wait:
        at.output.result({"request": wish, "state": "accepted", **named(found)}, said(named(found)))
    return found


def _comes_up(at: Context) -> bool:
    """Whether a coordinator is there, or is just starting."""
    for _ in range(STARTING_LOOKS):
        if somebody_runs(at.clock):
            return True
        threading.Event().wait(LOOK_SECONDS)
    return False


def named(result: Mapping[str, Any]) -> dict[str, Any]:
    """A coordinator's answer with its ids as people write them."""
    prefixes = {"run": "run-", "restore": "restore-", "point": "rp-"}
    return {key: f"{prefixes[key]}{value}" if key in prefixes else value for key, value in result.items()}


def _answered(at: Context, wish: int, wait: bool) -> Mapping[str, Any] | None:
    alone = looks = 0
    while True:
        found = answer(wish)
        if found is not None or (not wait and looks >= ANSWER_LOOKS):
            return found
        alone = _alone(at, alone)
        looks += 1
        threading.Event().wait(LOOK_SECONDS)


def _alone(at: Context, looks: int) -> int:
    """How many looks in a row found no coordinator. Raises Unavailable when it is too long."""
    looks = 0 if somebody_runs(at.clock) else looks + 1
    if looks > ALONE_LOOKS:
        raise Unavailable(
            "Nothing runs any more that would do the work; it goes on when something does.", advice=_START
        )
    return looks


def follow_run(at: Context, run: str) -> int:
    """Follow a run to its end; the exit code says how it ended."""
    ends = set(map(str, RUN_TERMINAL))
    if _follow(at, lambda: sum_up_run(run), lambda row: row["state"] in ends, _run_progress) is None:
        return _stopped(run, f"snapfleet runs show {run}")
    row = show_run(run)
    wrong = [job for job in row["jobs"] if job["state"] == "failed"]
    if at.output.json:
        at.output.event({"type": "result", **row})
    else:
        for problem in row["problems"]:
            at.output.line(f"{problem['target']}: {problem['text']}")
        for job in wrong[:_REASONS]:
            at.output.line(f"{job['resource']} {job['kind']}: {job['reason'] or job['error_code']}")
        at.output.line(f"{row['id']} of {row['policy']}: {row['state']} ({_counts(row)}).")
    return int(_RUN_EXITS.get(row["state"], Exit.FAILED))


def follow_looks(at: Context, jobs: Sequence[int], asked_at: datetime) -> list[Row] | None:
    """Wait until looks that were asked for at `asked_at` have ended; what they saw, or None when the person left."""
    return follow_places(at, lambda: list_looks(jobs, asked_at), "the look", "snapfleet accounts")


def follow_places(at: Context, look: Callable[[], list[Row]], what: str, see: str) -> list[Row] | None:
    """Wait until none of the rows that `look` gives has the state open; None when the person left."""
    alone = 0
    try:
        while True:
            rows = look()
            if all(row["state"] != "open" for row in rows):
                return rows
            alone = _alone(at, alone)
            threading.Event().wait(LOOK_SECONDS)
    except KeyboardInterrupt:
        _stopped(what, see)
        return None


def follow_restore(at: Context, restore: str) -> int:
    """Follow a restore to its end; the exit code says how it ended."""
    row = _follow(at, lambda: show_restore(restore), lambda row: row["state"] in _RESTORE_ENDS, _restore_progress)
    if row is None:
        return _stopped(restore, f"snapfleet restores show {restore}")
    if at.output.json:
        at.output.event({"type": "result", **row})
    else:
        for item in row["made"]:
            if item["removed_at"] is None:
                at.output.line(f"made: {item['kind']} {item['id']}")
        at.output.line(f"{row['id']}: {row['state']}. {row['reason']}".strip())
    return int(Exit.DONE if row["state"] == "done" else Exit.FAILED)


def _follow(
    at: Context,
    look: Callable[[], Row],
    ended: Callable[[Row], bool],
    progress: Callable[[Row], Progress],
) -> Row | None:
    """Look again and again until it has ended; None when the person stopped waiting."""
    alone, said = 0, ""
    try:
        with _reporter(at) as report:
            while True:
                row = look()
                if ended(row):
                    return row
                far = progress(row)
                if far.words != said:
                    report(row, far)
                    said = far.words
                alone = _alone(at, alone)
                threading.Event().wait(LOOK_SECONDS)
    except KeyboardInterrupt:
        return None


@contextmanager
def _reporter(at: Context) -> Iterator[Callable[[Row, Progress], None]]:
    """How progress is told, by where it goes."""
    if at.output.json:
        yield lambda row, far: at.output.event(
            {"type": "progress", "id": row["id"], "state": row["state"], **far._asdict()}
        )
    elif at.output.stream.isatty():
        with _bar(at) as update:
            yield lambda _, far: update(far)
    else:
        yield lambda row, far: at.output.line(f"{row['id']}: {far.words}")


@contextmanager
def _bar(at: Context) -> Iterator[Callable[[Progress], None]]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bars

    words = TextColumn("{task.description}", markup=False)
    shown = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), words)
    with Bars(*shown, console=Console(file=at.output.stream), transient=True) as bars:
        task = bars.add_task("")
        yield lambda far: bars.update(task, completed=far.done, total=far.total or None, description=far.words)


def _run_progress(row: Row) -> Progress:
    counts = row["jobs_by_state"]
    done = sum(counts.get(state, 0) for state in ("done", "failed", "cancelled"))
    return Progress(done, sum(counts.values()), f"{row['state']}, {_counts(row)}")


def _counts(row: dict[str, Any]) -> str:
    counts = row["jobs_by_state"]
    return ", ".join(f"{count} {state}" for state, count in sorted(counts.items())) or "no jobs yet"


def _restore_progress(row: Row) -> Progress:
    steps = row["steps"]
    done = sum(step["state"] == "done" for step in steps)
    current = next((step for step in steps if step["state"] != "done"), None)
    words = f"step {current['number']} of {len(steps)}, {current['kind']}" if current else "finishing"
    return Progress(done, len(steps), f"{row['state']}, {words}")


def _stopped(what: str, see: str) -> int:
    sys.stderr.write(f"Stopped waiting; {what} goes on (see `{see}`).\n")
    return int(Exit.FAILED)

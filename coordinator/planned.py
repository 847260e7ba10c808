"""Writing what runs become: jobs with their messages, and what an earlier run's backup stands for."""

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from coordinator.planner import Planned
from tasks.catalog import Job, Run
from tasks.catalog.bulk import find_rows, insert_rows
from tasks.catalog.transitions import add_jobs
from tasks.states import JobState


def write_jobs(planned: Sequence[Planned], at: datetime) -> None:
    """The jobs of runs whose rows are there, and their messages, in a statement or two; notes which runs wait for
    any. Inside the caller's transaction."""
    in_line = _in_line(planned)
    jobs, overlapping = [], []
    for one in planned:
        waiting = in_line[one.run.policy] if one.run.trigger == "schedule" else set()
        own = [job for job in one.jobs if job["resource"] not in waiting]
        one.waits = bool(own)
        jobs += own
        overlapping += [job for job in one.jobs if job["resource"] in waiting]
    add_jobs(jobs, at)
    _note_overlaps(overlapping, at)


def _in_line(planned: Sequence[Planned]) -> defaultdict[int, set[int]]:
    """By policy the resources whose backup for an earlier run has not begun yet. That one keeps its place in line and
    stands for this run's too: otherwise a backlog would grow for ever, and its end would be many snapshots of one
    moment."""
    chains = {str(job["chain"]) for one in planned if one.run.trigger == "schedule" for job in one.jobs}
    keys, not_begun = [(chain,) for chain in sorted(chains)], "\"state\" IN ('pending', 'queued')"
    waiting = find_rows(Job, ["chain"], keys, ["run", "resource", "kind"], given=not_begun)
    runs = {run for run, _, kind in waiting if kind == "snapshot"}
    policies = dict(find_rows(Run, ["id"], [(run,) for run in sorted(runs)], ["id", "policy"]))
    found: defaultdict[int, set[int]] = defaultdict(set)
    for run, resource, kind in waiting:
        if kind == "snapshot":
            found[policies[run]].add(resource)
    return found


def _note_overlaps(jobs: Sequence[dict[str, Any]], at: datetime) -> None:
    """Each target of a run has a job, also one that is not done because the run before has not come to it yet."""
    ended = {
        "state": JobState.CANCELLED,
        "created_at": at,
        "not_before_at": at,
        "finished_at": at,
        "settled": True,
        "error_code": "overlapped",
        "error_text": "Its backup for an earlier run had not begun yet and stands for this one too.",
    }
    insert_rows(Job, [{**job, **ended} for job in jobs], ignore=True)

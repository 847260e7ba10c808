"""`snapfleet run`, `runs`, `cancel`: backing up now, and what became of it."""

import click

from admin.cli.command import command, group
from admin.cli.completion import complete_policy
from admin.cli.context import Context
from admin.cli.follow import follow_run, settle
from admin.cli.output import columns
from admin.progress import timed
from admin.queries import LIMIT, list_runs, show_run
from admin.requests import request_cancel, request_run

_RUNS = columns(
    "id", "policy", "slot=slot_at", "trigger", "state", "targets#", "jobs=jobs_by_state", "finished=finished_at"
)
_JOBS = columns(
    "kind", "resource", "name", "account", "region", "state", "percent#", "MiB/s#=mib_per_second", "left#=time_left",
    "point", "attempt#", "reason",
)  # fmt: skip


@command(example="snapfleet run web --wait")
@click.argument("policy", shell_complete=complete_policy)
@click.option("--resource", "resources", multiple=True, metavar="ID", help="Only this target; may be given again.")
@click.option("--wait", is_flag=True, help="Follow the run to its end and exit by its outcome.")
def run(at: Context, policy: str, resources: tuple[str, ...], wait: bool) -> int | None:
    """Back up a policy now.

    The run goes before what schedules started. With --wait: exit 0 done, 3 partly done, 1 failed.
    """
    wish = request_run(policy, resources, who=at.who, clock=at.clock)
    found = settle(at, wish, lambda result: f"{result['run']} has begun.", wait=wait)
    return follow_run(at, f"run-{found['run']}") if wait and found else None


@group(example="snapfleet runs --policy web")
@click.option("--policy", default="", shell_complete=complete_policy, help="Only runs of this policy.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=LIMIT, show_default=True, help="The newest so many.")
def runs(at: Context, policy: str, limit: int) -> None:
    """List runs.

    Newest first, with the number of jobs in each state. `runs show RUN` shows one with its jobs and reasons.
    """
    at.open()
    at.output.rows(list_runs(policy=policy, limit=limit), _RUNS, "No runs yet.")


@command(name="run-show", example="snapfleet run-show run-12")
@click.argument("run")
def run_show(at: Context, run: str) -> None:
    """Show one run with its jobs and reasons.

    The same as `snapfleet runs show`.
    """
    _show(at, run)


@command(name="show", example="snapfleet runs show run-12")
@click.argument("run")
def runs_show(at: Context, run: str) -> None:
    """Show one run with its jobs and reasons."""
    _show(at, run)


runs.add_command(runs_show)


def _show(at: Context, run: str) -> None:
    at.open()
    row = show_run(run)
    if at.output.json:
        at.output.value(row)
        return
    at.output.record(row, ("id", "policy", "slot_at", "trigger", "state", "started_at", "finished_at", "reason"))
    for problem in row["problems"]:
        at.output.line(f"problem: {problem['target']}: {problem['text']}")
    at.output.line()
    at.output.rows(timed(row["jobs"]), _JOBS, "No jobs yet.")


@command(example="snapfleet cancel run-12")
@click.argument("run")
def cancel(at: Context, run: str) -> None:
    """Cancel what has not started of a run.

    What the cloud is already doing goes on to its end.
    """
    wish = request_cancel(run, who=at.who, clock=at.clock)
    settle(
        at, wish, lambda got: f"{got['run']}: {got['cancelled']} jobs cancelled, {got['finishing']} go on to their end."
    )

"""`snapfleet policies` and `schedules`."""

import click

from admin.cli.command import command, group
from admin.cli.context import Context
from admin.cli.output import columns
from admin.queries_estate import list_policies, list_schedules, preview_schedule

_POLICIES = columns(
    "name",
    "enabled",
    "schedules",
    "targets#",
    "generations#",
    "next=next_start_at",
    "last=last_run",
    "state=last_state",
)
_SCHEDULES = columns("name", "every", "zone=time_zone", "policies", "next slot=next_slot_at")
_SLOTS = columns("slot=slot_at", "local")


@command(example="snapfleet policies")
def policies(at: Context) -> None:
    """List policies.

    With the next start and the last run of each.
    """
    at.open()
    at.output.rows(list_policies(), _POLICIES, "There is no policy; write one in a file and `snapfleet apply` it.")


@group(example="snapfleet schedules")
def schedules(at: Context) -> None:
    """List schedules.

    With the next slot of each. `schedules preview NAME` prints the slots to come.
    """
    at.open()
    at.output.rows(list_schedules(), _SCHEDULES, "There is no schedule; write one in a file and `snapfleet apply` it.")


@command(name="preview", example="snapfleet schedules preview nightly --count 5")
@click.argument("name")
@click.option("--count", type=click.IntRange(1, 1000), default=10, show_default=True, help="How many.")
def schedules_preview(at: Context, name: str, count: int) -> None:
    """Print the slots to come, in UTC and on the schedule's own wall clock."""
    clock = at.clock
    at.output.rows(preview_schedule(name, count, clock.now()), _SLOTS, "It has ended.")


schedules.add_command(schedules_preview)

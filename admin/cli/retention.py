"""`snapfleet retention simulate`: what a rule would keep, before it is written into a policy."""

from collections.abc import Sequence
from datetime import UTC, datetime

import click

from admin.cli.command import command, group
from admin.cli.completion import complete_policy
from admin.cli.context import Context
from admin.cli.output import columns
from admin.simulate import list_rules, scene_of, simulate_retention
from coordinator.retention import Rule
from tasks.errors import Invalid

_KEPT = columns("slot=slot_at", "local", "kept as=why")
_RULES = columns("policy", "destination", "generations#", "keep", "days#=keep_days", "zone=time_zone")
_DATES = ["%Y-%m-%d", "%Y-%m-%dT%H:%M"]


@group(example="snapfleet retention")
def retention(at: Context) -> None:
    """List retention rules.

    One line for each policy and each place whose copies or archives have a rule of their own, or had one when the
    policy last named that place. `retention simulate` prints what a rule would keep; `cleanup --dry-run` shows what
    retention does now.
    """
    at.open()
    at.output.rows(list_rules(), _RULES, "There is no policy; write one in a file and `snapfleet apply` it.")


@command(
    name="simulate",
    example="snapfleet retention simulate --keep daily=7,weekly=4,monthly=12 --schedule nightly --until 2027-12-31",
)
@click.option("--policy", default="", shell_complete=complete_policy, help="Take rule and schedules from this policy.")
@click.option("--generations", type=click.IntRange(1), help="Keep so many, whatever the policy says.")
@click.option("--keep", metavar="KIND=N,...", help="Keep hourly, daily, weekly, monthly, yearly points, so many each.")
@click.option("--schedule", "schedules", multiple=True, metavar="NAME", help="Its slots; may be given again.")
@click.option("--from", "begin", type=click.DateTime(_DATES), help="From when on, UTC; default now.")
@click.option("--until", type=click.DateTime(_DATES), required=True, help="Until when, UTC.")
def simulate(
    at: Context,
    policy: str,
    generations: int | None,
    keep: str | None,
    schedules: tuple[str, ...],
    begin: datetime | None,
    until: datetime,
) -> None:
    """Print what a rule keeps in the end.

    Every slot to come becomes a good point of one target, and retention judges it daily by the same rules that act.
    Nothing is written.
    """
    wanted = _keep(keep or "")
    clock = at.clock
    scene = scene_of(policy, schedules, generations, wanted)
    start, end = _utc(begin) if begin else clock.now(), _utc(until)
    if end <= start:
        raise Invalid("--until must be later than --from.")
    found = simulate_retention(scene, start, end)
    if at.output.json:
        at.output.value(found)
        return
    shown = [{**row, "why": ", ".join(reason["code"] for reason in row["reasons"])} for row in found["kept"]]
    at.output.rows(shown, _KEPT, "No slot until then.")
    at.output.line()
    at.output.line(f"{found['taken']} taken, {found['expired']} expired, {len(shown)} kept; at most {found['most']}.")


retention.add_command(simulate)


def _utc(read: datetime) -> datetime:
    return read.replace(tzinfo=UTC)


def _keep(text: str) -> dict[str, int]:
    """`daily=7,weekly=4` as a rule's `keep`. Raises Invalid."""
    pairs: Sequence[tuple[str, str, str]] = [item.strip().partition("=") for item in text.split(",") if item.strip()]
    if wrong := [name for name, _, count in pairs if not (count.isascii() and count.isdecimal())]:
        raise Invalid(f"--keep takes KIND=N, and {wrong[0]!r} has no number.", advice="Write daily=7,weekly=4.")
    keep = {name: int(count) for name, _, count in pairs}
    try:
        Rule(keep=keep)
    except ValueError as error:
        raise Invalid(f"--{error}.") from None
    return keep

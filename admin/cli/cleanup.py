"""`snapfleet cleanup` and `confirm`: retention now, what it would remove, and the deletion brake."""

import sys

import click

from admin.cli.command import command
from admin.cli.completion import complete_policy
from admin.cli.context import Context
from admin.cli.follow import settle
from admin.cli.output import columns
from admin.forecast import check_hash, forecast_cleanup
from admin.queries import Row
from admin.requests import request_cleanup, request_confirm
from tasks.errors import Refused

_POINTS = columns("id", "resource", "name", "destination", "state", "taken=taken_at", "GiB#=size_gib", "reason")


@command(example="snapfleet cleanup --dry-run")
@click.option("--dry-run", is_flag=True, help="Print what would go and why, and remove nothing.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def cleanup(at: Context, dry_run: bool, yes: bool) -> None:
    """Run retention now, or show what it would remove.

    Every point that would go is shown with its reason. The coordinator judges again when it acts, and each point once
    more in the transaction that removes it.
    """
    clock = at.clock
    passes = forecast_cleanup(clock.now())
    if dry_run:
        _print(at, passes)
        return
    count = sum(item["expire"] for item in passes if not item["brake"])
    if not yes:
        if not sys.stdin.isatty():
            raise Refused(f"{count} points would go, and nobody was asked.", advice="Add --yes, or see --dry-run.")
        _print(at, passes)
        click.confirm("Go on?", abort=True, err=True)
    settle(at, request_cleanup(who=at.who, clock=clock), lambda _: f"Retention runs now; {count} points may go.")


def _print(at: Context, passes: list[Row]) -> None:
    if at.output.json:
        at.output.value({"policies": passes, "expire": sum(item["expire"] for item in passes)})
        return
    for item in passes:
        at.output.line(f"{item['policy']}: {item['expire']} of {item['points']} points would go, {item['keep']} stay")
        if item["brake"]:
            at.output.line(f"  stopped: {item['brake']}")
            at.output.line(f"  to let it go on: snapfleet confirm {item['policy']} {item['hash']}")
        if item["to_expire"]:
            at.output.rows(item["to_expire"], _POINTS)
    if not passes:
        at.output.line("There is no policy.")


@command(example="snapfleet confirm web 0123456789abcdef")
@click.argument("policy", shell_complete=complete_policy)
@click.argument("plan_hash", metavar="HASH")
def confirm(at: Context, policy: str, plan_hash: str) -> None:
    """Confirm a deletion plan that the brake stopped.

    HASH names exactly the points seen in `snapfleet cleanup --dry-run`; for any other plan it is refused.
    """
    clock = at.clock
    count = check_hash(policy, plan_hash, clock.now())
    wish = request_confirm(policy, plan_hash, who=at.who, clock=clock)
    settle(at, wish, lambda _: f"Confirmed: {count} points of {policy} may go.")

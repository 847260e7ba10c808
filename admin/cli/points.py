"""`snapfleet points`, `point`, `hold`, `release`: recovery points."""

import click

from admin.cli.command import command
from admin.cli.completion import complete_point, complete_policy
from admin.cli.context import Context
from admin.cli.follow import settle
from admin.cli.output import columns
from admin.queries import LIMIT, list_points, show_point
from admin.requests import request_hold, request_release
from tasks.states import PointState

_POINTS = columns(
    "id", "resource", "name", "policy", "destination", "state", "GiB#=size_gib", "taken=taken_at", "held", "note"
)
_PARTS = columns("snapshot=external_id", "of=source_id", "device", "GiB#=size_gib", "state", "key=kms_key_id")
_RECORD = (
    "id", "resource", "name", "type", "policy", "account", "region", "destination", "kind", "state", "size_gib",
    "taken_at", "completed_at", "run", "copy_of", "image_id", "held", "note", "warnings",
)  # fmt: skip


@command(example="snapfleet points --resource i-0123456789abcdef0 --state good")
@click.option("--resource", default="", metavar="R", help="Only points of this resource, by id or name.")
@click.option("--policy", default="", shell_complete=complete_policy, help="Only points of this policy.")
@click.option("--state", type=click.Choice([str(state) for state in PointState]), help="Only in this state.")
@click.option("--destination", metavar="D", help="Only copies in ACCOUNT/REGION; `home` for where the resource lies.")
@click.option("--limit", type=click.IntRange(1, 100_000), default=LIMIT, show_default=True, help="The newest so many.")
def points(at: Context, resource: str, policy: str, state: str | None, destination: str | None, limit: int) -> None:
    """List recovery points.

    Newest first. An empty destination means where the resource lies.
    """
    at.open()
    place = "" if destination == "home" else destination
    found = list_points(resource=resource, policy=policy, state=state or "", destination=place, limit=limit)
    at.output.rows(found, _POINTS, "No recovery points match.")


@command(example="snapfleet point rp-12")
@click.argument("point", shell_complete=complete_point)
def point(at: Context, point: str) -> None:
    """Show one recovery point with its parts and copies."""
    at.open()
    row = show_point(point)
    if at.output.json:
        at.output.value(row)
        return
    at.output.record(row, _RECORD)
    at.output.line()
    at.output.rows(row["parts"], _PARTS, "It has no parts.")
    for copy in row["copies"]:
        at.output.line(f"copy: {copy['id']} in {copy['destination']} ({copy['state']})")


@command(example='snapfleet hold rp-12 --reason "audit 2026-11"')
@click.argument("point", shell_complete=complete_point)
@click.option("--reason", required=True, help="Why; shown wherever the point is.")
def hold(at: Context, point: str, reason: str) -> None:
    """Keep a recovery point whatever retention says."""
    settle(at, request_hold(point, reason, who=at.who, clock=at.clock), lambda got: f"{got['point']} is held.")


@command(example="snapfleet release rp-12")
@click.argument("point", shell_complete=complete_point)
def release(at: Context, point: str) -> None:
    """Let a held recovery point age again."""
    settle(at, request_release(point, who=at.who, clock=at.clock), lambda got: f"{got['point']} is no longer held.")

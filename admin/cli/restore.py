"""`snapfleet restore` and `restores`: getting things back, and what became of it."""

from collections.abc import Sequence
from typing import Any

import click

from admin.cli.command import command, group
from admin.cli.completion import complete_point
from admin.cli.context import Context
from admin.cli.follow import follow_restore, settle
from admin.cli.output import columns
from admin.costs import prices
from admin.forecast import forecast_restore
from admin.progress import timed
from admin.queries import LIMIT, list_restores, show_restore
from admin.requests import request_restore
from admin.restore_costs import archived_sizes, estimate_restore
from coordinator.restore_facts import FILE, KINDS, ROOT_WAYS, USER_DATA, VOLUME_TYPES, RestoreRequest
from coordinator.restore_plan import RestorePlan, render
from tasks.errors import Invalid

_RESTORES = columns(
    "id", "point", "resource", "name", "as=kind", "state", "started=started_at", "finished=finished_at", "reason"
)
_STEPS = columns(
    "no#=number",
    "step=name",
    "kind",
    "state",
    "percent#",
    "MiB/s#=mib_per_second",
    "left#=time_left",
    "outputs",
    "reason",
)
_COSTS = columns(
    "class", "EBS requests#=ebs_requests", "S3 requests#=s3_requests", "GiB read#=read_gib", "USD once#=once_usd"
)
_MADE = columns("kind", "id", "step", "removed=removed_at")


def _wishes(body: Any) -> Any:
    """The options of a restore: each is a field of RestoreRequest, and what is not given stays as it was."""
    options = [
        click.option("--to", "--as", "kind", type=click.Choice(KINDS), required=True, help="What is made."),
        click.option("--volume", "volumes", multiple=True, help="Only this volume: id, device or snapshot."),
        click.option("--attach-to", help="Attach new volumes to this instance."),
        click.option("--device", help="Where to attach one new volume, such as /dev/sdf."),
        click.option("--image", help="Launch from this image, then exchange its volumes for those of the point."),
        click.option("--type", help="Instance type."),
        click.option("--subnet", help="Subnet of the new instance."),
        click.option("--security-group", "security_groups", multiple=True, help="Security group, or none."),
        click.option("--address", help="original, auto, or an IPv4 address."),
        click.option("--zone", help="Availability zone."),
        click.option("--profile", help="Instance profile, or none."),
        click.option("--key", help="Key pair, or none."),
        click.option("--user-data", type=click.Choice(USER_DATA), help="Take the user data over, or leave it out."),
        click.option("--tag", "tags", multiple=True, metavar="KEY=VALUE", help="Tag what is made; may be given again."),
        click.option("--volume-type", type=click.Choice(VOLUME_TYPES), help="Type of new volumes."),
        click.option("--iops", type=click.IntRange(1), help="Operations per second of new volumes."),
        click.option("--throughput", type=click.IntRange(1), help="MiB per second of new volumes."),
        click.option("--kms-key", help="Encrypt new volumes with this key."),
        click.option("--set", "settings", multiple=True, metavar="NAME=VALUE", help="An option of the point's type."),
        click.option("--no-start", is_flag=True, help="Leave the instance stopped."),
        click.option("--root", type=click.Choice(ROOT_WAYS), help="How a root volume is put back in place."),
        click.option("--account", help="Where to; only a point in a repository can be restored anywhere."),
        click.option("--region", help="Where to; only a point in a repository can be restored anywhere."),
    ]
    for option in reversed(options):
        body = option(body)
    return body


@command(example="snapfleet restore rp-12 --to volume --attach-to i-0123456789abcdef0 --dry-run")
@click.argument("point", shell_complete=complete_point)
@_wishes
@click.option("--dry-run", is_flag=True, help="Print the exact plan, and do nothing.")
@click.option("--wait", is_flag=True, help="Follow the restore to its end and exit by its outcome.")
@click.option("--keep-on-failure", is_flag=True, help="If a step fails, keep what was made instead of removing it.")
def restore(at: Context, point: str, dry_run: bool, wait: bool, keep_on_failure: bool, **given: Any) -> int | None:
    """Restore from a recovery point.

    As new volumes, as a new instance, or in place. What is not asked for stays as it was when the point was taken.
    An archive also comes back --to file: each volume as a raw image on a worker that has a folder for that.
    --dry-run of an archive also says what reading it costs at most.
    """
    wish = _request(given)
    clock = at.clock
    plan = forecast_restore(point, wish)
    if dry_run:
        _show_plan(at, point, plan)
        return None
    asked = request_restore(point, wish, keep_on_failure, who=at.who, clock=clock)
    found = settle(at, asked, lambda result: f"{result['restore']} has begun.", wait=wait)
    return follow_restore(at, f"restore-{found['restore']}") if wait and found else None


def _show_plan(at: Context, point: str, plan: RestorePlan) -> None:
    """The plan, and from an archive what it costs at most."""
    read = [str(step.params["generation"]) for step in plan.steps if "generation" in step.params]
    costs = estimate_restore(archived_sizes(point, read), prices(), to_files=plan.kind == FILE)
    if at.output.json:
        at.output.value({**plan.to_json(), **({"costs": costs} if costs else {})})
        return
    for line in render(plan):
        at.output.line(line)
    if costs:
        at.output.line()
        at.output.rows(costs, _COSTS)


def _request(given: dict[str, Any]) -> RestoreRequest:
    wanted = {key: value for key, value in given.items() if value not in (None, (), "")}
    wanted["start"] = not wanted.pop("no_start", False)
    pairs = {"tags": _pairs("--tag", wanted.pop("tags", ())), "settings": _pairs("--set", wanted.pop("settings", ()))}
    return RestoreRequest.from_json({**wanted, **pairs})


def _pairs(option: str, items: Sequence[str]) -> dict[str, str]:
    """KEY=VALUE texts as a mapping. Raises Invalid."""
    split = [item.partition("=") for item in items]
    if any(not key or not equals for key, equals, _ in split):
        raise Invalid(f"{option} takes KEY=VALUE.")
    return {key: value for key, _, value in split}


@group(example="snapfleet restores --limit 10")
@click.option("--limit", type=click.IntRange(1, 10_000), default=LIMIT, show_default=True, help="The newest so many.")
def restores(at: Context, limit: int) -> None:
    """List restores.

    Newest first. `restores show RESTORE` shows one with its steps and everything it made.
    """
    at.open()
    at.output.rows(list_restores(limit=limit), _RESTORES, "No restores yet.")


@command(name="show", example="snapfleet restores show restore-3")
@click.argument("restore")
def restores_show(at: Context, restore: str) -> None:
    """Show one restore with its steps and everything it made."""
    at.open()
    row = show_restore(restore)
    if at.output.json:
        at.output.value(row)
        return
    keys = ("id", "point", "resource", "name", "kind", "state", "requested_by", "started_at", "finished_at", "reason")
    at.output.record(row, keys)
    at.output.line()
    at.output.rows(timed(row["steps"]), _STEPS, "It has no steps.")
    at.output.line()
    at.output.rows(row["made"], _MADE, "It has made nothing.")


restores.add_command(restores_show)

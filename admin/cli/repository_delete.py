"""`snapfleet repository delete`: what would go is shown first, and goes when its address is typed."""

import sys
from collections.abc import Mapping
from typing import Any

import click

from admin.cli.command import command
from admin.cli.context import Context
from admin.cli.repository_work import follow_work, work_done
from admin.requests_repository import DeleteWish, request_deletion
from tasks.errors import Invalid

_SHOWN = ("url", "repository", "id", "begun", "generations", "objects", "bytes", "written_at", "foreign")


@command(
    name="delete",
    example="snapfleet repository delete --path s3://acme-backups/old --account prod --region us-east-1",
)
@click.argument("name", required=False, default="")
@click.option("--path", "url", default="", metavar="URL", help="Where it lies, for one that the estate does not have.")
@click.option("--account", default="", help="The account it lies in; with --path.")
@click.option("--region", default="", help="The region it lies in; with --path.")
@click.option("--confirm", default="", metavar="URL", help="Delete what lies at this address; it is asked for without.")
@click.option("--wait", is_flag=True, help="Wait until it is gone, and exit by the outcome.")
def repository_delete(
    at: Context, name: str, url: str, account: str, region: str, confirm: str, wait: bool
) -> int | None:
    """Delete a repository with everything in it, after showing what that is.

    Refused while recovery points lie in it, a policy names it, a job writes to it or Object Lock holds it. Objects that
    are not the format's own are named and stay. What a killed worker left goes when it is asked for again.
    """
    at.open()
    wish = DeleteWish(name, url, account, region)
    if not confirm:
        found = _looked(at, wish)
        if found is None or found["blocked"] or at.output.json or not sys.stdin.isatty():
            return None
        confirm = click.prompt("Type its address to delete it", default="", show_default=False, err=True).strip()
        if confirm.rstrip("/") != found["url"].rstrip("/"):
            raise Invalid("That is not its address.", advice="Nothing was deleted.")
        confirm = found["url"]
    number = request_deletion(wish, confirm, who=at.who, clock=at.clock)
    said = "Asked a worker to delete it; ask again without --confirm to see what is left."
    return follow_work(at, number, lambda _: said, what=f"The deletion of {confirm}", wait=wait)


def _looked(at: Context, wish: DeleteWish) -> Mapping[str, Any] | None:
    """A dry run, shown; None when nothing runs that could look."""
    number = request_deletion(wish, who=at.who, clock=at.clock)
    found = work_done(at, number, lambda _: "", what=f"A look at {wish.name or wish.url}", wait=True)
    if found is None:
        return None
    if at.output.json:
        at.output.value(found)
        return found
    at.output.record(found, _SHOWN)
    for one in found["told"]:
        at.output.line(f"stays: {one}")
    more = found["foreign"] - len(found["told"])
    if more > 0:
        at.output.line(f"stays: {more} more")
    end = found["blocked"] or f"To delete it: --confirm {found['url']}"
    at.output.line(f"Nothing was deleted. {end}")
    return found

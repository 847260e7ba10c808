"""`snapfleet accounts`, `resources`, `discover`, `capabilities`: what there is and what can be done with it."""

import click

from admin.cli.command import command
from admin.cli.context import Context
from admin.cli.follow import follow_looks, settle
from admin.cli.output import columns
from admin.protection import STATES
from admin.queries import LIMIT
from admin.queries_estate import list_accounts, list_capabilities, list_resources
from admin.requests import request_look
from tasks.errors import Exit
from tasks.resources import TYPES

_ACCOUNTS = columns("name", "cloud", "kind", "number", "regions", "state", "resources#", "looked=looked_at", "note")
_RESOURCES = columns(
    "id", "name", "type", "account", "region", "rpo", "last good=last_good_at", "seen=seen_at", "gone=gone_at"
)
_LOOKS = columns("account", "region", "service", "state", "found#", "note")
_TYPES = columns("type", "cloud", "usable", "cross_region", "cross_account", "repository", "cold", "notes")


@command(example="snapfleet accounts")
def accounts(at: Context) -> None:
    """List accounts.

    With what the last contact said and how many resources were found.
    """
    at.open()
    at.output.rows(list_accounts(), _ACCOUNTS, "There is no account; write one in a file and `snapfleet apply` it.")


@command(example="snapfleet resources --account prod --type instance")
@click.option("--account", default="", help="Only in this account.")
@click.option("--type", "kind", type=click.Choice(sorted(TYPES)), help="Only of this type.")
@click.option("--rpo", type=click.Choice(STATES), help="Only those in this state.")
@click.option("--gone", is_flag=True, help="Those that are not there any more, too.")
@click.option("--limit", type=click.IntRange(1, 1_000_000), default=LIMIT, show_default=True, help="At most so many.")
def resources(at: Context, account: str, kind: str | None, rpo: str | None, gone: bool, limit: int) -> None:
    """List discovered resources.

    With the newest good point of each, and whether it keeps what its policies promise: met, at-risk (the newest slot is
    half over and no point of it is there), breached (two slots have come since the newest good point), waiting for its
    first slot, or unprotected.
    """
    at.open()
    rows = list_resources(at.clock.now(), account=account, kind=kind or "", rpo=rpo or "", gone=gone, limit=limit)
    at.output.rows(rows, _RESOURCES, "Nothing was found.")


@command(example="snapfleet discover --account prod")
@click.option("--account", help="Only this account.")
@click.option("--wait", is_flag=True, help="Wait until every look has ended and exit by the outcome.")
def discover(at: Context, account: str | None, wait: bool) -> int | None:
    """Look at what exists now.

    With --wait: exit 0 when all was seen, 3 when some places could not be looked at, 1 when none could. A service that
    the account's role may not look at, and that no policy and no recovery point needs, is not-granted and no failure.
    """
    asked_at = at.clock.timer()
    wish = request_look("discover", account, who=at.who, clock=at.clock)
    got = settle(at, wish, lambda got: f"{len(got.get('jobs', ()))} looks were asked for.", wait=wait)
    if not wait or got is None:
        return None
    rows = follow_looks(at, got["jobs"], asked_at)
    if rows is None:
        return int(Exit.FAILED)
    at.output.rows(rows, _LOOKS, "There is no account to look at.")
    states = {row["state"] for row in rows}
    if rows and "done" not in states:
        return int(Exit.FAILED)
    return int(Exit.PARTLY if "failed" in states else Exit.DONE)


@command(example="snapfleet capabilities --output json")
def capabilities(at: Context) -> None:
    """List what can be done with each type of resource.

    In the column of repositories, export says that a policy's `export` is possible, and its `repository` is not.
    """
    at.output.rows(list_capabilities(), _TYPES)

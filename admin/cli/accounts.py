"""`snapfleet accounts`, `resources`, `discover`, `capabilities`: what there is and what can be done with it."""

import click

from admin.cli.command import command
from admin.cli.context import Context
from admin.cli.follow import settle
from admin.cli.output import columns
from admin.queries import LIMIT
from admin.queries_estate import list_accounts, list_capabilities, list_resources
from admin.requests import request_look
from tasks.resources import TYPES

_ACCOUNTS = columns("name", "cloud", "kind", "number", "regions", "state", "resources#", "looked=looked_at", "note")
_RESOURCES = columns(
    "id", "name", "type", "account", "region", "last good=last_good_at", "seen=seen_at", "gone=gone_at"
)
_TYPES = columns("type", "cloud", "cross_region", "cross_account", "repository", "cold", "notes")


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
@click.option("--gone", is_flag=True, help="Those that are not there any more, too.")
@click.option("--limit", type=click.IntRange(1, 1_000_000), default=LIMIT, show_default=True, help="At most so many.")
def resources(at: Context, account: str, kind: str | None, gone: bool, limit: int) -> None:
    """List discovered resources.

    With the newest good point of each.
    """
    at.open()
    at.output.rows(
        list_resources(account=account, kind=kind or "", gone=gone, limit=limit), _RESOURCES, "Nothing was found."
    )


@command(example="snapfleet discover --account prod")
@click.option("--account", help="Only this account.")
def discover(at: Context, account: str | None) -> None:
    """Look at what exists now."""
    wish = request_look("discover", account, who=at.who, clock=at.clock)
    settle(at, wish, lambda got: f"{len(got.get('jobs', ()))} looks were asked for.")


@command(example="snapfleet capabilities --output json")
def capabilities(at: Context) -> None:
    """List what can be done with each type of resource."""
    at.output.rows(list_capabilities(), _TYPES)

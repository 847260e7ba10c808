"""`snapfleet tokens`: service tokens for /metrics and /api."""

import click

from admin.access import SCOPES, create_token, revoke_token
from admin.cli.command import command, group
from admin.cli.context import Context
from admin.cli.output import columns
from admin.queries_estate import list_tokens
from coordinator.interval import Interval
from tasks.errors import Invalid

_TOKENS = columns("name", "scope", "created=created_at", "expires=expires_at")


@group(example="snapfleet tokens list")
def tokens(at: Context) -> None:
    """Manage tokens for metrics and the API.

    The same as `snapfleet tokens list`.
    """
    _list(at)


@command(name="list", example="snapfleet tokens list")
def tokens_list(at: Context) -> None:
    """List tokens by name; their texts are stored nowhere."""
    _list(at)


def _list(at: Context) -> None:
    at.open()
    at.output.rows(list_tokens(), _TOKENS, "There is no token.")


@command(name="create", example="snapfleet tokens create prometheus --scope metrics --expires 1y")
@click.argument("name")
@click.option("--scope", type=click.Choice(SCOPES), default="metrics", show_default=True, help="What it opens.")
@click.option("--expires", metavar="SPAN", help="After how long, such as 90d; without it, never.")
def tokens_create(at: Context, name: str, scope: str, expires: str | None) -> None:
    """Make a token and show it once."""
    try:
        lifetime = Interval.parse(expires, "--expires").duration if expires else None
    except ValueError as error:
        raise Invalid(f"{error}.") from None
    text = create_token(name, scope, lifetime, who=at.who, clock=at.clock)
    at.output.result({"name": name, "scope": scope, "token": text}, f"Token {name} for {scope}, shown once: {text}")


@command(name="revoke", example="snapfleet tokens revoke prometheus")
@click.argument("name")
def tokens_revoke(at: Context, name: str) -> None:
    """Make a token worthless at once."""
    revoke_token(name, who=at.who, clock=at.clock)
    at.output.result({"name": name, "revoked": True}, f"Token {name} opens nothing any more.")


for _verb in (tokens_list, tokens_create, tokens_revoke):
    tokens.add_command(_verb)

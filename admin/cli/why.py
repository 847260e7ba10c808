"""`snapfleet why`: why anything is as it is."""

from datetime import UTC, datetime

import click

from admin.cli.command import command
from admin.cli.completion import complete_thing
from admin.cli.context import Context
from admin.queries import Row
from admin.why import Asking, explain
from admin.why_policy import explain_slot
from tasks.errors import Invalid


@command(example="snapfleet why i-0123456789abcdef0")
@click.argument("thing", shell_complete=complete_thing)
@click.option("--slot", default="", metavar="TIME", help="Of a policy: what became of this slot (ISO 8601; else UTC).")
def why(at: Context, thing: str, slot: str) -> None:
    """Say why something is as it is.

    THING is a resource by id or name (which policies cover it, why others do not), a policy (why it is late, what was
    missed), run-N, job-N (what it waits for, why it failed), restore-N, or a point rp-N (why it stays or goes).
    """
    clock = at.clock
    asking = Asking.of(at.settings, clock)
    found = explain_slot(thing, _time(slot), asking) if slot else explain(thing, asking)
    if at.output.json:
        at.output.value(found)
        return
    at.output.line(_head(found))
    for reason in found["reasons"]:
        of = f"{reason['policy']}: " if "policy" in reason else ""
        at.output.line(f"  {of}{reason['text']} ({reason['code']})")


def _head(found: Row) -> str:
    if "keep" in found:
        return f"{found['thing']} {'stays' if found['keep'] else 'goes'}:"
    return f"{found['thing']} ({found['kind']}) is {found['state']}:"


def _time(text: str) -> datetime:
    try:
        read = datetime.fromisoformat(text)
    except ValueError:
        raise Invalid(f"{text!r} is no time.", advice="Write one like 2026-12-01T01:30.") from None
    return read if read.tzinfo else read.replace(tzinfo=UTC)

"""`snapfleet orphans`: what lay in the cloud with our tag and without a record."""

import click

from admin.cli.command import group
from admin.cli.context import Context
from admin.cli.output import columns
from admin.cli.rebuilding import orphans_adopt
from admin.orphans import list_orphans
from admin.queries import LIMIT

_ORPHANS = columns("id", "resource", "policy", "account", "region", "state", "GiB#=size_gib", "begun=begun_at", "holds")


@group(example="snapfleet orphans --all")
@click.option("--all", "every", is_flag=True, help="Those that cleanup has deleted, too.")
@click.option("--limit", type=click.IntRange(1, 100_000), default=LIMIT, show_default=True, help="The newest so many.")
def orphans(at: Context, every: bool, limit: int) -> None:
    """List snapshots that carry this installation's tag and had no record.

    Workers look once a day where backups and copies are followed, and pass over what is younger than a day. What they
    find is a failed recovery point. Retention lets it go once a later good one exists, unless it is held: by `snapfleet
    hold`, or because it is older than the catalog's last putting back, and then `snapfleet release` lets it go.
    `snapfleet orphans adopt` makes a good point of it.
    """
    at.open()
    at.output.rows(list_orphans(every=every, limit=limit), _ORPHANS, "No orphans were found.")


orphans.add_command(orphans_adopt)

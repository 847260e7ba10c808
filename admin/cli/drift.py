"""`snapfleet drift`: what carries Snapfleet's tags no more."""

from admin.cli.command import command
from admin.cli.context import Context
from admin.cli.output import columns
from admin.drift import list_drift

_DRIFT = columns("id", "account", "region", "service", "holds", "put back=put_back")


@command(example="snapfleet drift")
def drift(at: Context) -> None:
    """List snapshots whose tags somebody took off or changed.

    Workers look once a day. Cleanup deletes only what carries this installation's tag: the tags of the last column are
    to be put back, by the cloud's own tools.
    """
    at.open()
    at.output.rows(list_drift(), _DRIFT, "Everything carries its tags.")

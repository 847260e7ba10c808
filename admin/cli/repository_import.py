"""`snapfleet repository archive`, `import` and `adopt`: how recovery points come into a repository."""

from collections.abc import Sequence
from pathlib import Path

import click

from admin.cli.command import command
from admin.cli.completion import complete_point, complete_policy
from admin.cli.context import Context
from admin.cli.output import columns
from admin.cli.repository_keys import chosen_key, key_options
from admin.cli.repository_work import COSTS, follow_work
from admin.costs import CHANGED, estimate, estimate_import, prices
from admin.queries_repository import size_of_point
from admin.requests_repository import AdoptWish, ImportWish, request_adopt, request_archive, request_import
from tasks.errors import Invalid

_FOUND = columns("snapshot", "volume", "GiB#=size_gib", "taken=taken_at")


@command(name="archive", example="snapfleet repository archive rp-12 --wait")
@click.argument("point", shell_complete=complete_point)
@click.option("--to", "name", default="", metavar="NAME", help="Into this repository, not that of the point's policy.")
@click.option("--dry-run", is_flag=True, help="Say what it would cost at most, by storage class, and do nothing.")
@click.option("--wait", is_flag=True, help="Wait until it is archived, and exit by the outcome.")
def repository_archive(at: Context, point: str, name: str, dry_run: bool, wait: bool) -> int | None:
    """Archive a good recovery point at once.

    Whatever turn its policy's repository is at. What it makes is a recovery point as any archive.
    """
    at.open()
    if dry_run:
        _show_costs(at, point, name)
        return None
    number = request_archive(point, name, who=at.who, clock=at.clock)
    said = f"Asked a worker to archive {point}; see `snapfleet repository list`."
    return follow_work(at, number, lambda _: said, what=f"The archive of {point}", wait=wait)


def _show_costs(at: Context, point: str, name: str) -> None:
    load, first = size_of_point(point, name)
    found = estimate(load, 1.0 if first else CHANGED, prices())
    volumes, size = load.volumes, load.size_gib
    if at.output.json:
        at.output.value({"point": point, "volumes": volumes, "size_gib": size, "first": first, "costs": found})
        return
    kind = "the first archive, which is a full one" if first else "a later archive, of 2 % changed blocks"
    at.output.line(f"{point}: {volumes} volumes, {size} GiB; {kind}")
    at.output.rows(found, COSTS[1:])


@command(name="import", example="snapfleet repository import cold --account prod --region us-east-1 --tag team=web")
@click.argument("name")
@click.option("--account", required=True, help="The account that owns the snapshots.")
@click.option("--region", required=True, help="The region they lie in.")
@click.option("--tag", "tags", multiple=True, metavar="KEY=VALUE", help="Only with this tag; may be given again.")
@click.option("--volume", "volumes", multiple=True, metavar="ID", help="Only of this volume; may be given again.")
@click.option("--since", default="", metavar="DATE", help="Only those taken then or later (UTC).")
@click.option("--until", default="", metavar="DATE", help="Only those taken before then (UTC).")
@click.option("--policy", default="", shell_complete=complete_policy, help="Let them age by this policy's rule.")
@click.option("--keep", default="", metavar="TIME", help="Keep them so long from when they were taken, as 7y or 90d.")
@click.option("--dry-run", is_flag=True, help="List what would be taken in and what that costs, and do nothing.")
@click.option("--wait", is_flag=True, help="Wait until a worker has looked; the imports themselves go on.")
def repository_import(
    at: Context,
    name: str,
    account: str,
    region: str,
    tags: Sequence[str],
    volumes: Sequence[str],
    since: str,
    until: str,
    policy: str,
    keep: str,
    dry_run: bool,
    wait: bool,
) -> int | None:
    """Take EBS snapshots that others made into a repository.

    The oldest of each volume is read whole, later ones by changed blocks, at their own times. The snapshots stay as
    they are. Asking again takes in what is new and tries again what failed. Without --policy or --keep they stay.
    """
    wish = ImportWish(account, region, _pairs(tags), since, until, tuple(volumes), policy, keep, dry_run)
    at.open()
    number = request_import(name, wish, who=at.who, clock=at.clock)
    said = f"Asked a worker to look and import what it finds; see `snapfleet points --destination repository:{name}`."
    what = f"A look for snapshots in {account}/{region}"
    costs = (lambda result: estimate_import(result["found"], prices())) if dry_run else None
    return follow_work(at, number, lambda _: said, what=what, wait=wait or dry_run, rows=("found", _FOUND), costs=costs)


@command(name="adopt", example="snapfleet repository adopt s3://acme-backups/cold --dry-run")
@click.argument("url")
@click.option("--name", default="", help="How to call it, where the estate has no repository at this address.")
@click.option("--account", default="", help="The account it lies in; as --name.")
@click.option("--region", default="", help="The region it lies in; as --name.")
@key_options
@click.option("--dry-run", is_flag=True, help="Say what would be taken over, and write nothing.")
@click.option("--wait", is_flag=True, help="Wait until a worker has done it, and exit by its outcome.")
def repository_adopt(
    at: Context,
    url: str,
    name: str,
    account: str,
    region: str,
    key: str,
    key_file: Path | None,
    kms: str,
    dry_run: bool,
    wait: bool,
) -> int | None:
    """Take over a repository: its archives become recovery points of this catalog.

    For a catalog that was lost. One that the estate does not name takes --name, --account, --region and any key that
    opens it; none where KMS does. Nothing in the bucket is changed, and adopting twice changes nothing. Points whose
    policy is not in this estate stay until somebody removes them; resources that are not there any more are gone.
    """
    at.open()
    wish = AdoptWish(url, name, account, region, chosen_key(at, name, key, key_file, kms), dry_run)
    number = request_adopt(wish, who=at.who, clock=at.clock)
    said = "Asked a worker to read it; see `snapfleet repository list`."
    return follow_work(at, number, lambda _: said, what=f"The adoption of {url}", wait=wait or dry_run)


def _pairs(given: Sequence[str]) -> dict[str, str]:
    found = {}
    for text in given:
        key, equals, value = text.partition("=")
        if not (key and equals):
            raise Invalid(f"--tag does not take {text!r}.", advice="Write KEY=VALUE.")
        found[key] = value
    return found

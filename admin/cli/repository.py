"""`snapfleet repository`: repositories of archives. What touches one is done by a worker; here it is asked for."""

import os
from pathlib import Path
from typing import Any

import click

from admin.cli.command import command, group
from admin.cli.context import Context
from admin.cli.output import columns
from admin.cli.repository_delete import repository_delete
from admin.cli.repository_import import repository_adopt, repository_archive, repository_import
from admin.cli.repository_keys import (
    chosen_key,
    key_options,
    repository_add_key,
    repository_keys,
    repository_remove_key,
    repository_rotate_key,
)
from admin.cli.repository_work import COSTS, follow_work
from admin.costs import CHANGED, estimate, prices, snapshots_month
from admin.progress import timed
from admin.queries_repository import find_repository, list_repositories, show_repository, sizes_of
from admin.requests import request_repository
from tasks.errors import Invalid, Refused
from tasks.secrets import unseal

_LIST = columns(
    "name", "account", "region", "url", "archives#", "oldest=oldest_at", "newest=newest_at", "stored#=stored_bytes",
    "verified=verified_at", "problems#",
)  # fmt: skip
_UNDER_WAY = columns(
    "kind", "resource", "volume", "state", "percent#", "moved#=moved_bytes", "MiB/s#=mib_per_second",
    "left#=time_left", "full because=why_full", "reason",
)  # fmt: skip
_wait = click.option("--wait", is_flag=True, help="Wait until a worker has done it, and exit by its outcome.")


@group(example="snapfleet repository list")
def repository(at: Context) -> None:
    """Manage repositories of archives.

    The same as `snapfleet repository list`.
    """
    _list(at)


@command(name="list", example="snapfleet repository list")
def repository_list(at: Context) -> None:
    """List repositories with their archives."""
    _list(at)


def _list(at: Context) -> None:
    at.open()
    at.output.rows(list_repositories(), _LIST, "No repositories; add one to the estate file.")


@command(name="show", example="snapfleet repository show cold")
@click.argument("name")
def repository_show(at: Context, name: str) -> None:
    """Show one repository: what was last found there, and what is under way with rate and time left."""
    at.open()
    row = show_repository(name)
    if at.output.json:
        at.output.value(row)
        return
    at.output.record(
        row, ("name", "account", "region", "url", "policies", "archives", "oldest_at", "newest_at", "stored_bytes")
    )
    for verb, facts in sorted(row["facts"].items()):
        at.output.line()
        at.output.line(f"{verb}:")
        at.output.record(facts, tuple(facts))
    at.output.line()
    at.output.rows(timed(row["under_way"]), _UNDER_WAY, "Nothing is under way.")


@command(name="create", example="snapfleet repository create cold --wait")
@click.argument("name")
@key_options
@_wait
def repository_create(at: Context, name: str, key: str, key_file: Path | None, kms: str, wait: bool) -> int | None:
    """Create a repository of the estate where its address says.

    It opens by the key of the estate file, or by the one given here, which workers use from then on: write it into the
    estate file too. One that is there already is opened instead, so that this also proves that key and address fit.
    """
    at.open()
    return _ask(at, name, "create", chosen_key(at, name, key, key_file, kms), wait)


@command(name="stats", example="snapfleet repository stats cold --wait")
@click.argument("name")
@_wait
def repository_stats(at: Context, name: str, wait: bool) -> int | None:
    """Count what a repository holds: generations, volumes, objects, and bytes by storage class."""
    return _ask(at, name, "stats", {}, wait)


@command(name="verify", example="snapfleet repository verify cold --share 3/30 --wait")
@click.argument("name")
@click.option("--full", is_flag=True, help="Read every byte.")
@click.option("--share", metavar="K/N", help="Read the K-th of N shares of all packs byte by byte, K from 0.")
@_wait
def repository_verify(at: Context, name: str, full: bool, share: str | None, wait: bool) -> int | None:
    """Verify a repository: structure, and that everything is there.

    Also that every generation that the catalog knows is still there. A share is verified every day by itself.
    """
    if full and share:
        raise Invalid("--full reads everything, so it goes without --share.")
    options: dict[str, Any] = {"full": True} if full else {"share": _share(share)} if share else {}
    return _ask(at, name, "verify", options, wait)


def _share(text: str) -> list[int]:
    number, _, shares = text.partition("/")
    if not (number.isdecimal() and shares.isdecimal() and 0 <= int(number) < int(shares)):
        raise Invalid("--share takes K/N, with K from 0 and less than N.")
    return [int(number), int(shares)]


@command(name="prune", example="snapfleet repository prune cold --dry-run --wait")
@click.argument("name")
@click.option("--dry-run", is_flag=True, help="Say what would go, and delete nothing.")
@click.option("--early", is_flag=True, help="Also cold objects that are billed for longer, whatever that costs.")
@_wait
def repository_prune(at: Context, name: str, dry_run: bool, early: bool, wait: bool) -> int | None:
    """Delete what nothing in a repository needs any more and whose grace has passed.

    Done every day by itself. Which archives go is decided by retention, never here. Cold objects stay until the time
    is over that they are billed for: `early` counts them, with the days left and what these cost.
    """
    options = {word: True for word, given in (("dry_run", dry_run), ("early", early)) if given}
    return _ask(at, name, "prune", options, wait)


@command(name="compact", example="snapfleet repository compact cold --dry-run --wait")
@click.argument("name")
@click.option("--dry-run", is_flag=True, help="Say what would be won, and move nothing.")
@_wait
def repository_compact(at: Context, name: str, dry_run: bool, wait: bool) -> int | None:
    """Move what is needed out of packs that are mostly dead, where that pays.

    Done every week by itself. The old packs go with a prune after the grace. Cold packs stay as they are, and locked
    ones until their lock ends: they are told with the day, and with the bytes in them that nobody needs.
    """
    return _ask(at, name, "compact", {"dry_run": True} if dry_run else {}, wait)


@command(name="repair", example="snapfleet repository repair cold --dry-run --wait")
@click.argument("name")
@click.option("--dry-run", is_flag=True, help="Read every byte and say what is lost; write nothing.")
@_wait
def repository_repair(at: Context, name: str, dry_run: bool, wait: bool) -> int | None:
    """Save what is sound of a damaged repository, and list what is lost.

    Reads every byte. Lost blocks are zeros from then on and listed with their generation; volumes that lost something
    are archived whole the next time. Nothing is deleted.
    """
    return _ask(at, name, "repair", {"dry_run": True} if dry_run else {}, wait)


@command(name="tier", example="snapfleet repository tier cold --wait")
@click.argument("name")
@_wait
def repository_tier(at: Context, name: str, wait: bool) -> int | None:
    """Move archives that have come of age to their policies' cold class now.

    Done every day by itself. What a younger archive shares with them stays readable until that one moves too.
    """
    return _ask(at, name, "tier", {}, wait)


@command(name="estimate", example="snapfleet repository estimate web")
@click.argument("policy")
def repository_estimate(at: Context, policy: str) -> None:
    """Say what archiving a policy would cost at most, by storage class.

    From the newest points of its targets and the file of prices: the first archive, which is a full one, and a later
    one of 2 % changed blocks.
    """
    at.open()
    load, given = sizes_of(policy), prices()
    snapshots = snapshots_month(load, given)
    found = [
        {"archive": label, **row}
        for label, share in (("first", 1.0), ("later", CHANGED))
        for row in estimate(load, share, given)
    ]
    if at.output.json:
        told = {"policy": policy, "volumes": load.volumes, "size_gib": load.size_gib}
        at.output.value({**told, "snapshots_month_usd": snapshots, "costs": found})
        return
    at.output.line(f"{policy}: {load.volumes} volumes, {load.size_gib} GiB")
    at.output.line(f"One snapshot of each costs {snapshots} USD a month at most: what is used of it is billed.")
    at.output.rows(found, COSTS)


@command(name="export-key", example="snapfleet repository export-key cold cold.key")
@click.argument("name")
@click.argument("file", type=click.Path(path_type=Path))
def repository_export_key(at: Context, name: str, file: Path) -> None:
    """Write a repository's passphrase or key file to a new file, kept where this installation cannot be lost with it.

    With it, the bucket and `python -m workers.repository` everything can be restored when nothing else is left.
    """
    at.open()
    row = find_repository(name)
    if row.get("kms_key"):
        advice = f"Add a key for the safe: snapfleet repository add-key {name} --key-file FILE"
        raise Refused(f"The key of {name} never leaves KMS.", advice=advice)
    field = "key_file" if row.get("key_file") else "key"
    secret = unseal(at.settings.master_key(), row["key_sealed"], f"repository.{field}.{name}")
    if not secret:
        raise Invalid(f"The repository {name!r} has no key.")
    try:
        handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise Refused(f"{file} cannot be written: {error.strerror}.") from None
    content = bytes.fromhex(secret.reveal()) if field == "key_file" else secret.reveal().encode()
    with os.fdopen(handle, "wb") as out:
        out.write(content)
    what = "key file" if field == "key_file" else "passphrase"
    at.output.result({"file": str(file)}, f"The {what} of {name} is in {file}, readable by you only.")


def _ask(at: Context, name: str, verb: str, options: dict[str, Any], wait: bool) -> int | None:
    at.open()
    wish = request_repository(name, verb, options, who=at.who, clock=at.clock)
    said = f"Asked a worker to {verb} {name}; see `snapfleet repository show {name}`."
    return follow_work(at, wish, lambda _: said, what=f"{verb} {name}", wait=wait)


for _verb in (
    repository_list,
    repository_show,
    repository_create,
    repository_stats,
    repository_verify,
    repository_prune,
    repository_compact,
    repository_repair,
    repository_tier,
    repository_estimate,
    repository_export_key,
    repository_archive,
    repository_import,
    repository_adopt,
    repository_keys,
    repository_add_key,
    repository_remove_key,
    repository_rotate_key,
    repository_delete,
):
    repository.add_command(_verb)

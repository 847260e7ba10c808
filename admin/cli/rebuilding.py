"""`snapfleet state rebuild` and `snapfleet orphans adopt`: recovery points from what the clouds hold with our tag."""

from collections.abc import Mapping
from typing import Any

import click

from admin.cli.command import command
from admin.cli.context import Context
from admin.cli.follow import follow_places, settle
from admin.cli.output import columns
from admin.rebuilding import list_places, request_orphans, request_rebuild
from tasks.errors import Exit

_PLACES = columns(
    "account", "region", "service", "state", "points#", "failed#", "known#=already", "running#", "skipped#", "note"
)  # fmt: skip
_POINTS = columns("resource", "policy", "destination", "taken=taken_at", "parts", "note=why")
_ORPHANS = columns("id", "adopted", "note=why")
_COUNTED = ("points", "failed", "already", "running")


@command(name="rebuild", example="snapfleet state rebuild --dry-run --wait")
@click.option("--dry-run", is_flag=True, help="Say what would be written, and write nothing.")
@click.option("--unseen", is_flag=True, help="Also where no look at the estate was good: what is there counts as gone.")
@click.option("--wait", is_flag=True, help="Wait until every place has answered, and exit by the outcome.")
def state_rebuild(at: Context, dry_run: bool, unseen: bool, wait: bool) -> int | None:
    """Write recovery points again from the clouds' tags.

    For a catalog that was lost without a backup, after `snapfleet init --installation`, or one put back from an old
    backup. Every place of the estate is asked for what carries this installation's tag. What the catalog does not know
    becomes a good point where the cloud says that it is complete, and else a failed one, which is held; retention lets
    no good one go for three days. What the catalog knows stays, so that doing it twice changes nothing.
    """
    at.open()
    asked_at = at.clock.timer()
    wish = request_rebuild(dry_run=dry_run, unseen=unseen, who=at.who, clock=at.clock)
    got = settle(at, wish, lambda got: f"{len(got.get('jobs', ()))} places are being asked.", wait=wait)
    if not wait or got is None:
        return None
    rows = follow_places(at, lambda: list_places(got["jobs"], asked_at), "the rebuilding", "snapfleet points")
    if rows is None:
        return int(Exit.FAILED)
    if at.output.json:
        at.output.value({"dry_run": dry_run, "places": rows})
    else:
        _show(at, rows, dry_run)
    failed = sum(row["state"] == "failed" for row in rows)
    return int(Exit.DONE if not failed else Exit.FAILED if failed == len(rows) else Exit.PARTLY)


def _show(at: Context, rows: list[dict[str, Any]], dry_run: bool) -> None:
    told = [row for row in rows if row["state"] == "failed" or row["result"].get("listed")]
    at.output.rows([_place(row) for row in told], _PLACES, "Nowhere can be told by tags what is ours.")
    results = [row["result"] for row in rows if row["result"]]
    listed = [one for result in results for one in [*(result["written"] if dry_run else ()), *result["left"]]]
    if listed:
        at.output.line()
        at.output.rows([{"why": "", **one} for one in listed], _POINTS, "")
    for text in (text for result in results for text in result["skipped"]):
        at.output.line(text)
    if any(result["running"] for result in results):
        at.output.line("Some is still being made: rebuild again when the clouds are done with it.")


def _place(row: Mapping[str, Any]) -> dict[str, Any]:
    result = row["result"]
    counts = {name: result.get(name) for name in _COUNTED}
    return {**row, **counts, "skipped": len(result["skipped"]) if result else None}


@command(name="adopt", example="snapfleet orphans adopt rp-1024 --dry-run --wait")
@click.argument("points", nargs=-1, metavar="[RP-ID]...")
@click.option("--all", "every", is_flag=True, help="Every orphan that is still there.")
@click.option("--dry-run", is_flag=True, help="Say which could be adopted, and change nothing.")
@click.option("--wait", is_flag=True, help="Wait until the clouds have answered, and exit by the outcome.")
def orphans_adopt(at: Context, points: tuple[str, ...], every: bool, dry_run: bool, wait: bool) -> int | None:
    """Make good recovery points of orphans.

    The cloud is asked again: only what it says is complete becomes good, and then ages by the rules of its policy
    (`snapfleet hold` keeps it). With --wait each other is told with the reason, and the exit code is 3, or 1 when none
    was adopted.
    """
    at.open()
    asked_at = at.clock.timer()
    wish = request_orphans(points, every=every, dry_run=dry_run, who=at.who, clock=at.clock)
    got = settle(at, wish, lambda got: f"{len(got.get('jobs', ()))} places are being asked.", wait=wait)
    if not wait or got is None:
        return None
    places = follow_places(at, lambda: list_places(got["jobs"], asked_at), "the adoption", "snapfleet orphans")
    if places is None:
        return int(Exit.FAILED)
    rows = [one for place in places for one in place["result"].get("orphans", ())]
    at.output.rows(rows, _ORPHANS, "")
    for place in places if not at.output.json else ():
        if place["state"] == "failed":
            at.output.line(f"{place['account']} {place['region']}: {place['note']}")
    adopted = sum(one["adopted"] for one in rows)
    whole = adopted == len(rows) and all(place["state"] == "done" for place in places)
    return int(Exit.DONE if whole and adopted else Exit.PARTLY if adopted else Exit.FAILED)

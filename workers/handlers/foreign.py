"""A look for snapshots that others made: which of them a repository can take in, and why the others cannot."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from tasks.catalog import Job, Part, Point, session, transaction
from tasks.catalog.archives import repository_destination
from tasks.catalog.transitions import finish_job
from tasks.states import PointState
from workers import fence
from workers.blocks import Blocks, Foreign
from workers.context import Context
from workers.driver import TAG_INSTALLATION, Account
from workers.repositories import blocks_of

# Snapshots that one look takes up. More are taken up by asking again, as what was imported is passed over.
MOST = 5000
# Refused ones that are told one by one.
_TOLD = 50


def run(context: Context, job: Job) -> None:
    """Find what the job's filters choose and the repository has not, oldest first, as the job's result.

    `since` (inclusive) and `until` (exclusive) are times in ISO 8601. Snapshots of this installation are passed over.
    Raises the family.
    """
    spec = job.spec
    with session():
        account = context.account(job.account)
    blocks = blocks_of(context, "volume")
    chosen = sorted(_chosen(context, blocks, account, job), key=lambda one: (one.taken_at, one.snapshot_id))
    fit = [one for one in chosen if not one.why_not]
    refused = [f"{one.snapshot_id}: {one.why_not}" for one in chosen if one.why_not]
    known = _known(job.spec["repository"], fit)
    new = [one for one in fit if one.snapshot_id not in known]
    with transaction():
        fence.keep(job)
        result = {
            "repository": spec["repository"],
            "snapshots": len(new[:MOST]),
            "volumes": len({one.volume_id or one.snapshot_id for one in new[:MOST]}),
            "gib": sum(one.size_gib for one in new[:MOST]),
            "already": len(known),
            "refused": len(refused),
            "told": refused[:_TOLD],
            "more": len(new) > MOST,
            "found": [_row(one) for one in new[:MOST]],
        }
        finish_job(job, context.clock.timer(), result=result)


def _chosen(context: Context, blocks: Blocks, account: Account, job: Job) -> Iterator[Foreign]:
    spec = job.spec
    since, until = _time(spec.get("since")), _time(spec.get("until"))
    for one in blocks.snapshots(account, job.region, spec.get("tags") or {}):
        late = (since is not None and one.taken_at < since) or (until is not None and one.taken_at >= until)
        other = spec.get("volumes") and one.volume_id not in spec["volumes"]
        if not (late or other or one.tags.get(TAG_INSTALLATION) == context.installation):
            yield one


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def _known(repository: str, found: list[Foreign]) -> set[str]:
    """Those that a good archive in the repository was made of."""
    volumes = {one.volume_id or one.snapshot_id for one in found}
    query = (
        Part.select(Part.source_id, Part.attributes)
        .join(Point)
        .where(Point.destination == repository_destination(repository), Point.state == PointState.GOOD)
    )
    with session():
        parts = [part for part in query if part.source_id in volumes or not part.source_id]
        archived = {str(part.attributes.get("snapshot_id", "")) for part in parts}
    return {one.snapshot_id for one in found} & archived


def _row(one: Foreign) -> dict[str, Any]:
    return {
        "snapshot": one.snapshot_id,
        "volume": one.volume_id or one.snapshot_id,
        "size_gib": one.size_gib,
        "taken_at": one.taken_at.isoformat(),
        "encrypted": one.encrypted,
        "kms_key_id": one.kms_key_id,
    }

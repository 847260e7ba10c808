"""Standing jobs: one row per account, region and service for polls and looks, used again and again.

Being one row is what makes them single-flight: while it is pending, queued or running, no second one is published.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from tasks.catalog import Job
from tasks.catalog.transitions import BATCH, add_jobs, requeue_idle
from tasks.lanes import Lane

# A look that met a refused connection is taken again at once: a run waits for it for minutes, and without one it would
# leave out what nobody has seen yet. A poll that failed is simply woken again when it is next due.
ATTEMPTS = {"discover": 3, "rebuild": 3, "rebuild-look": 3}
RETRY_WAIT_S = 15


@dataclass(frozen=True)
class Place:
    """Where a standing job looks, and what it is told there."""

    account_id: int
    region: str
    service: str
    spec: Mapping[str, Any] = field(default_factory=dict)


def wake_all(kind: str, lane: Lane, places: Sequence[Place], at: datetime) -> list[int]:
    """Have the standing jobs of these places run (again), in few statements; call inside a transaction.

    Returns their ids in the order of the places. One that is pending or running already gets no second message.
    """
    keys = [f"{kind}:{place.account_id}:{place.region}:{place.service}" for place in places]
    known: dict[str, Job] = {
        row.key: row
        for start in range(0, len(keys), BATCH)
        for row in Job.select(Job.id, Job.key, Job.spec).where(Job.key.in_(keys[start : start + BATCH]))
    }
    new = [
        {
            "kind": kind,
            "lane": str(lane),
            "key": key,
            "account": place.account_id,
            "region": place.region,
            "service": place.service,
            "spec": dict(place.spec),
            "settled": True,
            "max_attempts": ATTEMPTS.get(kind, 1),
            "retry_wait_s": RETRY_WAIT_S,
        }
        for key, place in zip(keys, places, strict=True)
        if key not in known
    ]
    ids = {key: int(row.id) for key, row in known.items()}
    ids |= {str(row["key"]): number for row, number in zip(new, add_jobs(new, at), strict=True)}
    for key, place in zip(keys, places, strict=True):
        if key in known and known[key].spec != place.spec:
            Job.update(spec=dict(place.spec)).where(Job.id == known[key].id).execute()
    requeue_idle([int(row.id) for row in known.values()], at)
    return [ids[key] for key in keys]

"""Rebuilding a catalog from the clouds' tags, and adopting orphans: the wish becomes jobs of workers, who alone ask a
cloud."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from coordinator.looks import Looks, Scope, read_looks, services_of
from coordinator.standing import Place, wake_all
from coordinator.targets import scopes_of
from tasks.catalog import Point, Policy, Resource, rows
from tasks.catalog.point import ORPHAN
from tasks.catalog.transitions import BATCH, add_jobs
from tasks.errors import Refused
from tasks.lanes import Lane
from tasks.resources import TYPES
from tasks.states import PointState

_NAMED = 3  # places that a refusal names
POINTS_A_JOB = 500


def ask_rebuild(wish: Mapping[str, Any], at: datetime) -> list[int]:
    """Have workers write what no row knows, or with `dry_run` tell it, at every place of the estate; the jobs' ids.
    Call inside a transaction.

    Raises Refused while the estate is not known: what was never looked at would count as gone, and copies as of nothing
    that there is. With `unseen` that is so.
    """
    looks = read_looks()
    scopes = [
        (row.name, region, service)
        for row in looks.accounts.values()
        for region in row.regions
        for service in sorted(services_of(row.cloud))
    ]
    if not scopes:
        raise Refused("The estate has no account to look at.", advice="Apply the estate file first.", code="no-place")
    unseen = [] if wish.get("unseen") else _unseen(looks, scopes)
    if unseen:
        named = ", ".join(" ".join(scope) for scope in unseen[:_NAMED])
        more = f" and {len(unseen) - _NAMED} more" if len(unseen) > _NAMED else ""
        raise Refused(
            f"No look at {named}{more} has been good yet: what is there would count as gone.",
            advice="Run `snapfleet discover --wait` until all is seen; where a place is lost, give --unseen.",
            code="not-looked",
        )
    kind = "rebuild-look" if wish.get("dry_run") else "rebuild"
    places = [Place(looks.accounts[account].id, region, service) for account, region, service in scopes]
    return wake_all(kind, Lane.DISCOVER, places, at)


def _unseen(looks: Looks, scopes: Sequence[Scope]) -> list[Scope]:
    """Places without a good look. One that was looked at in vain counts where a policy backs something up there."""
    specs = [spec for (spec,) in rows(Policy.select(Policy.spec).where(Policy.deleted_at.is_null()))]
    needed = scopes_of([target for spec in specs for target in spec.get("targets") or ()], looks.regions)
    return [one for one in scopes if one not in looks.finished and (one in needed or one not in looks.failed)]


def ask_orphans(wish: Mapping[str, Any], at: datetime) -> list[int]:
    """Have workers make good points of orphans (`points`, by number, or all), or with `dry_run` tell which can be; the
    jobs' ids. Call inside a transaction. Raises Refused for a point that is no orphan."""
    numbers = [int(number) for number in wish.get("points") or ()]
    places: dict[tuple[int, str, str], list[int]] = defaultdict(list)
    query = Point.select(Point.id, Point.account, Point.region, Resource.type).join(Resource)
    query = query.where(Point.state == PointState.FAILED, Point.error_code == ORPHAN).order_by(Point.id)
    some = [numbers[start : start + BATCH] for start in range(0, len(numbers), BATCH)]
    found = [row for part in some for row in rows(query.where(Point.id.in_(part)))] if numbers else rows(query)
    for number, account, region, kind in found:
        places[account, region, TYPES[kind].service].append(number)
    others = sorted(set(numbers) - {row[0] for row in found})
    if others or not found:
        text = f"rp-{others[0]} is no orphan." if others else "There are no orphans."
        raise Refused(text, advice="See `snapfleet orphans`.", code="no-orphan")
    columns = {"kind": "orphan-adopt", "lane": str(Lane.DISCOVER), "settled": True, "max_attempts": 3}
    jobs = [
        {
            **columns,
            "account": account,
            "region": region,
            "service": service,
            "spec": {"points": ids[start : start + POINTS_A_JOB], "dry_run": bool(wish.get("dry_run"))},
        }
        for (account, region, service), ids in sorted(places.items())
        for start in range(0, len(ids), POINTS_A_JOB)
    ]
    return add_jobs(jobs, at)

"""Orphans as people see them: failed recovery points that a look at the cloud made of what no row knew."""

from typing import Any

from admin.queries import LIMIT, Row
from tasks.catalog import Account, Part, Point, Policy, Resource, session
from tasks.catalog.point import ORPHAN
from tasks.states import PointState

_THERE = (PointState.FAILED, PointState.EXPIRING, PointState.OUTDATED)


def list_orphans(*, every: bool = False, limit: int = LIMIT) -> list[Row]:
    """Orphans that are still there, or with `every` those that cleanup has deleted too; newest first."""
    with session():
        query: Any = (
            Point.select(Point, Resource.external_id, Policy.name, Account.name)
            .join(Resource)
            .switch(Point)
            .join(Policy)
            .switch(Point)
            .join(Account, on=(Point.account == Account.id))
            .where(Point.error_code == ORPHAN)
        )
        if not every:
            query = query.where(Point.state.in_(_THERE))
        found = list(query.order_by(Point.id.desc()).limit(limit))
        parts: dict[int, list[str]] = {row.id: [row.image_id] if row.image_id else [] for row in found}
        for part in Part.select().where(Part.point.in_(list(parts))).order_by(Part.id):
            parts[part.point_id].append(part.external_id)
        return [
            {
                "id": f"rp-{row.id}",
                "resource": row.resource.external_id,
                "policy": row.policy.name,
                "account": row.account.name,
                "region": row.region,
                "state": str(row.state),
                "size_gib": row.size_gib,
                "begun_at": row.taken_at,
                "holds": ", ".join(parts[row.id]),
            }
            for row in found
        ]

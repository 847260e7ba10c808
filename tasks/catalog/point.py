"""Recovery points: what can be restored, its parts in the cloud, and why it is kept or went."""

from datetime import datetime, timedelta
from typing import Any

from peewee import BigAutoField, BigIntegerField, ForeignKeyField, IntegerField, JSONField, TextField

from tasks.catalog.database import CatalogModel
from tasks.catalog.estate import Account, Resource
from tasks.catalog.fields import StateField, UtcField, says_why
from tasks.catalog.job import Run
from tasks.catalog.policy import Policy
from tasks.states import POINT_BAD, POINT_LEAVING, PointState

DELETED_ELSEWHERE = "deleted-elsewhere"  # the error code of a good point that somebody else deleted in the cloud
BLOCKS_LOST = "blocks-lost"  # of a good archive of which a repair gave something up
BLOCKS_LOST_TEXT = "A repair of the repository gave up blocks of it: they come back as zeros."
ORPHAN = "orphan"  # of a failed point: the cloud holds it with our tag, and no row told of it
PARTS_MISSING = (
    "parts-missing"  # of a good point that was written again from tags: it has fewer parts than its resource
)
DAMAGED = (BLOCKS_LOST, PARTS_MISSING)  # codes of good points that take no whole one's place
SUPERSEDED = "superseded"  # the code of a mark: a later sync has written over its objects, and nothing brings them back


class Point(CatalogModel):
    """A recovery point. `destination` is '' where the resource lies, 'ACCOUNT/REGION' for a copy and 'repository:NAME'
    for an archive, whose parts are generations of that repository."""

    id = BigAutoField()
    resource = ForeignKeyField(Resource, on_delete="RESTRICT", backref="points")
    policy = ForeignKeyField(Policy, on_delete="RESTRICT")
    run = ForeignKeyField(Run, null=True, on_delete="RESTRICT")
    account = ForeignKeyField(Account, on_delete="RESTRICT")
    region = TextField()
    destination = TextField(default="")
    kind = TextField(default="snapshots")  # snapshots, image, intermediate, archive, share (lent by its source)
    copy_of = ForeignKeyField("self", null=True, on_delete="RESTRICT", backref="copies")
    state = StateField(PointState, default=PointState.CREATING)
    consistency = TextField(default="crash")
    image_id = TextField(default="")
    attributes = JSONField(default=dict)  # the resource as it was
    warnings = JSONField(default=list)
    size_gib = BigIntegerField(default=0)
    taken_at = UtcField()  # calendar time of the snapshot: what retention counts by
    completed_at = UtcField(null=True)
    held = TextField(default="")  # a hold with its reason; '' when there is none
    locked_until_at = UtcField(null=True)
    expire_code = TextField(default="")
    expire_text = TextField(default="")
    marked_at = UtcField(null=True)  # machine time
    deleted_at = UtcField(null=True)  # of one that is lost: when that was found
    error_code = TextField(default="")
    error_text = TextField(default="")

    class Meta:
        constraints = (says_why(POINT_BAD), says_why(POINT_LEAVING, "expire_code"))
        indexes = (
            (("policy", "resource", "destination", "state", "taken_at"), False),
            (("state", "account", "region"), False),
            (("copy_of", "destination"), False),
        )


def in_quarantine(at: datetime, quarantine: timedelta) -> Any:
    """The condition under which a marked point is left alone at machine time `at`. What nothing could be restored from
    need not wait."""
    useful = Point.completed_at.is_null(False) & (Point.kind != "intermediate") & (Point.expire_code != SUPERSEDED)
    return useful & (Point.marked_at > at - quarantine)


class Part(CatalogModel):
    """One object in the cloud that belongs to a point: usually one snapshot of one volume."""

    id = BigAutoField()
    point = ForeignKeyField(Point, on_delete="CASCADE", backref="parts")
    external_id = TextField(index=True)
    source_id = TextField(default="")
    device = TextField(default="")
    size_gib = IntegerField(default=0)
    kms_key_id = TextField(default="")
    encrypted = IntegerField(default=0)
    state = StateField(PointState, default=PointState.CREATING)
    attributes = JSONField(default=dict)

    class Meta:
        indexes = ((("point", "external_id"), True),)

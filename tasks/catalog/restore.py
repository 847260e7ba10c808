"""Restores: the plan as it was accepted, its steps, and everything they created."""

from peewee import BigAutoField, BigIntegerField, BooleanField, ForeignKeyField, IntegerField, JSONField, TextField

from tasks.catalog.database import CatalogModel
from tasks.catalog.fields import StateField, UtcField, says_why
from tasks.catalog.point import Point
from tasks.states import RESTORE_BAD, JobState, RestoreState


class Restore(CatalogModel):
    """One restore of one point. `outputs` maps step name to what it made known."""

    id = BigAutoField()
    point = ForeignKeyField(Point, on_delete="RESTRICT")
    state = StateField(RestoreState, default=RestoreState.REQUESTED)
    request = JSONField()
    plan = JSONField()
    keep_on_failure = BooleanField(default=False)
    requested_by = TextField()
    created_at = UtcField()
    finished_at = UtcField(null=True)
    error_code = TextField(default="")
    error_text = TextField(default="")

    class Meta:
        constraints = (says_why(RESTORE_BAD),)


class RestoreStep(CatalogModel):
    """One step of a restore; one job does it."""

    id = BigAutoField()
    restore = ForeignKeyField(Restore, on_delete="CASCADE", backref="steps")
    number = IntegerField()
    name = TextField()
    kind = TextField()
    params = JSONField()
    state = StateField(JobState, default=JobState.PENDING)
    outputs = JSONField(default=dict)
    job_id = BigIntegerField(null=True)

    class Meta:
        indexes = ((("restore", "number"), True),)


class Creation(CatalogModel):
    """Something a restore created in the cloud, recorded before the next call, so that an undo can find it."""

    id = BigAutoField()
    restore = ForeignKeyField(Restore, on_delete="CASCADE", backref="creations")
    step = TextField()
    kind = TextField()
    external_id = TextField()
    created_at = UtcField()
    removed_at = UtcField(null=True)

    class Meta:
        indexes = ((("restore", "kind", "external_id"), True),)

"""What operators want: schedules, policies, and when each is next due."""

from peewee import BigAutoField, BooleanField, ForeignKeyField, IntegerField, JSONField, TextField

from tasks.catalog.database import CatalogModel
from tasks.catalog.estate import Resource
from tasks.catalog.fields import UtcField


class Schedule(CatalogModel):
    """A grid of times; `spec` is the estate file's shape of it (coordinator.due reads it)."""

    id = BigAutoField()
    name = TextField(unique=True)
    spec = JSONField()
    created_at = UtcField()
    changed_at = UtcField()


class Repository(CatalogModel):
    """A place in object storage that policies may name; the key is sealed, place `repository.key.NAME`."""

    id = BigAutoField()
    name = TextField(unique=True)
    spec = JSONField()  # account, url, region, secret reference; never the key itself
    key_sealed = TextField(default="")
    facts = JSONField(default=dict)  # what workers last found there, by verb: {"create": {...}, "verify": {"at", ...}}
    created_at = UtcField()


class Policy(CatalogModel):
    """Targets, generations, DR and the rest; `spec` is the estate file's shape, without its name and schedules."""

    id = BigAutoField()
    name = TextField(unique=True)
    enabled = BooleanField(default=True)
    priority = IntegerField(default=50)
    spec = JSONField()
    version = IntegerField(default=1)  # counts changes
    successes = IntegerField(default=0)  # successful runs so far: what `every: n` counts
    created_at = UtcField()
    changed_at = UtcField()
    deleted_at = UtcField(null=True)  # points outlive their policy, so the row stays


class PolicySchedule(CatalogModel):
    """The join: the policy's next slot on one schedule. The tick reads the index on `next_start_at`."""

    id = BigAutoField()
    policy = ForeignKeyField(Policy, on_delete="CASCADE", index=False)  # (policy, schedule) serves
    schedule = ForeignKeyField(Schedule, on_delete="CASCADE")
    next_slot_at = UtcField(null=True)  # nominal; null: the grid has ended
    next_start_at = UtcField(null=True, index=True)  # nominal + spread: when the tick takes it
    last_slot_at = UtcField(null=True)  # the newest slot that was run or coalesced

    class Meta:
        indexes = ((("policy", "schedule"), True),)


class Membership(CatalogModel):
    """A resource that is, or was, a target of a policy: since when, and when it was first seen not to be one any more.

    Retention counts the grace of what left from `left_at`, and `backup_on_add` asks what joined.
    """

    id = BigAutoField()
    policy = ForeignKeyField(Policy, on_delete="CASCADE")
    resource = ForeignKeyField(Resource, on_delete="CASCADE")
    joined_at = UtcField()  # calendar time, as is left_at
    left_at = UtcField(null=True)

    class Meta:
        indexes = ((("policy", "resource"), True),)

"""Accounts, what was found in them, and how fresh that look is."""

from peewee import BigAutoField, BooleanField, ForeignKeyField, IntegerField, JSONField, TextField

from tasks.catalog.database import CatalogModel
from tasks.catalog.fields import StateField, UtcField
from tasks.states import AccountState


class Meta(CatalogModel):
    """Facts about the installation itself: its id, the schema's history is peewee's own table."""

    key = TextField(primary_key=True)
    value = TextField()


def meta(key: str) -> str:
    """What a Meta row says; '' when there is none."""
    row = Meta.get_or_none(Meta.key == key)
    return row.value if row else ""


def set_meta(key: str, value: str) -> None:
    """Write a Meta row. Inside a transaction nobody else writes it until its end."""
    Meta.insert(key=key, value=value).on_conflict(conflict_target=[Meta.key], update={Meta.value: value}).execute()


class Account(CatalogModel):
    """An AWS account or an Azure subscription. Secrets are sealed (tasks.secrets), place `account.COLUMN.NAME`."""

    id = BigAutoField()
    name = TextField(unique=True)
    cloud = TextField(default="aws")
    kind = TextField(default="backup")  # backup or dr
    number = TextField(default="")  # the cloud's own id of it
    role_arn = TextField(default="")
    external_id_sealed = TextField(default="")
    profile = TextField(default="")
    regions = JSONField(default=list)
    may_delete = BooleanField(default=True)
    settings = JSONField(default=dict)  # cloud-specific, without secrets
    secret_refs = JSONField(default=dict)  # where apply read each secret from: env:NAME or file:PATH
    enabled = BooleanField(default=True)
    state = StateField(AccountState, default=AccountState.UNKNOWN)
    state_text = TextField(default="")
    checked_at = UtcField(null=True)


class Resource(CatalogModel):
    """Something in an account that can be protected, as last discovered."""

    id = BigAutoField()
    account = ForeignKeyField(Account, on_delete="CASCADE")
    region = TextField()
    type = TextField()
    external_id = TextField()
    name = TextField(default="")
    parent_id = TextField(default="")  # external id of the instance a volume is attached to
    tags = JSONField(default=dict)
    attributes = JSONField(default=dict)
    found_at = UtcField()
    seen_at = UtcField()
    gone_at = UtcField(null=True)

    class Meta:
        indexes = ((("account", "region", "type", "external_id"), True), (("type", "gone_at"), False))


class Scan(CatalogModel):
    """The last look at one service of an account in a region. `wanted_at` asks for a newer one."""

    id = BigAutoField()
    account = ForeignKeyField(Account, on_delete="CASCADE")
    region = TextField()
    service = TextField()
    wanted_at = UtcField(null=True)
    finished_at = UtcField(null=True)
    found = IntegerField(default=0)
    error_code = TextField(default="")
    error_text = TextField(default="")

    class Meta:
        indexes = ((("account", "region", "service"), True),)

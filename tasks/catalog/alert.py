"""Alerts as rows: raised once per key, cleared by themselves, delivered by webhook."""

from peewee import BigAutoField, BigIntegerField, IntegerField, JSONField, TextField

from tasks.catalog.database import CatalogModel
from tasks.catalog.fields import UtcField


class Alert(CatalogModel):
    """One condition. While it lasts there is one open row per key; when it ends the row is closed."""

    id = BigAutoField()
    key = TextField(index=True)  # what is wrong with what, e.g. target-failing:policy/resource
    open_key = TextField(null=True, unique=True)  # = key while open, null when cleared: at most one open per key
    severity = TextField()  # info, warning, critical
    title = TextField()
    text = TextField(default="")
    detail = JSONField(default=dict)
    count = IntegerField(default=1)
    raised_at = UtcField()
    seen_at = UtcField()
    cleared_at = UtcField(null=True)


class Delivery(CatalogModel):
    """One webhook call to make: written with the alert's change, deleted when the receiver took it."""

    id = BigAutoField()
    alert_id = BigIntegerField()
    event = TextField()  # raised or cleared
    attempts = IntegerField(default=0)
    next_at = UtcField()
    error_text = TextField(default="")

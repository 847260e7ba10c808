"""Who asked for what, and who may."""

from peewee import BigAutoField, JSONField, TextField

from tasks.catalog.database import CatalogModel
from tasks.catalog.fields import UtcField


class Audit(CatalogModel):
    """One thing somebody asked for. Rows are only ever added."""

    id = BigAutoField()
    at = UtcField()
    who = TextField()
    action = TextField()
    subject = TextField(default="")
    detail = JSONField(default=dict)


class User(CatalogModel):
    """Somebody who may log in to the page. Passwords are argon2id hashes."""

    name = TextField(primary_key=True)
    password_hash = TextField()
    role = TextField(default="admin")  # viewer or admin
    created_at = UtcField()
    disabled_at = UtcField(null=True)


class Token(CatalogModel):
    """A service token for /metrics and /api, stored as a SHA-256 of its random text."""

    name = TextField(primary_key=True)
    digest = TextField(unique=True)
    scope = TextField(default="metrics")  # metrics or api
    created_at = UtcField()
    expires_at = UtcField(null=True)

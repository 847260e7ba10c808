"""Leases of repositories whose store has no conditional writes: the catalog does the compare-and-set for it."""

from peewee import BigAutoField, TextField

from tasks.catalog.database import CatalogModel


class RepositoryLease(CatalogModel):
    """One lease of a repository's job, sealed by the repository's key. A writer must know `tag` to write it anew."""

    id = BigAutoField()
    url = TextField()  # the repository's address: names may be given anew
    name = TextField()
    body = TextField()  # base64
    tag = TextField()

    class Meta:
        indexes = ((("url", "name"), True),)

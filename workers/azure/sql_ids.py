"""Ids of SQL servers and databases: their parts, and what is ours of what a server holds."""

from collections.abc import Mapping
from dataclasses import dataclass

from tasks.errors import Invalid
from workers.azure.ids import normal
from workers.driver import TAG_INSTALLATION, TAG_JOB

OUR_NAMES = "snapfleet-"
"""How the names of copies begin (workers.azure.ids.name_for); a restored database has the name that was asked for."""


@dataclass(frozen=True)
class DatabaseId:
    """The parts of /subscriptions/S/resourceGroups/G/providers/Microsoft.Sql/servers/V/databases/N; a server has no
    name of a database."""

    subscription: str
    group: str
    server: str
    name: str = ""

    @property
    def place(self) -> tuple[str, str, str]:
        """Group, server and name, as the SDK's methods take them."""
        return self.group, self.server, self.name

    @property
    def server_id(self) -> str:
        group = f"/subscriptions/{self.subscription}/resourcegroups/{self.group}"
        return f"{group}/providers/microsoft.sql/servers/{self.server}"

    def database(self, name: str) -> str:
        """The id of a database on this server."""
        return normal(f"{self.server_id}/databases/{name}")


def read_sql(resource_id: str) -> DatabaseId:
    """The parts of a server's or a database's id. Raises Invalid for anything else."""
    words = normal(resource_id).strip("/").split("/")
    right = len(words) in (8, 10) and (words[0], words[2], words[5]) == (
        "subscriptions",
        "resourcegroups",
        "microsoft.sql",
    )
    if not right or words[6] != "servers" or (len(words) == 10 and words[8] != "databases"):
        raise Invalid(f"{resource_id[:200]!r} is not the id of an Azure SQL server or database.")
    return DatabaseId(words[1], words[3], words[7], words[9] if len(words) == 10 else "")


def is_copy_of_ours(name: str, tags: Mapping[str, str] | None) -> bool:
    """Whether a database is a backup or a staging copy that some installation made: neither is ever backed up."""
    found = tags or {}
    return name.lower().startswith(OUR_NAMES) and bool(found.get(TAG_INSTALLATION)) and bool(found.get(TAG_JOB))

"""The calls of RDS, Aurora and DocumentDB: one control plane, whose instances and clusters have names of their own.

Names of methods, parameters and members as the RDS and DocumentDB API references give them.
"""

from dataclasses import dataclass
from typing import Any

from workers.aws.session import Client, Clients
from workers.aws.tags import read_tags
from workers.driver import TAG_INSTALLATION

Answer = dict[str, Any]
FILTER_MOST = 100  # values in a filter and rows in a page (MaxRecords), RDS API reference
# "Constraints for identifiers": a cluster's snapshot has at most 63 characters; name_for makes 50.


@dataclass(frozen=True)
class Family:
    """One kind of database: whose client speaks of it, and how its snapshots are called.

    `client` is botocore's name of the service; `noun` 'DBSnapshot' or 'DBClusterSnapshot'.
    """

    type: str
    client: str
    noun: str
    create: str
    describe: str
    copy: str
    share: str
    delete: str
    source: str  # the parameter that names what is backed up
    snapshot_filter: str
    taken: str  # the error code that says that the name exists already

    @property
    def clustered(self) -> bool:
        return self.noun == "DBClusterSnapshot"

    @property
    def identifier(self) -> str:
        return f"{self.noun}Identifier"

    @property
    def arn(self) -> str:
        return f"{self.noun}Arn"

    def read(self, clients: Clients) -> Client:
        """For calls that may be sent twice."""
        return clients.read(self.client)

    def called(self, client: Client, method: str, **parameters: Any) -> Answer:
        """The answer of one call."""
        answer: Answer = getattr(client, method)(**parameters)
        return answer


_INSTANCES: dict[str, Any] = {
    "noun": "DBSnapshot",
    "create": "create_db_snapshot",
    "describe": "describe_db_snapshots",
    "copy": "copy_db_snapshot",
    "share": "modify_db_snapshot_attribute",
    "delete": "delete_db_snapshot",
    "source": "DBInstanceIdentifier",
    "snapshot_filter": "db-snapshot-id",
    "taken": "DBSnapshotAlreadyExists",
}
_CLUSTERS: dict[str, Any] = {
    "noun": "DBClusterSnapshot",
    "create": "create_db_cluster_snapshot",
    "describe": "describe_db_cluster_snapshots",
    "copy": "copy_db_cluster_snapshot",
    "share": "modify_db_cluster_snapshot_attribute",
    "delete": "delete_db_cluster_snapshot",
    "source": "DBClusterIdentifier",
    "snapshot_filter": "db-cluster-snapshot-id",
    "taken": "DBClusterSnapshotAlreadyExistsFault",
}
RDS = Family("rds", "rds", **_INSTANCES)
AURORA = Family("aurora", "rds", **_CLUSTERS)
DOCUMENTDB = Family("documentdb", "docdb", **_CLUSTERS)


def describe_named(family: Family, client: Client, names: list[str]) -> dict[str, Answer]:
    """Our own manual snapshots by name. Asked by filter: an unknown name is then just absent."""
    found: dict[str, Answer] = {}
    if family.client == "docdb" and names:  # "Filters: this parameter is not currently supported": all pages are read
        rows = manual(family, client)
        return {row[family.identifier].lower(): row for row in rows if row[family.identifier].lower() in set(names)}
    for start in range(0, len(names), FILTER_MOST):
        some = names[start : start + FILTER_MOST]
        rows = manual(family, client, Filters=[{"Name": family.snapshot_filter, "Values": some}])
        found |= {row[family.identifier].lower(): row for row in rows}
    return found


def copies_of_others(family: Family, clients: Clients, installation: str) -> int:
    """How many copies of this family run into this account and region that are not this installation's.

    A copy names what it was made of. DocumentDB tells no tags here: there ours are known by the name we give them.
    """
    running = (row for row in manual(family, family.read(clients)) if row.get("Status") in ("creating", "copying"))
    copies = (row for row in running if row.get(f"Source{family.arn if family.clustered else family.identifier}"))
    return sum(not _is_mine(family, row, installation) for row in copies)


def _is_mine(family: Family, row: Answer, installation: str) -> bool:
    if "TagList" not in row:
        return str(row[family.identifier]).startswith("snapfleet-")
    return read_tags(row["TagList"]).get(TAG_INSTALLATION) == installation


def manual(family: Family, client: Client, **parameters: Any) -> list[Answer]:
    """Our own manual snapshots, page by page."""
    parameters |= {"SnapshotType": "manual", "MaxRecords": FILTER_MOST}
    rows: list[Answer] = []
    while True:
        answer = family.called(client, family.describe, **parameters)
        rows += answer[f"{family.noun}s"]
        if not answer.get("Marker"):
            return rows
        parameters["Marker"] = answer["Marker"]

"""What a role may do with databases, by harmless reads: RDS knows no dry run."""

from collections.abc import Mapping

from botocore.exceptions import BotoCoreError, ClientError

from tasks.errors import Denied
from workers.aws.contact import contact
from workers.aws.errors import translate
from workers.aws.rds_calls import Family
from workers.aws.service_checks import needs
from workers.aws.session import Clients
from workers.aws.simulate import completed
from workers.driver import Check

_SMALL = 20  # the smallest page of these calls (MaxRecords, RDS API reference)
_READS: Mapping[str, tuple[tuple[str, str, str], ...]] = {
    "DBSnapshot": (
        ("rds:DescribeDBInstances", "describe_db_instances", "databases are not found"),
        ("rds:DescribeDBSnapshots", "describe_db_snapshots", "no backup of a database can be followed to its end"),
    ),
    "DBClusterSnapshot": (
        ("rds:DescribeDBClusters", "describe_db_clusters", "clusters are not found"),
        ("rds:DescribeDBClusterSnapshots", "describe_db_cluster_snapshots", "no backup of a cluster can be followed"),
    ),
}


def check(family: Family, clients: Clients) -> list[Check]:
    """Contact first: when the account cannot be entered, that is the only answer."""
    first = contact(clients)
    if first.outcome != "ok":
        return [first]
    types = (family.type,)
    needed = needs(clients, types)
    seen = [_read(family, clients, *one) for one in _READS[family.noun] if one[0] in needed]
    return [first, *completed(clients, types, seen)]


def _read(family: Family, clients: Clients, action: str, method: str, loss: str) -> Check:
    try:
        getattr(family.read(clients), method)(MaxRecords=_SMALL)
    except (BotoCoreError, ClientError) as error:
        refused = translate(error, operation=action)
        if isinstance(refused, Denied):
            return Check(action, "missing", f"Without {action} {loss}.")
        return Check(action, "unknown", refused.text)
    return Check(action, "ok")

"""What Redshift keeps, provisioned and Serverless: warehouses and their snapshots in one account and region.

Clusters and namespaces are kept as databases are (`relational.Database`), their snapshots as database snapshots; `rows`
stands for the content. Names know no case.
"""

import re
from datetime import datetime
from typing import Any

from deploy.sandbox import kms, relational
from deploy.sandbox.call import Call
from deploy.sandbox.errors import AwsError
from deploy.sandbox.relational import Database, DbSnapshot

KEY_ALIAS = "alias/aws/redshift"
SHARED_MOST = 20  # "Quotas and limits in Amazon Redshift": accounts that may restore one snapshot
# "Cluster identifier" and "Snapshot identifier" (API reference): letters, digits, hyphens; a letter first
NAME = re.compile(r"[a-z](?!.*--)[a-z0-9-]{0,254}(?<!-)")


class Warehouses:
    """What one account has in one region, by name in small letters."""

    def __init__(self) -> None:
        self.clusters: dict[str, Database] = {}
        self.snapshots: dict[str, DbSnapshot] = {}
        self.groups: dict[tuple[str, str], dict[str, str]] = {}  # (kind, name): its tags
        self.grants: dict[str, str] = {}  # copy grant: the key's ARN
        self.namespaces: dict[str, Database] = {}
        self.workgroups: dict[str, Database] = {}
        self.points: dict[str, DbSnapshot] = {}  # snapshots of namespaces
        self.policies: dict[str, str] = {}  # ARN: resource policy

    def shelves(self) -> list[dict[str, Any]]:
        return [self.clusters, self.snapshots, self.namespaces, self.points, self.workgroups]

    def tagged(self, arn: str) -> dict[str, str] | None:
        """The tags of what has this ARN, None when there is nothing."""
        return next((one.tags for shelf in self.shelves() for one in shelf.values() if one.arn == arn), None)


relational.KEEPERS.append(Warehouses)


def here(call: Call) -> Warehouses:
    return call.here.kept(Warehouses)


def there(call: Call, account: str, region: str) -> Warehouses:
    """What another account or region has."""
    return call.world.region(account, region).kept(Warehouses)


def check_name(text: str) -> str:
    name = (text or "").lower()
    if not NAME.fullmatch(name):
        raise AwsError("InvalidParameterValue", f"{text!r} is not a valid identifier.")
    return name


def guid(call: Call) -> str:
    digits = f"{call.world.dice.getrandbits(128):032x}"
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


def moment(text: Any) -> datetime | None:
    """A time of a request: text in the query protocol, seconds or text in JSON."""
    if text in (None, ""):
        return None
    if isinstance(text, int | float):
        return datetime.fromtimestamp(text).astimezone()
    return datetime.fromisoformat(str(text).replace("Z", "+00:00"))


def new_key(call: Call, key_id: str | None, encrypted: bool) -> str | None:
    """The key of something new, Redshift's default one where none is named."""
    if not key_id and not encrypted:
        return None
    chosen, usable = kms.chosen(call, key_id, KEY_ALIAS)
    if not usable:
        raise AwsError("DependentServiceAccessDenied", f"The KMS key {key_id} does not exist or cannot be used.")
    return chosen


def check_key(call: Call, held: DbSnapshot) -> None:
    """Who restores must be able to use the snapshot's key ("Sharing snapshots": share the key as well)."""
    shared = held.key is None or held.account == call.account or not kms.is_default(held.key)
    if not shared or not kms.usable(call, held.key):
        raise AwsError("AccessToSnapshotDenied", f"The key {held.key} of the snapshot cannot be used.", 400)

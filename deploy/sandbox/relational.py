"""What RDS, Aurora and DocumentDB keep: databases, clusters, their snapshots; states over time, tags, pages, keys.

One service answers for all three, as on AWS ("Amazon RDS API reference": the actions are shared, and DescribeDBClusters
returns DocumentDB and Neptune clusters too). `rows` stands for the content of a database: a table's name to its text.
"""

import base64
import re
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from deploy.sandbox import kms
from deploy.sandbox.call import Call
from deploy.sandbox.describing import hidden
from deploy.sandbox.errors import AwsError, bad_value
from deploy.sandbox.world import Region

KEY_ALIAS = "alias/aws/rds"
IDENTIFIER = re.compile(r"[A-Za-z](?!.*--)[A-Za-z0-9-]{0,254}(?<!-)")
# "Tagging Amazon RDS resources": letters, digits, spaces and _ . : / = + - @
TAG_TEXT = re.compile(r"[\w\s.:/=+\-@]*")
PAGE_LEAST, PAGE_MOST = 20, 100  # MaxRecords, RDS API reference
CLUSTERED = re.compile(r"aurora|docdb|neptune")


@dataclass(eq=False)
class Database:
    """An instance or a cluster. `spec` is what its view shows beside the computed members."""

    name: str
    resource_id: str
    arn: str
    spec: dict[str, Any]
    created_at: datetime
    ready_at: datetime
    rows: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    busy_until: datetime | None = None  # while a snapshot of it is taken
    wanted: str = "available"

    @property
    def key(self) -> str | None:
        return self.spec.get("KmsKeyId")

    def state(self, now: datetime) -> str:
        if now < self.ready_at:
            return "creating"
        return "backing-up" if self.busy_until and now < self.busy_until else self.wanted


@dataclass(eq=False)
class DbSnapshot:
    """A manual snapshot of an instance or a cluster."""

    name: str
    arn: str
    account: str
    region: str
    cluster: bool
    spec: dict[str, Any]
    created_at: datetime
    ready_at: datetime
    rows: dict[str, str]
    key: str | None
    copied_from: Any = None
    tags: dict[str, str] = field(default_factory=dict)
    shared_with: list[str] = field(default_factory=list)
    kind: str = "manual"
    failure: str | None = None
    options: bool = False  # its option group has a persistent option

    def state(self, now: datetime) -> str:
        if now < self.ready_at:
            return "copying" if self.copied_from else "creating"
        return "failed" if self.failure else "available"

    def percent(self, now: datetime) -> int:
        whole = (self.ready_at - self.created_at).total_seconds()
        return 100 if now >= self.ready_at else int(99 * (now - self.created_at).total_seconds() / whole)


class Kept:
    """What one account has in one region, by name in small letters (identifiers know no case)."""

    def __init__(self) -> None:
        self.instances: dict[str, Database] = {}
        self.clusters: dict[str, Database] = {}
        self.snapshots: dict[str, DbSnapshot] = {}
        self.cluster_snapshots: dict[str, DbSnapshot] = {}
        self.groups: dict[tuple[str, str], dict[str, Any]] = {}
        self.exports: dict[str, Any] = {}

    def shelf(self, cluster: bool) -> dict[str, DbSnapshot]:
        return self.cluster_snapshots if cluster else self.snapshots

    def shelves(self) -> list[dict[str, Any]]:
        return [self.instances, self.clusters, self.snapshots, self.cluster_snapshots]

    def everything(self) -> list[Any]:
        return [one for shelf in self.shelves() for one in shelf.values()]


KEEPERS: list[Any] = [Kept]  # what holds databases: other services' modules add theirs


def here(call: Call) -> Kept:
    return call.here.kept(Kept)


def arn(call: Call, kind: str, name: str) -> str:
    return f"arn:aws:rds:{call.region}:{call.account}:{kind}:{name}"


def new_id(call: Call, prefix: str) -> str:
    return f"{prefix}-{call.world.dice.getrandbits(80):020X}"


def check_name(text: str, longest: int) -> str:
    """An identifier as the API reference wants it; InvalidParameterValue else."""
    if not IDENTIFIER.fullmatch(text or "") or len(text) > longest:
        raise bad_value(f"The parameter {text!r} is not a valid identifier.")
    return text.lower()


def given_tags(parameters: dict) -> dict[str, str]:
    """The tags of a request; what RDS does not take is refused."""
    tags = {one["Key"]: one.get("Value", "") for one in parameters.get("Tags") or []}
    if len(tags) > 50:
        raise bad_value("A resource has at most 50 tags.")
    for key, value in tags.items():
        if key.lower().startswith("aws:") or not TAG_TEXT.fullmatch(key) or not TAG_TEXT.fullmatch(value):
            raise AwsError("InvalidParameterValue", f"The tag {key!r} holds characters that are not allowed.")
    return tags


def tag_list(tags: dict[str, str]) -> list[dict[str, str]]:
    return [{"Key": key, "Value": value} for key, value in tags.items()]


def new_key(call: Call, key_id: str | None, encrypted: bool) -> str | None:
    """The key of something new; KMSKeyNotAccessibleFault at once (CreateDBInstance, CopyDBSnapshot)."""
    if not key_id and not encrypted:
        return None
    chosen, usable = kms.chosen(call, key_id, KEY_ALIAS)
    if not usable:
        raise key_refused(key_id or "")
    return chosen


def key_refused(key_id: str) -> AwsError:
    return AwsError("KMSKeyNotAccessibleFault", f"The specified KMS key [{key_id}] does not exist or cannot be used.")


def seconds(call: Call, name: str) -> timedelta:
    return timedelta(seconds=getattr(call.config, name))


def filtered(call: Call, rows: list[Any], parameters: dict, fields: dict[str, Any]) -> list[Any]:
    """Those that every filter lets through; an unknown filter is refused."""
    for one in parameters.get("Filters") or []:
        read = fields.get(one["Name"])
        if read is None:
            raise bad_value(f"Unrecognized filter name: {one['Name']}")
        values = {str(value).lower() for value in one.get("Values", [])}
        if len(values) > PAGE_MOST:
            raise bad_value("A filter takes at most 100 values.")
        rows = [row for row in rows if str(read(row)).lower() in values]
    return [row for row in rows if not hidden(call, row, always=True)]


def paged(rows: list[Any], parameters: dict) -> tuple[list[Any], str | None]:
    """A page and the marker of the next; MaxRecords is 20 to 100, and 100 by default."""
    limit = int(parameters.get("MaxRecords") or PAGE_MOST)
    if not PAGE_LEAST <= limit <= PAGE_MOST:
        raise bad_value(f"Invalid value {limit} for MaxRecords. Must be between 20 and 100")
    start = int(base64.b64decode(parameters["Marker"])) if parameters.get("Marker") else 0
    more = start + limit < len(rows)
    return rows[start : start + limit], base64.b64encode(str(start + limit).encode()).decode() if more else None


def _shelves(region: Region) -> list[dict[str, Any]]:
    return [shelf for keeper in KEEPERS for shelf in region.kept(keeper).shelves()]


def rows_of(region: Region, name: str) -> dict[str, str]:
    """The content of what is called so; KeyError when there is nothing."""
    for shelf in _shelves(region):
        for one in shelf.values():
            if name in (one.name, getattr(one, "resource_id", None)):
                return one.rows
    raise KeyError(name)


def vanish(region: Region, name: str) -> bool:
    """Something disappears behind everybody's back; whether it was there."""
    for shelf in _shelves(region):
        for key, one in list(shelf.items()):
            if name in (key, getattr(one, "resource_id", None)):
                del shelf[key]
                return True
    return False


def fail(region: Region, name: str, message: str) -> bool:
    """A snapshot ends as failed; whether there is one."""
    for shelf in _shelves(region):
        if hasattr(shelf.get(name), "failure"):
            shelf[name].failure = message
            return True
    return False

"""Backups of warehouses: a manual snapshot whose name is made from the wish's key, and the setting that carries it.

A policy that consents to it has the cluster or namespace copy all of its snapshots to one other region from then on
(EnableSnapshotCopy, CreateSnapshotCopyConfiguration); what exists already is not copied, so that the setting must be
there before the snapshot is. It is made once and never taken back by us: it belongs to the cluster.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tasks.errors import Denied, Gone, Impossible, Invalid, NotReady
from workers.aws import redshift_clusters, redshift_serverless
from workers.aws.errors import translated
from workers.aws.keys import DefaultKeys
from workers.aws.rds_backup import snapshot_tags
from workers.aws.redshift_snap import House, Snap
from workers.aws.session import Clients
from workers.aws.tags import name_for
from workers.driver import TAG_INSTALLATION, TAG_JOB, BackupRequest, Operation, Part, Resource, Started
from workers.pace import Pace

DEFAULT_KEY_ALIAS = "alias/aws/redshift"
SNAPSHOT = "snapshot"


@dataclass(frozen=True)
class Tools:
    """What every call needs."""

    pace: Pace
    keys: DefaultKeys

    def operation(self, kind: str, name: str, clients: Clients, **detail: Any) -> Operation:
        """What was begun, with the time from which its absence is judged."""
        started = {"started_at": self.pace.clock.timer().isoformat(), **detail}
        return Operation(kind, name, clients.account, clients.region, started)


def house_of(found: Mapping[str, Any]) -> House:
    """The service that attributes (of a resource, part or operation) speak of."""
    return redshift_serverless if found.get("serverless") else redshift_clusters


def start_backup(
    tools: Tools, clients: Clients, target: Clients, resource: Resource, request: BackupRequest
) -> Started:
    """Begin the snapshot of a warehouse, or adopt the one that this key began; `target` is where it is carried to."""
    house, name = house_of(resource.attributes), name_for(request.key)
    made = None if request.fresh else house.snapshot(clients, name)
    warnings: list[str] = []
    if not request.fresh:
        try:
            resource = house.current(clients, resource)
        except Gone:
            if made is None:
                raise
            warnings.append(f"{resource.name} was deleted after this backup of it had begun.")
    adopted, region = made is not None, str(resource.attributes.get("copy_region", ""))
    if made is None:
        try:
            made, region, adopted = _create(tools, clients, target, resource, request, warnings)
        except Gone:
            resource = house.current(clients, resource)  # renamed since it was seen, or really gone
            made, region, adopted = _create(tools, clients, target, resource, request, warnings)
    check_ours(made, request.key)
    users = own_tags(resource)
    _, lost = snapshot_tags(request.key, request.tags, users)
    return Started(
        operations=(follow(tools, SNAPSHOT, made, clients, serverless=house.SERVERLESS),),
        parts=(part_of(tools, clients, made, serverless=house.SERVERLESS),),
        captured={**resource.attributes, "name": resource.name, "tags": users, "copy_region": region},
        warnings=(*warnings, *lost),
        adopted=adopted,
    )


def _create(
    tools: Tools, clients: Clients, target: Clients, resource: Resource, request: BackupRequest, warnings: list[str]
) -> tuple[Snap, str, bool]:
    """The snapshot, the region that it goes to, and whether it was there."""
    house = house_of(resource.attributes)
    if house.SERVERLESS and not resource.attributes.get("workgroup"):
        raise Impossible(f"{resource.name} has no workgroup, without which AWS takes no snapshot of a namespace.")
    region = _carried(house, clients, target, resource, request, warnings)
    tags, _ = snapshot_tags(request.key, request.tags, own_tags(resource))
    made, adopted = taken(tools, house, clients, str(resource.attributes["identifier"]), request, tags)
    return made, region, adopted


def taken(
    tools: Tools, house: House, clients: Clients, source: str, request: Any, tags: Mapping[str, str]
) -> tuple[Snap, bool]:
    """A snapshot of `source` under the request's name, and whether it was there. Raises FenceLost."""
    name = name_for(request.key)
    client = clients.create(redshift_serverless.SERVICE if house.SERVERLESS else "redshift")
    request.proceed()
    with translated("a snapshot", guard=tools.pace.guard):
        made = house.take(clients, client, name, source, tags)
    if made is not None:
        return made, False
    found = house.snapshot(clients, name)
    if found is None:
        raise NotReady(f"The snapshot {name} exists and cannot be seen yet.", code="snapshot-unseen")
    return found, True


def _carried(
    house: House, clients: Clients, target: Clients, resource: Resource, request: BackupRequest, warnings: list[str]
) -> str:
    """The region to which the cluster copies; the wanted one is set where the policy consents and none is set yet.

    A backup is worth more than its copy: what keeps the setting from being made is a warning, and the copy fails then.
    """
    wanted = str(request.options.get("copy_region", ""))
    region = str(resource.attributes.get("copy_region", ""))
    if not wanted or wanted == region:
        return region
    request.proceed()
    tags = {name: value for name, value in request.tags.items() if name == TAG_INSTALLATION}
    try:
        with translated("the copying of snapshots"):
            region = house.carry(clients, target, resource, str(request.options.get("copy_key", "")), tags)
    except (Denied, Invalid, Impossible) as error:
        warnings.append(f"{resource.name} does not copy its snapshots to {wanted}: {error.text}")
        return region
    if region != wanted:
        warnings.append(f"{resource.name} copies its snapshots to {region}, and AWS knows one region only.")
    return region


def own_tags(resource: Resource) -> dict[str, str]:
    """The tags of the warehouse itself."""
    return dict(resource.attributes.get("own_tags", resource.tags))


def check_ours(found: Snap, key: str) -> None:
    """Refuse a snapshot under our name with another job's tag; where tags are not told, the name is enough."""
    if (found.tags or {}).get(TAG_JOB, key) != key:
        raise NotReady(f"The snapshot {found.name} has our name and another job's tag.")


def follow(tools: Tools, kind: str, made: Snap, clients: Clients, **detail: Any) -> Operation:
    """The making of a snapshot, to be asked about."""
    return tools.operation(kind, made.name, clients, created_at=made.created_at, **detail)


def part_of(tools: Tools, clients: Clients, made: Snap, **more: Any) -> Part:
    """A snapshot as a part; whether it lies under the default key is asked where it is encrypted."""
    return part_under(made, tools.keys.of(clients) if made.encrypted else None, **more)


def part_under(made: Snap, default: str | None, **more: Any) -> Part:
    """A snapshot as a part, by the account's default key; None where that is not known."""
    attributes = {"arn": made.arn, "owner": made.owner, "created_at": made.created_at, **more}
    if made.kms_key_id and default is not None:
        attributes["default_key"] = made.kms_key_id == default
    return Part(
        external_id=made.name,
        source_id=made.source,
        size_gib=made.size_gib,
        encrypted=made.encrypted,
        kms_key_id=made.kms_key_id,
        attributes=attributes,
    )

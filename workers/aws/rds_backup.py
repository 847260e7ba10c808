"""Backups of databases: a manual snapshot whose identifier is made from the wish's key.

The identifier is the token: AWS takes it once in an account and region ("CreateDBSnapshot", "CreateDBClusterSnapshot",
RDS API reference), so that a repeated wish is answered with AlreadyExists, and what is there is adopted.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError

from tasks.errors import Gone, NotReady
from workers.aws.errors import translated
from workers.aws.keys import DefaultKeys
from workers.aws.rds_calls import Answer, Family, describe_named
from workers.aws.rds_describe import describe
from workers.aws.session import Client, Clients
from workers.aws.tags import fit_tags, name_for, read_tags, write_tags
from workers.driver import TAG_JOB, Account, BackupRequest, CopyRequest, Operation, Part, Resource, Started
from workers.pace import Pace

# "Tagging Amazon RDS resources" (RDS user guide): letters, digits, spaces and _ . : / = + - @, nothing else.
_STRANGE = re.compile(r"[^\w .:/=+\-@]")


@dataclass(frozen=True)
class Tools:
    """What every call of a family needs."""

    family: Family
    pace: Pace
    keys: DefaultKeys

    def operation(self, kind: str, name: str, account: Account, region: str, **detail: Any) -> Operation:
        """What was begun, with the time from which its absence is judged."""
        started = {"started_at": self.pace.clock.timer().isoformat(), **detail}
        return Operation(kind, name, account, region, started)


def start_backup(tools: Tools, clients: Clients, resource: Resource, request: BackupRequest) -> Started:
    """Begin the snapshot of a database, or adopt the one that this key began."""
    family, name = tools.family, name_for(request.key)
    made = None if request.fresh else described(family, clients, name)
    warnings: list[str] = []
    if not request.fresh:
        try:
            resource = describe(family, clients, resource)
        except Gone:
            if made is None:
                raise
            warnings.append(f"{resource.name} was deleted after this backup of it had begun.")
    adopted = made is not None
    if made is None:
        made, resource, adopted = _create(tools, clients, resource, request)
    check_ours(family, made, request.key)
    _, lost = snapshot_tags(request.key, request.tags, own_tags(resource))
    captured = {**resource.attributes, **_persistent(family, clients, resource)}
    part = part_of(tools, clients, made)
    return Started(
        operations=(tools.operation("snapshot", part.external_id, clients.account, clients.region),),
        parts=(part,),
        captured={**captured, "name": resource.name, "tags": own_tags(resource)},
        warnings=(*warnings, *lost),
        adopted=adopted,
    )


def _create(
    tools: Tools, clients: Clients, resource: Resource, request: BackupRequest
) -> tuple[Answer, Resource, bool]:
    """The snapshot, the database as it is called now, and whether the snapshot was there."""
    try:
        made, adopted = _call(tools, clients, resource, request)
    except Gone:
        resource = describe(tools.family, clients, resource)  # renamed since it was seen, or really gone
        made, adopted = _call(tools, clients, resource, request)
    return made, resource, adopted


def _call(tools: Tools, clients: Clients, resource: Resource, request: BackupRequest) -> tuple[Answer, bool]:
    family, name = tools.family, name_for(request.key)
    tags, _ = snapshot_tags(request.key, request.tags, own_tags(resource))
    parameters = {family.source: resource.attributes["identifier"], "Tags": write_tags(tags)}
    client = creating(tools, clients, request)
    with translated(family.create, guard=tools.pace.guard):
        try:
            made: Answer = family.called(client, family.create, **{family.identifier: name}, **parameters)[family.noun]
        except ClientError as error:
            if error.response.get("Error", {}).get("Code") != family.taken:
                raise
            return existing(family, clients, name), True
    return made, False


def creating(tools: Tools, clients: Clients, request: BackupRequest | CopyRequest) -> Client:
    """The client for a call that makes something, right before that call. Raises FenceLost."""
    client = clients.create(tools.family.client)
    request.proceed()
    return client


def described(family: Family, clients: Clients, name: str) -> Answer | None:
    """Our snapshot of this name, None when there is none."""
    return describe_named(family, family.read(clients), [name]).get(name)


def existing(family: Family, clients: Clients, name: str) -> Answer:
    """The snapshot that AWS says exists. Raises NotReady while it cannot be seen."""
    found = described(family, clients, name)
    if found is None:
        raise NotReady(f"The snapshot {name} exists and cannot be seen yet.", code="snapshot-unseen")
    return found


def check_ours(family: Family, found: Mapping[str, Any], key: str) -> None:
    """Refuse a snapshot under our name with another job's tag. DocumentDB tells no tags here: its name is enough."""
    if read_tags(found.get("TagList")).get(TAG_JOB, key) != key:
        raise NotReady(f"The snapshot {found[family.identifier]} has our name and another job's tag.")


def own_tags(resource: Resource) -> dict[str, str]:
    """The tags that the database itself has, without those of a cluster's members."""
    return dict(resource.attributes.get("own_tags", resource.tags))


def snapshot_tags(key: str, ours: Mapping[str, str], users: Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
    """As `fit_tags`, in the characters that RDS takes; others become a `_`."""
    tags, lost = fit_tags(key, ours, {_STRANGE.sub("_", name): value for name, value in users.items()})
    return {name: _STRANGE.sub("_", value) for name, value in tags.items()}, lost


def part_of(tools: Tools, clients: Clients, snapshot: Mapping[str, Any]) -> Part:
    """A snapshot as a part; whether it lies under the default key is asked where it is encrypted."""
    return part_under(tools.family, snapshot, tools.keys.of(clients) if is_encrypted(snapshot) else None)


def is_encrypted(snapshot: Mapping[str, Any]) -> bool:
    """As instances' and clusters' snapshots say it."""
    return bool(snapshot.get("Encrypted") or snapshot.get("StorageEncrypted"))


def part_under(family: Family, snapshot: Mapping[str, Any], default: str | None) -> Part:
    """A snapshot as a part, by the account's default key; None where that is not known."""
    key = str(snapshot.get("KmsKeyId") or "")
    attributes: dict[str, Any] = {"arn": snapshot[family.arn], "engine": snapshot.get("Engine", "")}
    if key and default is not None:
        attributes["default_key"] = key == default
    return Part(
        external_id=str(snapshot[family.identifier]).lower(),
        source_id=str(snapshot.get("DbiResourceId") or snapshot.get("DbClusterResourceId") or snapshot[family.source]),
        size_gib=int(snapshot.get("AllocatedStorage") or 0),
        encrypted=is_encrypted(snapshot),
        kms_key_id=key,
        attributes=attributes,
    )


def _persistent(family: Family, clients: Clients, resource: Resource) -> dict[str, Any]:
    """Whether an option of the group keeps the snapshot from being shared; nothing where that cannot be asked."""
    group = str(resource.attributes.get("option_group", ""))
    if family.clustered or not group or group.startswith("default"):
        return {}
    try:
        groups = clients.read("rds").describe_option_groups(OptionGroupName=group)["OptionGroupsList"]
    except ClientError:
        return {}
    options = [option for one in groups for option in one.get("Options", [])]
    return {"persistent_options": any(one.get("Persistent") or one.get("Permanent") for one in options)}

"""Beginning backups of instances and volumes: one snapshot set, or an image; adopting what an earlier attempt made.

Nothing here has a server-side token: the wish's key goes out as a tag (or an image's name) in the creating call
itself, and every attempt looks for it first. A snapshot that AWS failed meanwhile is adopted too: its progress says so,
the attempt ends with it, and what is left of it goes with the failed point. The next attempt has another key.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from botocore.exceptions import ClientError

from tasks.errors import Gone, Impossible, Invalid, NotReady
from workers.aws.ec2_describe import HIDDEN, describe_instance, describe_volume, hidden_attributes
from workers.aws.ec2_lookup import find, image_for, one_of_several, set_made, tagged_snapshots
from workers.aws.ec2_set_tags import SetTags, plain_tags, tags_of_set
from workers.aws.errors import translate, translated
from workers.aws.keys import DefaultKeys
from workers.aws.session import Client, Clients
from workers.aws.tags import fit_tags, name_for, part_key, specify
from workers.driver import BackupRequest, Operation, Part, Resource, Started, Tagged
from workers.pace import Pace

MOST_EXCLUSIONS = 40  # CreateSnapshots, ExcludeDataVolumeIds (EC2 API reference); botocore does not check it
_DESCRIPTION_LENGTH = 255
_UNPRINTABLE = re.compile(r"[^\x20-\x7e]")
_OF_TAGS = re.compile(r"\btag", re.IGNORECASE)  # a refusal that speaks of tags: TagLimitExceeded, a duplicate tag key


@dataclass(frozen=True)
class Backup:
    """One backup to begin: who, what, and the tools. `resource` is the resource as found at this moment."""

    clients: Clients
    resource: Resource
    request: BackupRequest
    pace: Pace
    keys: DefaultKeys
    tags: Mapping[str, str]
    warnings: tuple[str, ...]

    def operation(self, kind: str, external_id: str, **detail: Any) -> Operation:
        """What was begun, with the time from which its absence is judged."""
        started = {"started_at": self.pace.clock.timer().isoformat(), "key": self.request.key, **detail}
        return Operation(kind, external_id, self.clients.account, self.clients.region, started)

    def creating(self) -> Client:
        """The client for a call that makes something, right before that call. Raises FenceLost."""
        client = self.clients.create()
        self.request.proceed()
        return client


def start_backup(
    clients: Clients, resource: Resource, request: BackupRequest, pace: Pace, keys: DefaultKeys
) -> Started:
    """Begin the backup of an instance or a volume, or adopt the one that this key began."""
    if request.mode not in ("snapshots", "image"):
        raise Invalid(f"There is no backup mode {request.mode!r}: it is 'snapshots' or 'image'.")
    now, warnings = _as_it_is(clients, resource, request)
    tags, lost = fit_tags(request.key, request.tags, now.tags)
    backup = Backup(clients, now, request, pace, keys, tags, tuple(warnings))
    if now.type == "instance" and request.mode == "snapshots":
        return _start_set(backup)
    backup = replace(backup, warnings=(*warnings, *lost))
    return _start_volume(backup) if now.type == "volume" else _start_image(backup)


def _as_it_is(clients: Clients, resource: Resource, request: BackupRequest) -> tuple[Resource, list[str]]:
    """The resource now. What vanished after an earlier attempt had taken it is taken all the same.

    A fresh request needs no second look: discovery has just had one, and a create that finds the resource changed is
    refused by AWS, after which the next attempt looks.
    """
    try:
        if request.fresh:
            return (resource, []) if resource.type == "volume" else _with_hidden(clients, resource)
        with translated("a description"):
            if resource.type == "volume":
                return describe_volume(clients, resource.external_id), []
            return _with_hidden(clients, _with_known(describe_instance(clients, resource.external_id), resource))
    except Gone:
        if not find(clients, request.key):
            raise
        return resource, [f"{resource.external_id} was deleted after this backup of it had begun."]


def _with_known(now: Resource, before: Resource) -> Resource:
    """A second look at the same launch keeps what only an earlier backup knew."""
    if now.attributes.get("launched_at") != before.attributes.get("launched_at"):
        return now
    return replace(
        now, attributes={**{k: before.attributes[k] for k in HIDDEN if k in before.attributes}, **now.attributes}
    )


def _with_hidden(clients: Clients, now: Resource) -> tuple[Resource, list[str]]:
    """With user data and termination protection, unless they are known of this very launch: user data can only be
    changed while an instance is stopped (EC2 user guide, "Work with instance user data")."""
    if "user_data" in now.attributes and now.attributes.get("state") == "running":
        return now, []
    try:
        hidden = hidden_attributes(clients, now.external_id)
    except ClientError as error:
        return now, [f"User data and termination protection were not captured. {translate(error).text}"]
    return replace(now, attributes={**now.attributes, **hidden}), []


def describe_text(text: str) -> str:
    """A description as AWS takes it."""
    return _UNPRINTABLE.sub("?", text or "Made by Snapfleet")[:_DESCRIPTION_LENGTH]


# --- one volume ---


def _start_volume(backup: Backup) -> Started:
    volume = {**backup.resource.attributes, "id": backup.resource.external_id, "tags": dict(backup.resource.tags)}
    made = _made_before(backup)
    if made:
        return _started(backup, made, [volume], adopted=True)
    return _started(backup, [_snapshot_one(backup, volume["id"], backup.tags)], [volume])


def _made_before(backup: Backup) -> list[dict[str, Any]]:
    """What an earlier attempt has made; nobody is asked where there was none."""
    if backup.request.fresh:
        return []
    return set_made(tagged_snapshots(backup.clients.read(), [backup.request.key]))


def _snapshot_one(backup: Backup, volume_id: str, tags: Mapping[str, str]) -> dict[str, Any]:
    with translated("CreateSnapshot", guard=backup.pace.guard):
        answer: dict[str, Any] = backup.creating().create_snapshot(
            VolumeId=volume_id,
            Description=describe_text(backup.request.description),
            TagSpecifications=specify(tags, "snapshot"),
        )
    return answer


# --- a set of volumes ---


def _start_set(backup: Backup) -> Started:
    """CreateSnapshots: crash-consistent across the volumes, and all of them in one call or none."""
    attached: list[dict[str, Any]] = list(backup.resource.attributes["volumes"])
    wanted = [volume for volume in attached if volume["id"] not in backup.request.exclude]
    if not attached:
        raise Impossible(f"{backup.resource.external_id} has no EBS volumes: there is nothing that AWS could copy.")
    if not wanted:
        raise Invalid("Every volume of this instance is excluded: there is nothing to back up.", code="nothing-left")
    out = [volume for volume in attached if volume["id"] in backup.request.exclude]
    root = backup.resource.attributes["root_device"]
    data = [volume["id"] for volume in out if volume["device"] != root]
    if len(data) > MOST_EXCLUSIONS:
        return _start_each(backup, wanted)
    made = _made_before(backup)
    tags = tags_of_set(backup.request.key, backup.request.tags, backup.resource.tags, wanted)
    if made:
        return _adopt_set(replace(backup, warnings=backup.warnings + tags.warnings), made, wanted)
    specification: dict[str, Any] = {"InstanceId": backup.resource.external_id}
    if len(data) < len(out):
        specification["ExcludeBootVolume"] = True  # the root among the data exclusions fails the whole call
    if data:
        specification["ExcludeDataVolumeIds"] = data
    snapshots, tags = _create_set(backup, specification, tags, wanted)
    backup = replace(backup, warnings=backup.warnings + tags.warnings)
    if {snapshot["VolumeId"] for snapshot in snapshots} - {volume["id"] for volume in attached}:
        attached = list(describe_instance(backup.clients, backup.resource.external_id).attributes["volumes"])
    return _started(backup, snapshots, attached)


def _create_set(
    backup: Backup, specification: Mapping[str, Any], tags: SetTags, wanted: Sequence[Mapping[str, Any]]
) -> tuple[list[dict[str, Any]], SetTags]:
    """The set, and the tags that it went with. A volume that was tagged since it was seen costs its snapshot the
    volume's tags, and no backup: a refused call has made nothing, so that a second one is no repetition."""
    while True:
        try:
            with translated("CreateSnapshots", guard=backup.pace.guard):
                answer = backup.creating().create_snapshots(
                    InstanceSpecification=specification,
                    Description=describe_text(backup.request.description),
                    TagSpecifications=specify(tags.tags, "snapshot"),
                    **tags.asked(),
                )
            return list(answer["Snapshots"]), tags
        except Invalid as error:
            if not tags.copied or not _OF_TAGS.search(error.text):
                raise
            lost = f"The volumes' tags did not go onto their snapshots. {error.text}"
            tags = plain_tags(backup.request.key, backup.request.tags, backup.resource.tags, wanted, lost)


def _adopt_set(backup: Backup, made: Sequence[Mapping[str, Any]], wanted: Sequence[Mapping[str, Any]]) -> Started:
    """What an earlier attempt made. A young set that lacks a volume may only be half visible: then wait."""
    absent = sorted({volume["id"] for volume in wanted} - {snapshot["VolumeId"] for snapshot in made})
    age = backup.pace.age(made[0]["StartTime"].isoformat())
    if absent and age is not None and age < backup.pace.guard:
        raise NotReady(f"The snapshot of {absent[0]} is not visible yet.", code="set-unseen")
    lacks = tuple(f"The volume {one} has no snapshot in this set." for one in absent)
    backup = replace(backup, warnings=backup.warnings + lacks)
    return _started(backup, made, wanted, adopted=True)


def _start_each(backup: Backup, wanted: Sequence[Mapping[str, Any]]) -> Started:
    """More exclusions than CreateSnapshots takes: one call a volume, each with a key of its own."""
    keys = {part_key(backup.request.key, volume["id"]): volume["id"] for volume in wanted}
    own = {volume["id"]: volume.get("tags", {}) for volume in wanted}
    before = () if backup.request.fresh else tagged_snapshots(backup.clients.read(), list(keys))
    made = {snapshot["VolumeId"]: snapshot for snapshot in before}
    adopted = len(made) == len(keys)
    begun: list[str] = []
    losses: list[str] = []
    for key, volume_id in keys.items():
        if volume_id not in made:
            tags, lost = fit_tags(key, backup.request.tags, {**backup.resource.tags, **own[volume_id]})
            losses += lost
            with one_of_several(begun, backup.pace.guard):
                made[volume_id] = _snapshot_one(backup, volume_id, tags)
            begun.append(volume_id)
    warning = f"More than {MOST_EXCLUSIONS} volumes are excluded: the others were not taken at one instant."
    backup = replace(backup, warnings=(*backup.warnings, *dict.fromkeys(losses), warning))
    return _started(backup, list(made.values()), list(wanted), adopted=adopted)


def _started(
    backup: Backup, made: Iterable[Mapping[str, Any]], volumes: Sequence[Mapping[str, Any]], adopted: bool = False
) -> Started:
    known = {volume["id"]: volume for volume in volumes}
    default = backup.keys.of(backup.clients) if any(volume["encrypted"] for volume in volumes) else None
    parts = tuple(
        part_of(snapshot, known.get(snapshot["VolumeId"], {}), default)
        for snapshot in sorted(made, key=lambda one: str(known.get(one["VolumeId"], {}).get("device", "~")))
    )
    strange = sorted(part.source_id for part in parts if part.source_id not in known)
    warnings = backup.warnings + tuple(f"The volume {one} was attached just now and is included." for one in strange)
    return Started(
        operations=tuple(backup.operation("snapshot", part.external_id, volume=part.source_id) for part in parts),
        parts=parts,
        captured=captured(backup.resource),
        warnings=warnings,
        adopted=adopted,
    )


def part_of(snapshot: Mapping[str, Any], volume: Mapping[str, Any], default_key: str | None) -> Part:
    """A snapshot as a part; `volume` is what it was taken of, `default_key` the aws/ebs key where that is known."""
    key = str(snapshot.get("KmsKeyId") or volume.get("kms_key_id", ""))
    encrypted = bool(snapshot.get("Encrypted") or volume.get("encrypted"))
    names = ("type", "iops", "throughput", "delete_on_termination", "tags")
    attributes: dict[str, Any] = {name: volume[name] for name in names if name in volume}
    if encrypted and default_key is not None and key:
        attributes["default_key"] = key == default_key
    size = snapshot.get("VolumeSize") or volume.get("size_gib", 0)
    return Part(
        external_id=snapshot["SnapshotId"],
        source_id=snapshot["VolumeId"],
        device=str(volume.get("device", "")),
        size_gib=int(size),
        encrypted=encrypted,
        kms_key_id=key,
        attributes=attributes,
    )


def part_again(one: Tagged, resource: Resource) -> Part:
    """The part of what is tagged, with what is known of its volume. One that was left without its volume's id is of
    the only one that there is; the snapshots of an image know themselves where they belong."""
    own = {**resource.attributes, "id": resource.external_id, "tags": dict(resource.tags)}
    volumes = [own] if resource.type == "volume" else list(resource.attributes.get("volumes", ()))
    known = {str(volume["id"]): volume for volume in volumes} if not one.device else {}
    source = one.source_id or (next(iter(known)) if len(known) == 1 else "")
    snapshot = {"SnapshotId": one.external_id, "VolumeId": source, "VolumeSize": one.size_gib}
    part = part_of(snapshot, known.get(source, {}), None)
    return replace(
        part,
        device=one.device or part.device,
        encrypted=one.encrypted,
        kms_key_id=one.kms_key_id,
        attributes={**part.attributes, **one.attributes},
    )


def captured(resource: Resource) -> dict[str, Any]:
    """The resource as found, for the restore: its attributes, and its name and tags beside them."""
    return {**resource.attributes, "name": resource.name, "tags": dict(resource.tags)}


# --- an image ---


def _start_image(backup: Backup) -> Started:
    """CreateImage without a reboot: its name is the token, because AWS allows a name once."""
    attached = list(backup.resource.attributes["volumes"])
    root = backup.resource.attributes["root_device"]
    out = [volume for volume in attached if volume["id"] in backup.request.exclude]
    if any(volume["device"] == root for volume in out):
        raise Impossible("An image needs its root volume: take it out of the exclusions, or back up by snapshots.")
    name, image = (
        (name_for(backup.request.key), None) if backup.request.fresh else image_for(backup.clients, backup.request.key)
    )
    if image:
        return _image_started(backup, image["ImageId"], adopted=True)
    request: dict[str, Any] = {
        "InstanceId": backup.resource.external_id,
        "Name": name,
        "Description": describe_text(backup.request.description),
        "NoReboot": not backup.request.reboot,
        "TagSpecifications": specify(backup.tags, "image", "snapshot"),
    }
    if out:
        request["BlockDeviceMappings"] = [{"DeviceName": volume["device"], "NoDevice": ""} for volume in out]
    with translated("CreateImage", guard=backup.pace.guard):
        answer = backup.creating().create_image(**request)
    return _image_started(backup, answer["ImageId"], adopted=False)


def _image_started(backup: Backup, image_id: str, adopted: bool) -> Started:
    operation = backup.operation("image", image_id, instance=backup.resource.external_id)
    return Started(
        operations=(operation,),
        image_id=image_id,
        captured=captured(backup.resource),
        warnings=backup.warnings,
        adopted=adopted,
    )

"""EBS direct APIs, writing: start a snapshot, put its blocks, complete it.

"StartSnapshot", "PutSnapshotBlock", "CompleteSnapshot" (EBS direct API reference); "Encryption outcomes for EBS
direct APIs", "Ensure idempotency in StartSnapshot API requests" (EBS user guide). Where the documents are silent: a
second CompleteSnapshot with the same numbers is answered like the first, and a wrong count or aggregate is a
ValidationException.
"""

import base64
import hashlib
import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from deploy.sandbox import kms, network
from deploy.sandbox.blocks import BLOCK, BlockMap
from deploy.sandbox.call import Call, operation
from deploy.sandbox.copies import COPIED_VOLUME
from deploy.sandbox.describing import tag_list
from deploy.sandbox.ebsdirect import check_key, named, not_found, readable
from deploy.sandbox.ebsdirect_tokens import invalid
from deploy.sandbox.errors import AwsError
from deploy.sandbox.snapshots import Snapshot, add, spoil
from deploy.sandbox.tags import checked

VOLUME_MAX = 65_536  # GiB; VolumeSize, StartSnapshot
TIMEOUT_MINUTES = (10, 60, 4320)  # least, default, most; Timeout, StartSnapshot
TOKEN_MAX = 255
TAG_KEY_MAX, TAG_VALUE_MAX = 127, 255
NEVER = datetime.max.replace(tzinfo=UTC)
TIMED_OUT = "The snapshot was not completed in time"


@dataclass
class Writing:
    """What was put into a started snapshot so far; `puts` is block index to SHA-256, zeros included."""

    timeout: timedelta
    deadline: datetime
    puts: dict[int, bytes] = field(default_factory=dict)
    percent: int = 0
    sealed: str = ""


def _value(message: str) -> AwsError:
    return invalid("INVALID_PARAMETER_VALUE", message)


def _key(call: Call, parent: Any, parameters: dict) -> str | None:
    """The key of a new snapshot, by the tables of "Encryption outcomes for EBS direct APIs"."""
    encrypted, arn = parameters.get("Encrypted"), parameters.get("KmsKeyArn")
    always = network.backend(call.account, call.region).ebs_encryption_by_default
    if parent is not None:
        if encrypted is not None or arn is not None:
            raise _value("ParentSnapshotId cannot be combined with Encrypted or KmsKeyArn.")
        if parent.key is None and always:
            raise _value("Encryption by default is enabled, so that an unencrypted parent cannot be used.")
        return parent.key
    if encrypted is False and (always or arn):
        raise _value("Encrypted cannot be false here.")
    if arn and not (encrypted or always):
        raise _value("KmsKeyArn needs Encrypted.")
    if arn:
        if kms.find(call.account, call.region, arn) is None:
            raise AwsError("ResourceNotFoundException", "No such key.", 404, "DEPENDENCY_RESOURCE_NOT_FOUND")
        return arn
    return kms.default_key(call.account, call.region) if encrypted or always else None


def _tags(parameters: dict) -> dict[str, str]:
    given = parameters.get("Tags") or []
    if any(len(t.get("Key", "")) > TAG_KEY_MAX or len(t.get("Value", "")) > TAG_VALUE_MAX for t in given):
        raise invalid("INVALID_TAG", f"Tag keys hold {TAG_KEY_MAX} characters and values {TAG_VALUE_MAX}.")
    try:
        return checked(given)
    except AwsError as error:
        raise invalid("INVALID_TAG", error.message) from None


def _once(call: Call, parameters: dict) -> tuple[str, dict | None]:
    """(fingerprint, earlier answer) for the request's client token."""
    token = parameters.get("ClientToken") or ""
    if len(token) > TOKEN_MAX or any(c.isspace() for c in token):
        raise _value("ClientToken is malformed.")
    rest = {k: v for k, v in parameters.items() if k != "ClientToken"}
    print_ = hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()
    known = call.here.tokens.get(("StartSnapshot", token)) if token else None
    if known is not None and known[0] != print_:
        raise AwsError("ConflictException", "The client token was used with other parameters before.", 409)
    return print_, known and known[1]


@operation("ebs", "StartSnapshot")
def start_snapshot(call: Call, parameters: dict) -> dict:
    with call.world.lock:
        print_, answer = _once(call, parameters)
        if answer is None:
            answer = _start(call, parameters)
            if parameters.get("ClientToken"):
                call.here.tokens["StartSnapshot", parameters["ClientToken"]] = (print_, answer)
        return answer


def _start(call: Call, parameters: dict) -> dict:
    size, minutes = parameters.get("VolumeSize"), parameters.get("Timeout", TIMEOUT_MINUTES[1])
    if not isinstance(size, int) or not 1 <= size <= VOLUME_MAX:
        raise invalid("INVALID_VOLUME_SIZE", f"VolumeSize must be between 1 and {VOLUME_MAX} GiB.")
    if not TIMEOUT_MINUTES[0] <= minutes <= TIMEOUT_MINUTES[2]:
        raise _value(f"Timeout must be between {TIMEOUT_MINUTES[0]} and {TIMEOUT_MINUTES[2]} minutes.")
    tags = _tags(parameters)
    parent = readable(call, parameters["ParentSnapshotId"]) if parameters.get("ParentSnapshotId") else None
    if parent is not None and parent.size > size:
        raise invalid("INVALID_VOLUME_SIZE", "VolumeSize cannot be smaller than the parent's.")
    key = _key(call, parent, parameters)
    check_key(call, key, "kms:GenerateDataKey")
    open_ones = sum(s.writing is not None and not s.writing.sealed for s in call.here.snapshots.values())
    if open_ones >= call.config.ebs_pending_snapshots:
        text = "The maximum number of pending snapshots is reached."
        raise AwsError("ServiceQuotaExceededException", text, 402, "DEPENDENCY_SERVICE_QUOTA_EXCEEDED")
    made = _make(call, size, parent, key, timedelta(minutes=minutes), parameters.get("Description", ""))
    add(call, made, tags)
    spoil(call, made, parameters.get("ParentSnapshotId", ""))
    return {
        "SnapshotId": made.id,
        "OwnerId": made.owner,
        "Status": "pending",
        "StartTime": made.created_at.timestamp(),
        "VolumeSize": size,
        "BlockSize": BLOCK,
        "Description": made.description or None,
        "Tags": tag_list(tags) or None,
        "ParentSnapshotId": parent.id if parent is not None else None,
        "KmsKeyArn": key,
    }


def _make(call: Call, size: int, parent: Any, key: str | None, timeout: timedelta, text: str) -> Snapshot:
    world, identifier = call.world, call.world.new_id("snap")
    made = Snapshot(
        id=identifier,
        sequence=next(world.sequence),
        owner=call.account,
        region=call.region,
        volume_id=COPIED_VOLUME,
        size=size,
        created_at=call.now,
        ready_at=NEVER,
        blocks=BlockMap(world.store, size) if parent is None else parent.blocks.frozen(size),
        origin=identifier if parent is None else parent.origin,
        key=key,
        description=text,
        writing=Writing(timeout, call.now + timeout),
    )
    world.at(made.writing.deadline, lambda: _expire(world, made))
    return made


def _expire(world: Any, snapshot: Snapshot) -> None:
    """Give a snapshot up that was left alone; look again later when it was not."""
    writing = snapshot.writing
    if writing.sealed or snapshot.gone:
        return
    now = world.clock.now()
    if now < writing.deadline:
        world.at(writing.deadline, lambda: _expire(world, snapshot))
        return
    writing.sealed = "timeout"
    snapshot.failure, snapshot.ready_at = TIMED_OUT, writing.deadline


def _open(call: Call, snapshot_id: str) -> Snapshot:
    """The caller's started snapshot that still takes blocks."""
    snapshot = named(call, snapshot_id)
    if snapshot.owner != call.account:
        raise not_found(snapshot_id)
    if snapshot.writing is not None and snapshot.writing.sealed == "timeout":
        raise invalid("WRITE_REQUEST_TIMEOUT", TIMED_OUT)
    if snapshot.writing is None or snapshot.writing.sealed:
        raise invalid("INVALID_SNAPSHOT_ID", f"The snapshot '{snapshot_id}' does not take blocks.")
    check_key(call, snapshot.key, "kms:GenerateDataKey")
    return snapshot


def _check_block(parameters: dict, data: bytes) -> bytes:
    """The SHA-256 of the data, which must be what the request says."""
    if parameters.get("DataLength") != BLOCK or len(data) != BLOCK:
        raise invalid("INVALID_BLOCK", f"A block has {BLOCK} bytes.")
    if parameters.get("ChecksumAlgorithm") != "SHA256":
        raise _value("The only checksum algorithm is SHA256.")
    digest = hashlib.sha256(data).digest()
    if parameters.get("Checksum") != base64.b64encode(digest).decode():
        raise invalid("INVALID_BLOCK", "The checksum does not match the data.")
    return digest


@operation("ebs", "PutSnapshotBlock")
def put_snapshot_block(call: Call, parameters: dict) -> dict:
    snapshot_id, index = parameters["SnapshotId"], parameters["BlockIndex"]
    with call.world.lock:
        snapshot = _open(call, snapshot_id)
    if index >= snapshot.size * (1 << 30) // BLOCK:
        raise invalid("INVALID_BLOCK", f"The block {index} is outside the volume.")
    percent = parameters.get("Progress", 0)
    if not 0 <= percent <= 100:
        raise _value("Progress must be between 0 and 100.")
    digest = _check_block(parameters, parameters["BlockData"])
    with call.world.lock:
        snapshot = _open(call, snapshot_id)
        kept = call.world.store.put(parameters["BlockData"], digest)
        snapshot.blocks.set_block(index, kept)
        writing: Writing = snapshot.writing
        writing.puts[index] = digest
        writing.percent = max(writing.percent, percent)
        writing.deadline = call.now + writing.timeout
    return {"Checksum": parameters["Checksum"], "ChecksumAlgorithm": "SHA256"}


def linear(puts: dict[int, bytes]) -> str:
    """LINEAR: SHA-256 over the concatenated digests of the blocks, in the order of their indexes."""
    return base64.b64encode(hashlib.sha256(b"".join(puts[i] for i in sorted(puts))).digest()).decode()


@operation("ebs", "CompleteSnapshot")
def complete_snapshot(call: Call, parameters: dict) -> dict:
    with call.world.lock:
        snapshot = named(call, parameters["SnapshotId"])
        count, checksum = parameters.get("ChangedBlocksCount"), parameters.get("Checksum")
        asked = f"completed {count} {checksum}"
        if snapshot.owner == call.account and snapshot.writing is not None and snapshot.writing.sealed == asked:
            return {"Status": snapshot.state(call.now)}
        snapshot = _open(call, parameters["SnapshotId"])
        puts = snapshot.writing.puts
        if count != len(puts):
            raise _value(f"ChangedBlocksCount is {count}, but {len(puts)} blocks were written.")
        _check_aggregate(parameters, puts)
        seconds = call.config.snapshot_seconds + call.config.snapshot_seconds_per_gib * snapshot.size
        snapshot.writing.sealed, snapshot.ready_at = asked, call.now + timedelta(seconds=seconds)
        return {"Status": snapshot.state(call.now)}


def _check_aggregate(parameters: dict, puts: dict[int, bytes]) -> None:
    if parameters.get("Checksum") is None:
        return
    if parameters.get("ChecksumAlgorithm") != "SHA256" or parameters.get("ChecksumAggregationMethod") != "LINEAR":
        raise _value("A checksum needs ChecksumAlgorithm SHA256 and ChecksumAggregationMethod LINEAR.")
    if parameters["Checksum"] != linear(puts):
        raise _value("The aggregated checksum does not match the written blocks.")

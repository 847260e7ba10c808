"""EBS direct APIs, reading: which blocks a snapshot has, which differ between two, and their data.

"ListSnapshotBlocks", "ListChangedBlocks", "GetSnapshotBlock" (EBS direct API reference), "Frequently asked questions
for EBS direct APIs" (EBS user guide): completed snapshots only, none that are public, archived or a stranger's; only
written blocks are listed, in numerical order; a page may be empty and still not be the last.

Where the documents are silent: two snapshots are of one lineage when their data came from the same volume and they
have the same key; a block of zeros counts as not written.
"""

import base64
from bisect import bisect_left
from typing import Any

from deploy.sandbox import kms, sharing
from deploy.sandbox.blocks import BLOCK
from deploy.sandbox.call import Call, operation
from deploy.sandbox.ebsdirect_tokens import BlockTokens, check_block_token, invalid, page_token, read_page_token
from deploy.sandbox.errors import AwsError

PAGE_MIN, PAGE_MAX = 100, 10_000  # MaxResults, EBS direct API reference
PAGE_DEFAULT = 100


def not_found(snapshot_id: str) -> AwsError:
    text = f"The snapshot '{snapshot_id}' does not exist."
    return AwsError("ResourceNotFoundException", text, 404, "SNAPSHOT_NOT_FOUND")


def check_key(call: Call, arn: str | None, action: str) -> None:
    """AccessDeniedException DEPENDENCY_ACCESS_DENIED unless the caller may use the key now."""
    if arn is None:
        return
    if not kms.usable(call, arn, action):
        text = "The KMS key of the snapshot cannot be used."
        raise AwsError("AccessDeniedException", text, 403, "DEPENDENCY_ACCESS_DENIED")


def named(call: Call, snapshot_id: str) -> Any:
    """The snapshot, if the caller may know of it."""
    if not snapshot_id.startswith("snap-"):
        raise invalid("INVALID_SNAPSHOT_ID", f"Invalid snapshot id: {snapshot_id}")
    try:
        return sharing.visible_snapshot(call.world, call.account, call.region, snapshot_id)
    except AwsError:
        raise not_found(snapshot_id) from None


def readable(call: Call, snapshot_id: str) -> Any:
    """The snapshot, if its blocks can be read by the caller now."""
    snapshot = named(call, snapshot_id)
    if snapshot.owner != call.account and call.account not in snapshot.shared_with:
        raise invalid("INVALID_SNAPSHOT_ID", "Public snapshots are not supported.")
    state = snapshot.state(call.now)
    if state != "completed":
        raise invalid("INVALID_SNAPSHOT_ID", f"The snapshot '{snapshot_id}' is {state}, not completed.")
    if snapshot.tier == "archive":
        raise invalid("INVALID_SNAPSHOT_ID", f"The snapshot '{snapshot_id}' is archived.")
    check_key(call, snapshot.key, "kms:Decrypt")
    return snapshot


def _written(snapshot: Any) -> list[int]:
    if "" not in snapshot.listings:
        snapshot.listings[""] = sorted(snapshot.blocks.cells)
    return snapshot.listings[""]


def _changed(first: Any, second: Any) -> list[int]:
    if first.id not in second.listings:
        differing = first.blocks.cells.items() ^ second.blocks.cells.items()
        second.listings[first.id] = sorted({index for index, _ in differing})
    return second.listings[first.id]


def _page(call: Call, parameters: dict, indexes: list[int], about: list[str]) -> tuple[list[int], str | None]:
    """The indexes of this page, and the token of the next."""
    limit = parameters.get("MaxResults", PAGE_DEFAULT)
    if not PAGE_MIN <= limit <= PAGE_MAX:
        text = f"MaxResults must be between {PAGE_MIN} and {PAGE_MAX}."
        raise invalid("INVALID_PARAMETER_VALUE", text)
    token, blank = parameters.get("NextToken"), False
    if token:
        start, blank = read_page_token(token, about, call.now)
    else:
        start = bisect_left(indexes, parameters.get("StartingBlockIndex", 0))
    if call.config.ebs_empty_pages and not blank:
        return [], page_token(call.now, about, start, blank=True)
    end = start + limit
    more = page_token(call.now, about, end, blank=False) if end < len(indexes) else None
    return indexes[start:end], more


def _listing(snapshot: Any, tokens: BlockTokens, name: str, blocks: list[dict], more: str | None) -> dict:
    answer = {name: blocks, "ExpiryTime": tokens.expires_at.timestamp(), "VolumeSize": snapshot.size}
    return {**answer, "BlockSize": BLOCK, "NextToken": more}


@operation("ebs", "ListSnapshotBlocks")
def list_snapshot_blocks(call: Call, parameters: dict) -> dict:
    with call.world.lock:
        snapshot = readable(call, parameters["SnapshotId"])
        indexes, more = _page(call, parameters, _written(snapshot), [call.account, snapshot.id])
    tokens = BlockTokens(call.now)
    blocks = [{"BlockIndex": i, "BlockToken": tokens.token(snapshot.id, i)} for i in indexes]
    return _listing(snapshot, tokens, "Blocks", blocks, more)


@operation("ebs", "ListChangedBlocks")
def list_changed_blocks(call: Call, parameters: dict) -> dict:
    if not parameters.get("FirstSnapshotId"):
        raise invalid("INVALID_SNAPSHOT_ID", "FirstSnapshotId must be specified.")
    with call.world.lock:
        first, second = (readable(call, parameters[n]) for n in ("FirstSnapshotId", "SecondSnapshotId"))
        if (first.origin, first.key) != (second.origin, second.key):
            text = f"The snapshots {first.id} and {second.id} are not of the same lineage."
            raise invalid("UNRELATED_SNAPSHOTS", text)
        indexes, more = _page(call, parameters, _changed(first, second), [call.account, first.id, second.id])
    tokens = BlockTokens(call.now)
    blocks = []
    for i in indexes:
        block: dict[str, Any] = {"BlockIndex": i}
        if i in first.blocks.cells:
            block["FirstBlockToken"] = tokens.token(first.id, i)
        if i in second.blocks.cells:
            block["SecondBlockToken"] = tokens.token(second.id, i)
        blocks.append(block)
    return _listing(second, tokens, "ChangedBlocks", blocks, more)


@operation("ebs", "GetSnapshotBlock")
def get_snapshot_block(call: Call, parameters: dict) -> dict:
    index = parameters["BlockIndex"]
    with call.world.lock:
        snapshot = readable(call, parameters["SnapshotId"])
        check_block_token(parameters.get("BlockToken", ""), snapshot.id, index, call.now)
        digest = snapshot.blocks.cells[index]
        data = call.world.store.get(digest)
    checksum = base64.b64encode(digest).decode()
    return {"DataLength": BLOCK, "BlockData": data, "Checksum": checksum, "ChecksumAlgorithm": "SHA256"}

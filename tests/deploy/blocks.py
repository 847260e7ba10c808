"""What the tests of the EBS direct APIs share: distinct blocks, and the calls that they make again and again."""

import base64
import hashlib
from typing import Any

import pytest

BLOCK = 524288


def data(number: int) -> bytes:
    """A block that is like no other number's."""
    return number.to_bytes(8, "big") * (BLOCK // 8)


def checksum(block: bytes) -> str:
    return base64.b64encode(hashlib.sha256(block).digest()).decode()


def put(ebs: Any, snap: str, index: int, block: bytes, **changed: Any) -> Any:
    asked = {"DataLength": BLOCK, "Checksum": checksum(block), "ChecksumAlgorithm": "SHA256"} | changed
    return ebs.put_snapshot_block(SnapshotId=snap, BlockIndex=index, BlockData=block, **asked)


def written(ebs: Any, blocks: dict[int, bytes], size: int = 1, **parameters: Any) -> str:
    """A completed snapshot with these blocks."""
    snap = ebs.start_snapshot(VolumeSize=size, **parameters)["SnapshotId"]
    for index, block in blocks.items():
        put(ebs, snap, index, block)
    ebs.complete_snapshot(SnapshotId=snap, ChangedBlocksCount=len(blocks))
    return snap


def pages(operation: Any, name: str, **parameters: Any) -> list[list[dict]]:
    """Every page of a listing."""
    found, token = [], {}
    while True:
        answer = operation(**parameters, **token)
        found.append(answer[name])
        if not answer.get("NextToken"):
            return found
        token = {"NextToken": answer["NextToken"]}


def listed(ebs: Any, snap: str, **parameters: Any) -> list[dict]:
    return [b for page in pages(ebs.list_snapshot_blocks, "Blocks", SnapshotId=snap, **parameters) for b in page]


def changed(ebs: Any, first: str, second: str, **parameters: Any) -> dict[int, str]:
    """Block index: which of the two snapshots has it, as "12", "1" or "2"."""
    found = pages(
        ebs.list_changed_blocks, "ChangedBlocks", FirstSnapshotId=first, SecondSnapshotId=second, **parameters
    )
    return {
        b["BlockIndex"]: ("1" if "FirstBlockToken" in b else "") + ("2" if "SecondBlockToken" in b else "")
        for page in found
        for b in page
    }


def content(ebs: Any, snap: str) -> dict[int, bytes]:
    return {
        b["BlockIndex"]: ebs.get_snapshot_block(SnapshotId=snap, **b)["BlockData"].read() for b in listed(ebs, snap)
    }


def reason(code: str, wanted: str, function: Any, **parameters: Any) -> None:
    """Call an operation that must fail with this code and Reason."""
    client = function.__self__
    with pytest.raises(client.exceptions.ClientError) as caught:
        function(**parameters)
    assert (caught.value.response["Error"]["Code"], caught.value.response.get("Reason")) == (code, wanted)

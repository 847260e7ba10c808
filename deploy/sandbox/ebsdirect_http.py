"""The REST wire of the EBS direct APIs: paths and headers in, JSON or a block out (service `ebs` of botocore)."""

import json
import re
from typing import Any

from deploy.sandbox.call import OPERATIONS, Call
from deploy.sandbox.ebsdirect_tokens import invalid
from deploy.sandbox.errors import AwsError
from deploy.sandbox.http import Request, Response

ROUTES = (
    ("POST", re.compile(r"/snapshots"), "StartSnapshot"),
    ("POST", re.compile(r"/snapshots/completion/(?P<SnapshotId>[^/]+)"), "CompleteSnapshot"),
    ("GET", re.compile(r"/snapshots/(?P<SnapshotId>[^/]+)/blocks"), "ListSnapshotBlocks"),
    ("GET", re.compile(r"/snapshots/(?P<SecondSnapshotId>[^/]+)/changedblocks"), "ListChangedBlocks"),
    ("GET", re.compile(r"/snapshots/(?P<SnapshotId>[^/]+)/blocks/(?P<BlockIndex>[^/]+)"), "GetSnapshotBlock"),
    ("PUT", re.compile(r"/snapshots/(?P<SnapshotId>[^/]+)/blocks/(?P<BlockIndex>[^/]+)"), "PutSnapshotBlock"),
)
QUERY = {
    "pageToken": "NextToken",
    "maxResults": "MaxResults",
    "startingBlockIndex": "StartingBlockIndex",
    "firstSnapshotId": "FirstSnapshotId",
    "blockToken": "BlockToken",
}
HEADERS = {
    "x-amz-data-length": "DataLength",
    "x-amz-progress": "Progress",
    "x-amz-checksum": "Checksum",
    "x-amz-checksum-algorithm": "ChecksumAlgorithm",
    "x-amz-changedblockscount": "ChangedBlocksCount",
    "x-amz-checksum-aggregation-method": "ChecksumAggregationMethod",
}
NUMBERS = ("MaxResults", "StartingBlockIndex", "BlockIndex", "DataLength", "Progress", "ChangedBlocksCount")
STATUS = {"StartSnapshot": 201, "PutSnapshotBlock": 201, "CompleteSnapshot": 202}


def route(request: Request) -> tuple[str, dict[str, Any]]:
    """(operation, parameters under botocore's names); ("?", {}) for a path that is no operation's."""
    path = request.path.rstrip("/")
    for method, pattern, name in ROUTES:
        found = pattern.fullmatch(path) if method == request.method else None
        if found is not None:
            given: dict[str, Any] = found.groupdict()
            given |= {QUERY[k]: v for k, v in request.query.items() if k in QUERY}
            given |= {HEADERS[k]: v for k, v in request.headers.items() if k in HEADERS}
            return name, given
    return "?", {}


def answer(call: Call, request: Request, parameters: dict[str, Any]) -> Response:
    """Do it. Numbers that are none are a ValidationException."""
    function = OPERATIONS.get(("ebs", call.operation))
    if function is None:
        raise AwsError("UnknownOperationException", f"No such operation: {request.method} {request.path}", 404)
    try:
        given = {k: int(v) if k in NUMBERS else v for k, v in parameters.items()}
        if call.operation == "StartSnapshot":
            given |= json.loads(request.body or b"{}")
    except ValueError:
        raise invalid("INVALID_PARAMETER_VALUE", "The request is malformed.") from None
    if given.get("BlockIndex", 0) < 0:
        raise invalid("INVALID_PARAMETER_VALUE", "BlockIndex cannot be negative.")
    if call.operation == "PutSnapshotBlock":
        given["BlockData"] = request.body
    return _response(call.operation, function(call, given))


def _response(name: str, result: dict[str, Any]) -> Response:
    data = result.pop("BlockData", None) if name == "GetSnapshotBlock" else None
    if name not in ("GetSnapshotBlock", "PutSnapshotBlock"):
        body = json.dumps({k: v for k, v in result.items() if v is not None}).encode()
        return Response(STATUS.get(name, 200), {"Content-Type": "application/json"}, body)
    headers = {wire: str(result[member]) for wire, member in HEADERS.items() if member in result}
    headers["Content-Type"] = "application/octet-stream"
    return Response(STATUS.get(name, 200), headers, data or b"")

"""Which S3 operation a request is: from its method, path and query, by botocore's model (path-style addressing)."""

import re
from dataclasses import dataclass
from functools import cache
from urllib.parse import unquote

from deploy.sandbox import wire
from deploy.sandbox.http import Request

UPLOADS = {"GET": "ListParts", "PUT": "UploadPart", "POST": "CompleteMultipartUpload", "DELETE": "AbortMultipartUpload"}
SELECTING = ("list-type", "select-type")  # these come with a value and only select an operation


@dataclass(frozen=True)
class Target:
    """The operation and what it is about; `key` and `bucket` are empty where there is none."""

    operation: str
    bucket: str
    key: str
    query: dict[str, str]

    @property
    def version(self) -> str | None:
        return self.query.get("versionId")


@cache
def _routes() -> dict[tuple[str, int, str], str]:
    """(method, 0 service, 1 bucket, 2 key, subresource): operation. Deprecated twins give way."""
    found: dict[tuple[str, int, str], str] = {}
    model = wire.service_model("s3")
    for name in model.operation_names:
        operation = model.operation_model(name)
        path, _, query = operation.http["requestUri"].partition("?")
        level = 2 if "{Key+}" in path else 1 if "{Bucket}" in path else 0
        subresource = query.split("&")[0].partition("=")[0]
        place = (operation.http["method"], level, subresource)
        if place not in found or found[place] in DEPRECATED:
            found[place] = name
    return found | OVERRIDES


DEPRECATED = (
    "GetBucketLifecycle",
    "PutBucketLifecycle",
    "GetBucketNotification",
    "PutBucketNotification",
    "ListDirectoryBuckets",
)
OVERRIDES = {
    ("GET", 0, ""): "ListBuckets",
    ("GET", 1, ""): "ListObjects",
    ("GET", 2, ""): "GetObject",
    ("PUT", 1, ""): "CreateBucket",
    ("PUT", 2, ""): "PutObject",
    ("DELETE", 2, ""): "DeleteObject",
}


def target(request: Request) -> Target:
    """What a request asks for; operation "?" when it is nothing that botocore knows."""
    bucket, _, key = unquote(re.sub(r"^/", "", request.target.partition("?")[0])).partition("/")
    query, level = request.query, 2 if key else 1 if bucket else 0
    copying = "x-amz-copy-source" in request.headers and request.method == "PUT"
    if level == 2 and "uploadId" in query:
        name = UPLOADS.get(request.method, "?")
        return Target(name + "Copy" if copying else name, bucket, key, query)
    routes = _routes()
    for word in query:
        name = routes.get((request.method, level, word), "") if word else ""
        if name and (not query[word] or word in SELECTING):
            return Target(name, bucket, key, query)
    if copying and level == 2:
        return Target("CopyObject", bucket, key, query)
    return Target(routes.get((request.method, level, ""), "?"), bucket, key, query)

"""What the tests of S3 share: clients with path-style addresses, listings and multipart uploads."""

from datetime import datetime
from typing import Any

from tests.deploy.estate import VAULT

PATH = {"addressing_style": "path"}
PART = 5 * 1024 * 1024


def client(sandbox: Any, account: str = VAULT, **config: Any) -> Any:
    return sandbox.client(account, service="s3", s3=PATH, **config)


def now(sandbox: Any) -> datetime:
    return datetime.fromisoformat(sandbox.advance(0))


def keys(s3: Any, **parameters: Any) -> list[str]:
    return [o["Key"] for o in s3.list_objects_v2(Bucket="repo", **parameters).get("Contents", [])]


def upload(s3: Any, name: str, *parts: bytes, **parameters: Any) -> dict:
    """CompleteMultipartUpload's parameters for parts that were uploaded."""
    started = s3.create_multipart_upload(Bucket=parameters.pop("Bucket", "repo"), Key=name, **parameters)
    place = {"Bucket": started["Bucket"], "Key": name, "UploadId": started["UploadId"]}
    done = [
        {"PartNumber": n, "ETag": s3.upload_part(**place, PartNumber=n, Body=b)["ETag"]} for n, b in enumerate(parts, 1)
    ]
    return place | {"MultipartUpload": {"Parts": done}}

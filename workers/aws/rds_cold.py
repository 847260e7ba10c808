"""Exports of RDS moved to a cold class of S3 once they are there: RDS itself writes in Standard only.

StartExportTask (RDS API reference) knows no storage class. CopyObject (S3 API reference) onto itself with another class
moves an object inside S3, metadata and all, up to 5 GiB; what it is encrypted with has to be said again. The listing
tells what is left to do, so nothing is noted. A bucket that keeps versions keeps the old ones too, in Standard.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import islice
from typing import Any

from botocore.exceptions import ClientError

from workers.aws.errors import translated
from workers.aws.rds_export import head_of
from workers.aws.s3_calls import Passed, answered
from workers.aws.s3_objects import ARCHIVED, COPY_MOST
from workers.aws.session import Client, Clients
from workers.cooling import Cooled
from workers.driver import Part

_WIDTH = 16  # copies at once: latency is most of a copy of some 100 MB inside S3
_VERSIONS = (
    "{bucket} keeps versions: the ones in Standard stay beside those in {to} until its lifecycle rules take them away."
)


def cool_export(
    clients: Clients, part: Part, storage_class: str, late: Callable[[], bool], proceed: Callable[[], None]
) -> Cooled:
    """Move what lies below the export's name, a few objects at a time. Raises the family."""
    bucket, owner = str(part.attributes["bucket"]), clients.number()
    mine = {"Bucket": bucket, "ExpectedBucketOwner": owner}
    moved = size = kept = 0
    note = ""
    target = clients.create("s3")
    with translated("a look at an export"), ThreadPoolExecutor(_WIDTH, "cool") as pool:
        rows = _warm(clients.read("s3"), mine, head_of(part), storage_class)
        while some := list(islice(rows, _WIDTH)):
            if moved and late():
                return Cooled(moved, size, kept, note, ended=False)
            proceed()
            for row, why in zip(some, pool.map(partial(_move, target, mine, part, storage_class), some), strict=True):
                moved, size = (moved, size) if why else (moved + 1, size + int(row["Size"]))
                kept, note = (kept + 1, note or f"{row['Key']}: {why}") if why else (kept, note)
        if moved and not note and _keeps_versions(clients.read("s3"), mine):
            note = _VERSIONS.format(bucket=bucket, to=storage_class)
    return Cooled(moved, size, kept, note)


def _warm(s3: Client, mine: dict[str, Any], head: str, storage_class: str) -> Iterator[dict[str, Any]]:
    """The objects that are neither in the class nor archived otherwise: a lifecycle rule may have been there first."""
    for page in s3.get_paginator("list_objects_v2").paginate(**mine, Prefix=head):
        for row in page.get("Contents", ()):
            if row.get("StorageClass", "STANDARD") not in {storage_class, *ARCHIVED}:
                yield row


def _move(target: Client, mine: dict[str, Any], part: Part, storage_class: str, row: dict[str, Any]) -> str:
    """Move one object; '' or why it stays. One that is not there any more, or was written over, needs none."""
    if int(row["Size"]) > COPY_MOST:
        return "S3 copies no object above 5 GiB whole"
    key = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": part.kms_key_id} if part.kms_key_id else {}
    asked = {
        "CopySource": {"Bucket": mine["Bucket"], "Key": row["Key"]},
        "CopySourceIfMatch": row["ETag"],
        "ExpectedSourceBucketOwner": mine["ExpectedBucketOwner"],
        "StorageClass": storage_class,
        **key,
    }
    try:
        answered("CopyObject", lambda: target.copy_object(**mine, Key=row["Key"], **asked))
    except Passed as error:
        return error.text
    return ""


def _keeps_versions(s3: Client, mine: dict[str, Any]) -> bool:
    try:
        return bool(s3.get_bucket_versioning(**mine).get("Status") == "Enabled")
    except ClientError:
        return False  # only a warning depends on it

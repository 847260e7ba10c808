"""Buckets as they are: where, with which tags, whether they keep versions and how they encrypt.

A bucket's own policy may refuse even its owner's roles: what may not be read of it is named, never taken for none.

ListBuckets (S3 API reference) lists an account's buckets of all regions; it is asked for one region's.
"""

from typing import Any

from botocore.exceptions import ClientError

from tasks.errors import Denied, Gone
from workers.aws.errors import translate
from workers.aws.session import Client, Clients
from workers.aws.tags import read_tags
from workers.driver import UNREAD, Resource, ResourcePage

_PAGE = 25  # four further calls a bucket: a page stays within seconds
_UNSET = frozenset({"NoSuchTagSet", "ServerSideEncryptionConfigurationNotFoundError"})


def discover(clients: Clients, page: str | None) -> ResourcePage:
    """A page of a region's buckets."""
    token = {"ContinuationToken": page} if page else {}
    answer = clients.read("s3").list_buckets(BucketRegion=clients.region, MaxBuckets=_PAGE, **token)
    found = []
    for one in answer.get("Buckets", ()):
        if one.get("BucketRegion", clients.region) != clients.region:
            continue
        try:
            found.append(describe(clients, str(one["Name"])))
        except Gone:
            continue  # deleted between the two calls
    return ResourcePage(tuple(found), answer.get("ContinuationToken") or None)


def describe(clients: Clients, name: str) -> Resource:
    """One bucket; what may not be read is left out and named. Raises Gone."""
    s3 = clients.read("s3")
    told = {
        what: _asked(s3, method, name)
        for what, method in (
            ("tags", "get_bucket_tagging"),
            ("versioning", "get_bucket_versioning"),
            ("encryption", "get_bucket_encryption"),
        )
    }
    known = {what: answer or {} for what, answer in told.items()}
    unread = [what for what, answer in told.items() if answer is None]
    attributes = {
        "arn": f"arn:{_partition(clients.region)}:s3:::{name}",
        "versioning": str(known["versioning"].get("Status", "")),
        "encryption": known["encryption"].get("ServerSideEncryptionConfiguration", {}),
        **({UNREAD: unread} if unread else {}),
    }
    tags = read_tags(known["tags"].get("TagSet"))
    return Resource("s3", name, clients.account, clients.region, name, tags, attributes)


def _asked(s3: Client, method: str, bucket: str) -> dict[str, Any] | None:
    """The answer, {} where nothing is set, None where it may not be read. Raises the family."""
    try:
        answer: dict[str, Any] = getattr(s3, method)(Bucket=bucket)
    except ClientError as error:
        if error.response.get("Error", {}).get("Code") in _UNSET:
            return {}
        found = translate(error, operation=method)
        if isinstance(found, Denied):
            return None
        raise found from None
    return answer


def _partition(region: str) -> str:
    if region.startswith("cn-"):
        return "aws-cn"
    return "aws-us-gov" if region.startswith("us-gov-") else "aws"

"""Buckets as they are: where, with which tags, whether they keep versions and how they encrypt.

ListBuckets (S3 API reference) lists an account's buckets of all regions; it is asked for one region's.
"""

from typing import Any

from botocore.exceptions import ClientError

from tasks.errors import Denied, Gone
from workers.aws.errors import translate
from workers.aws.session import Client, Clients
from workers.aws.tags import read_tags
from workers.driver import Resource, ResourcePage

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
    """One bucket. Raises Gone; what may not be read is left out."""
    s3 = clients.read("s3")
    tags = read_tags(_asked(s3, "get_bucket_tagging", name).get("TagSet"))
    attributes = {
        "arn": f"arn:{_partition(clients.region)}:s3:::{name}",
        "versioning": str(_asked(s3, "get_bucket_versioning", name).get("Status", "")),
        "encryption": _asked(s3, "get_bucket_encryption", name).get("ServerSideEncryptionConfiguration", {}),
    }
    return Resource("s3", name, clients.account, clients.region, name, tags, attributes)


def _asked(s3: Client, method: str, bucket: str) -> dict[str, Any]:
    try:
        answer: dict[str, Any] = getattr(s3, method)(Bucket=bucket)
    except ClientError as error:
        if error.response.get("Error", {}).get("Code") in _UNSET:
            return {}
        found = translate(error, operation=method)
        if isinstance(found, Denied):
            return {}  # a bucket's own policy may refuse even its owner's roles
        raise found from None
    return answer


def _partition(region: str) -> str:
    if region.startswith("cn-"):
        return "aws-cn"
    return "aws-us-gov" if region.startswith("us-gov-") else "aws"

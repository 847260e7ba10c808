"""Copies inside S3: what moto takes for granted or leaves behind.

"CopyObject", "UploadPartCopy" (S3 API reference): the condition on the source's ETag, the largest object that is
copied whole, tags that go along unless they are replaced, and the right to read them.
"""

from typing import Any
from urllib.parse import parse_qs, unquote

from deploy.sandbox import s3_access, s3_archive, s3_conditions
from deploy.sandbox.call import Call
from deploy.sandbox.errors import AwsError

COPIES = ("CopyObject", "UploadPartCopy")


def source_of(header: str) -> tuple[Any, Any]:
    """(bucket, version) that a copy is made of; the version is None when there is none."""
    path, _, query = header.partition("?")
    name, _, key = unquote(path).lstrip("/").partition("/")
    bucket, wanted = s3_access.bucket_of(name), parse_qs(query).get("versionId", [""])[0]
    if not wanted:
        return bucket, s3_conditions.current(bucket, key)[0]
    versions = bucket.keys.getlist(key, [])
    return bucket, next((one for one in versions if str(one.version_id) == wanted), None)


def check(call: Call, operation: str, headers: dict[str, str], most: int) -> None:
    """NoSuchKey (404), PreconditionFailed (412), InvalidObjectState (403), InvalidRequest (400), AccessDenied (403)."""
    bucket, held = source_of(headers["x-amz-copy-source"])
    if held is None:
        raise AwsError("NoSuchKey", "The specified key does not exist.", 404)
    s3_archive.refresh(held, call.now)
    s3_archive.check_readable(held, call.now)
    match = headers.get("x-amz-copy-source-if-match")
    if match is not None and match.strip('"') != held.etag.strip('"'):
        raise s3_conditions.failed("x-amz-copy-source-If-Match")
    if operation != "CopyObject":
        return
    if held.size > most:
        text = f"The specified copy source is larger than the maximum allowable size for a copy source: {most}"
        raise AwsError("InvalidRequest", text, 400)
    if _tags(bucket, held) and headers.get("x-amz-tagging-directive", "COPY") == "COPY":
        named = "versionId=" in headers["x-amz-copy-source"]
        action = "GetObjectVersionTagging" if named else "GetObjectTagging"
        s3_access.check_one(call.principal, bucket, action, held.name)


def carry(headers: dict[str, str], target: Any, made: Any) -> None:
    """The source's tags on the copy that was made."""
    bucket, held = source_of(headers["x-amz-copy-source"])
    if headers.get("x-amz-tagging-directive", "COPY") == "COPY" and held is not None and made is not None:
        tags = _tags(bucket, held)
        tagger = s3_access.backend(target.account_id).tagger
        tagger.delete_all_tags_for_resource(made.arn)
        tagger.tag_resource(made.arn, [{"Key": k, "Value": v} for k, v in tags.items()])


def _tags(bucket: Any, held: Any) -> dict[str, str]:
    found: dict[str, str] = s3_access.backend(bucket.account_id).tagger.get_tag_dict_for_resource(held.arn)
    return found

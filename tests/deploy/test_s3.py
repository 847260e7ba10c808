"""S3 as a block repository needs it: integrity, conditions, listings, batches, faults and what it costs."""

import base64
import hashlib
import http.client
import zlib
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.exceptions import IncompleteReadError, ResponseStreamingError

from tests.deploy.estate import HOME, PROD, VAULT, refused
from tests.deploy.objects import PART, PATH, client, keys, now, upload


def test_an_object_comes_back_as_it_went_in(s3):
    """AWS, "PutObject", "HeadObject", "GetObject": length, ETag, metadata, ranges, names that need encoding."""
    body = bytes(range(256)) * 40
    put = s3.put_object(Bucket="repo", Key="packs/ä b+c%d", Body=body, Metadata={"writer": "w1"})
    head = s3.head_object(Bucket="repo", Key="packs/ä b+c%d")
    assert (head["ContentLength"], head["ETag"], head["Metadata"]) == (10240, put["ETag"], {"writer": "w1"})
    got = s3.get_object(Bucket="repo", Key="packs/ä b+c%d", ChecksumMode="ENABLED")
    assert (got["Body"].read(), got["ChecksumCRC32"]) == (body, put["ChecksumCRC32"])
    part = s3.get_object(Bucket="repo", Key="packs/ä b+c%d", Range="bytes=100-109")
    assert (part["Body"].read(), part["ContentRange"]) == (body[100:110], "bytes 100-109/10240")
    refused("NoSuchKey", s3.get_object, Bucket="repo", Key="none")
    refused("NoSuchBucket", s3.get_object, Bucket="nowhere-at-all", Key="none")


def test_if_none_match_lets_one_writer_create(s3):
    """AWS, "Prevent object overwrites with conditional writes": 412 for the second, by each way of writing."""
    s3.put_object(Bucket="repo", Key="lock", Body=b"first", IfNoneMatch="*")
    refused("PreconditionFailed", s3.put_object, Bucket="repo", Key="lock", Body=b"second", IfNoneMatch="*")
    complete = upload(s3, "lock", b"third")
    refused("PreconditionFailed", s3.complete_multipart_upload, **complete, IfNoneMatch="*")
    copy = {"Bucket": "repo", "CopySource": "repo/lock"}
    s3.copy_object(**copy, Key="copy", IfNoneMatch="*")
    refused("PreconditionFailed", s3.copy_object, **copy, Key="copy", IfNoneMatch="*")
    assert s3.get_object(Bucket="repo", Key="lock")["Body"].read() == b"first"
    s3.complete_multipart_upload(**upload(s3, "new", b"whole"), IfNoneMatch="*")
    refused("NotImplemented", s3.put_object, Bucket="repo", Key="x", Body=b"", IfNoneMatch='"etag"')


def test_one_of_many_creators_wins(sandbox, s3):
    """AWS, "Conditional writes": of writers at the same time the first to finish succeeds, all others get 412."""
    wide = client(sandbox, max_pool_connections=8)

    def create(number: int) -> str:
        try:
            wide.put_object(Bucket="repo", Key="lease", Body=str(number).encode(), IfNoneMatch="*")
        except wide.exceptions.ClientError as error:
            return error.response["Error"]["Code"]
        return str(number)

    with ThreadPoolExecutor(8) as pool:
        outcomes = list(pool.map(create, range(24)))
    winner = s3.get_object(Bucket="repo", Key="lease")["Body"].read().decode()
    assert sorted(outcomes) == [winner] + ["PreconditionFailed"] * 23


def test_if_match_lets_only_the_last_reader_replace(s3):
    """AWS, "Conditional writes": If-Match with the ETag that was read; 404 when the object is not there."""
    old = s3.put_object(Bucket="repo", Key="head", Body=b"1")["ETag"]
    new = s3.put_object(Bucket="repo", Key="head", Body=b"2", IfMatch=old)["ETag"]
    stale = {"Bucket": "repo", "Key": "head", "IfMatch": old}
    refused("PreconditionFailed", s3.put_object, **stale, Body=b"3")
    refused("PreconditionFailed", s3.complete_multipart_upload, **upload(s3, "head", b"3"), IfMatch=old)
    refused("PreconditionFailed", s3.copy_object, **stale, CopySource="repo/head", MetadataDirective="REPLACE")
    refused("PreconditionFailed", s3.delete_object, **stale)
    refused("NoSuchKey", s3.put_object, Bucket="repo", Key="none", Body=b"", IfMatch=new)
    refused("NoSuchKey", s3.delete_object, Bucket="repo", Key="none", IfMatch="*")
    s3.delete_object(Bucket="repo", Key="head", IfMatch=new)
    assert keys(s3) == []


def test_a_retry_after_a_lost_answer_meets_its_own_object(sandbox, s3):
    """AWS, "Conditional writes": after an answer was lost, 412 may be the caller's own success."""
    patient = client(sandbox, retries={"mode": "standard", "total_max_attempts": 3})
    sandbox.fault("drop_after", operation="PutObject", count=1)
    refused("PreconditionFailed", patient.put_object, Bucket="repo", Key="own", Body=b"mine", IfNoneMatch="*")
    assert s3.get_object(Bucket="repo", Key="own")["Body"].read() == b"mine"
    sandbox.fault("error", operation="PutObject", code="ConditionalRequestConflict", status=409, count=1)
    refused("ConditionalRequestConflict", s3.put_object, Bucket="repo", Key="z", Body=b"", IfNoneMatch="*")


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        ({"ChecksumSHA256": base64.b64encode(hashlib.sha256(b"other").digest()).decode()}, "BadDigest"),
        ({"ChecksumCRC32": base64.b64encode(zlib.crc32(b"other").to_bytes(4, "big")).decode()}, "BadDigest"),
        ({"ContentMD5": base64.b64encode(hashlib.md5(b"other").digest()).decode()}, "BadDigest"),
        ({"ContentMD5": "c2hvcnQ="}, "InvalidDigest"),
    ],
)
def test_a_body_that_is_not_what_its_checksum_says_is_refused(s3, wrong, code):
    """AWS, "Checking object integrity": BadDigest, and nothing is stored, for objects and parts alike."""
    refused(code, s3.put_object, Bucket="repo", Key="pack", Body=b"body", **wrong)
    assert keys(s3) == []
    place = s3.create_multipart_upload(Bucket="repo", Key="pack")
    part = {"Bucket": "repo", "Key": "pack", "UploadId": place["UploadId"], "PartNumber": 1}
    refused(code, s3.upload_part, **part, Body=b"body", **wrong)
    right = base64.b64encode(hashlib.sha256(b"body").digest()).decode()
    s3.put_object(Bucket="repo", Key="pack", Body=b"body", ChecksumSHA256=right)
    assert s3.head_object(Bucket="repo", Key="pack", ChecksumMode="ENABLED")["ChecksumSHA256"] == right


def test_a_checksum_may_trail_behind_a_chunked_body(s3):
    """AWS, "Transferring payload in multiple chunks": aws-chunked with x-amz-checksum-crc32 as a trailer."""
    said = [b"body"]
    s3.meta.events.register("before-sign.s3.PutObject", lambda request, **_: chunk(request, said[0]))
    s3.put_object(Bucket="repo", Key="chunked", Body=b"body")
    assert s3.get_object(Bucket="repo", Key="chunked")["Body"].read() == b"body"
    said[0] = b"other"
    refused("BadDigest", s3.put_object, Bucket="repo", Key="damaged", Body=b"body")
    assert keys(s3) == ["chunked"]


def chunk(request: Any, said: bytes) -> None:
    """Make a PutObject's body aws-chunked, with the CRC of `said` behind it."""
    for name in ("x-amz-checksum-crc32", "Content-Length"):
        del request.headers[name]
    crc = base64.b64encode(zlib.crc32(said).to_bytes(4, "big"))
    request.data = b"2\r\nbo\r\n2\r\ndy\r\n0\r\nx-amz-checksum-crc32:" + crc + b"\r\n\r\n"
    request.context["checksum"] = {"request_algorithm": {"in": "trailer"}}  # signs STREAMING-UNSIGNED-PAYLOAD-TRAILER
    request.headers["x-amz-trailer"] = "x-amz-checksum-crc32"
    request.headers["x-amz-decoded-content-length"] = "4"
    request.headers["Content-Encoding"] = "aws-chunked"


def test_a_forged_request_and_a_changed_body_are_refused(sandbox, s3):
    """AWS, "Authenticating Requests (AWS Signature Version 4)": signature and payload hash are verified."""
    forged = sandbox.client_with("AKIASANDBOX0" + VAULT, "guessed", None, HOME, "s3", s3=PATH)
    refused("SignatureDoesNotMatch", forged.put_object, Bucket="repo", Key="k", Body=b"")
    seen: dict[str, Any] = {}
    s3.meta.events.register("before-send.s3.PutObject", lambda request, **_: seen.update(request=request))
    s3.put_object(Bucket="repo", Key="k", Body=b"good")
    headers = {k: v.decode() if isinstance(v, bytes) else v for k, v in seen["request"].headers.items()}
    headers.pop("Expect", None)
    line = http.client.HTTPConnection(sandbox.url.removeprefix("http://"))
    line.request("PUT", "/repo/k", b"evil", headers)
    answer = line.getresponse()
    assert (answer.status, b"XAmzContentSHA256Mismatch" in answer.read()) == (400, True)
    line.close()
    assert s3.get_object(Bucket="repo", Key="k")["Body"].read() == b"good"


def test_multipart_uploads_are_assembled_in_order(s3):
    """AWS, "CompleteMultipartUpload": parts of 5 MiB but the last, NoSuchUpload for an unknown one."""
    complete = upload(s3, "big", b"a" * PART, b"b")
    s3.complete_multipart_upload(**complete)
    assert s3.head_object(Bucket="repo", Key="big")["ContentLength"] == PART + 1
    refused("EntityTooSmall", s3.complete_multipart_upload, **upload(s3, "small", b"a", b"b"))
    unknown = {"Bucket": "repo", "Key": "big", "UploadId": "none"}
    refused("NoSuchUpload", s3.upload_part, **unknown, PartNumber=1, Body=b"")
    refused("NoSuchUpload", s3.abort_multipart_upload, **unknown)
    open_one = upload(s3, "left", b"a")
    assert [u["Key"] for u in s3.list_multipart_uploads(Bucket="repo")["Uploads"]] == ["left", "small"]
    s3.abort_multipart_upload(**{k: open_one[k] for k in ("Bucket", "Key", "UploadId")})


def test_lists_come_in_pages_with_tokens(s3):
    """AWS, "ListObjectsV2": at most 1,000 keys a page in UTF-8 order, prefixes, a token for the next page."""
    for number in range(12):
        s3.put_object(Bucket="repo", Key=f"packs/{number:02}", Body=b"")
    s3.put_object(Bucket="repo", Key="manifests/1", Body=b"")
    first = s3.list_objects_v2(Bucket="repo", Prefix="packs/", MaxKeys=5)
    assert (first["KeyCount"], first["IsTruncated"]) == (5, True)
    rest = keys(s3, Prefix="packs/", ContinuationToken=first["NextContinuationToken"])
    assert rest == [f"packs/{n:02}" for n in range(5, 12)]
    assert keys(s3, Prefix="packs/", StartAfter="packs/09") == ["packs/10", "packs/11"]
    folders = s3.list_objects_v2(Bucket="repo", Delimiter="/")["CommonPrefixes"]
    assert [f["Prefix"] for f in folders] == ["manifests/", "packs/"]
    refused("InvalidArgument", s3.list_objects_v2, Bucket="repo", ContinuationToken="made-up")


def test_a_page_and_a_batch_have_their_limits(sandbox, s3):
    """AWS, "ListObjectsV2" and "DeleteObjects": both stop at 1,000 keys, whatever is asked for."""
    assert sandbox.ask("GET", "config")["s3_page_max"] == 1000
    sandbox.configure(s3_page_max=3)
    for number in range(4):
        s3.put_object(Bucket="repo", Key=f"{number:04}", Body=b"")
    page = s3.list_objects_v2(Bucket="repo", MaxKeys=1000)
    assert (len(page["Contents"]), page["IsTruncated"]) == (3, True)
    batch = [{"Key": f"{n:04}"} for n in range(1001)]
    refused("MalformedXML", s3.delete_objects, Bucket="repo", Delete={"Objects": batch})
    assert len(keys(s3)) == 3
    done = s3.delete_objects(Bucket="repo", Delete={"Objects": batch[:1000]})
    assert (len(done["Deleted"]), done.get("Errors")) == (1000, None)
    assert keys(s3) == []
    quiet = s3.delete_objects(Bucket="repo", Delete={"Objects": batch[:2], "Quiet": True})
    assert "Deleted" not in quiet


def test_a_lifecycle_can_be_read_back(s3):
    """AWS, "GetBucketLifecycleConfiguration": what a repository must look at before it trusts a bucket."""
    refused("NoSuchLifecycleConfiguration", s3.get_bucket_lifecycle_configuration, Bucket="repo")
    rule = {
        "ID": "old",
        "Status": "Enabled",
        "Filter": {"Prefix": "packs/"},
        "Expiration": {"Days": 30},
        "Transitions": [{"Days": 1, "StorageClass": "GLACIER"}],
    }
    s3.put_bucket_lifecycle_configuration(Bucket="repo", LifecycleConfiguration={"Rules": [rule]})
    assert s3.get_bucket_lifecycle_configuration(Bucket="repo")["Rules"] == [rule]


def test_requests_and_storage_are_counted_by_class(sandbox, s3):
    """AWS, "Amazon S3 pricing": requests and storage are charged by operation and storage class."""
    s3.put_object(Bucket="repo", Key="hot", Body=b"12345")
    s3.put_object(Bucket="repo", Key="cold", Body=b"123", StorageClass="DEEP_ARCHIVE")
    s3.get_object(Bucket="repo", Key="hot")["Body"].read()
    s3.head_object(Bucket="repo", Key="cold")
    s3.restore_object(Bucket="repo", Key="cold", RestoreRequest={"Days": 1, "GlacierJobParameters": {"Tier": "Bulk"}})
    usage = sandbox.s3_usage()
    rows = {
        (r["operation"], r["storage_class"], r["tier"]): (r["count"], r["received"], r["sent"])
        for r in usage["requests"]
    }
    assert rows["PutObject", "STANDARD", ""] == (1, 5, 0)
    assert rows["PutObject", "DEEP_ARCHIVE", ""] == (1, 3, 0)
    assert rows["GetObject", "STANDARD", ""] == (1, 0, 5)
    assert rows["HeadObject", "DEEP_ARCHIVE", ""] == (1, 0, 0)
    assert rows["RestoreObject", "DEEP_ARCHIVE", "Bulk"][0] == 1
    assert {(s["storage_class"], s["objects"], s["bytes"]) for s in usage["stored"]} == {
        ("STANDARD", 1, 5),
        ("DEEP_ARCHIVE", 1, 3),
    }
    sandbox.clear_s3_usage()
    assert sandbox.s3_usage()["requests"] == []


def test_slow_down_is_retried_and_faults_name_objects(sandbox, s3):
    """AWS, "Best practices design patterns": 503 SlowDown, which the SDK retries; faults match bucket and key."""
    sandbox.fault("throttle", operation="PutObject", resource="packs/7", count=2)
    s3.put_object(Bucket="repo", Key="packs/6", Body=b"")
    refused("SlowDown", s3.put_object, Bucket="repo", Key="packs/7", Body=b"")
    patient = client(sandbox, retries={"mode": "standard", "total_max_attempts": 4})
    patient.put_object(Bucket="repo", Key="packs/7", Body=b"")
    assert sandbox.count("PutObject", "SlowDown") == 2
    sandbox.fault("internal", operation="ListObjectsV2", count=1)
    refused("InternalError", s3.list_objects_v2, Bucket="repo")
    sandbox.fault("truncate", operation="GetObject", count=1)
    s3.put_object(Bucket="repo", Key="long", Body=b"x" * 100_000)
    with pytest.raises((IncompleteReadError, ResponseStreamingError)):
        s3.get_object(Bucket="repo", Key="long")["Body"].read()
    sandbox.fault("corrupt", operation="GetObject", count=1)
    assert s3.get_object(Bucket="repo", Key="long", ChecksumMode="DISABLED")["Body"].read() != b"x" * 100_000


def test_versions_are_listed_with_their_markers(s3):
    """AWS, "ListObjectVersions": versions and delete markers, the latest one marked."""
    s3.put_bucket_versioning(Bucket="repo", VersioningConfiguration={"Status": "Enabled"})
    first, second = (s3.put_object(Bucket="repo", Key="m", Body=b)["VersionId"] for b in (b"1", b"2"))
    marker = s3.delete_object(Bucket="repo", Key="m")["VersionId"]
    listed = s3.list_object_versions(Bucket="repo")
    assert [(v["VersionId"], v["IsLatest"]) for v in listed["Versions"]] == [(second, False), (first, False)]
    assert [(m["VersionId"], m["IsLatest"]) for m in listed["DeleteMarkers"]] == [(marker, True)]
    assert s3.get_object(Bucket="repo", Key="m", VersionId=first)["Body"].read() == b"1"
    s3.delete_object(Bucket="repo", Key="m", VersionId=marker)
    assert s3.get_object(Bucket="repo", Key="m")["Body"].read() == b"2"


def test_a_reset_forgets_buckets(sandbox, s3):
    """The sandbox begins anew: names are free and nothing is left."""
    s3.put_object(Bucket="repo", Key="p", Body=b"x")
    sandbox.reset()
    assert client(sandbox).list_buckets()["Buckets"] == []
    client(sandbox, PROD).create_bucket(Bucket="repo")
    assert sandbox.s3_usage()["stored"] == []
    assert now(sandbox) - datetime.now(UTC) < timedelta(seconds=5)

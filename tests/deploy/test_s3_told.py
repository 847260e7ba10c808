"""What an S3 request carries, as the call log keeps it: by the names of AWS's model, without an object's content."""

import pytest

from deploy.sandbox.http import Request
from deploy.sandbox.s3_told import told

pytestmark = pytest.mark.unit


def test_headers_query_and_settings_are_told_by_the_names_of_the_model() -> None:
    """UploadPartCopy, PutBucketTagging, DeleteObjects (S3 API reference)."""
    headers = {"x-amz-copy-source": "a/b", "x-amz-copy-source-range": "bytes=0-1", "x-amz-expected-bucket-owner": "1"}
    asked = Request("PUT", "/bucket/key?partNumber=2&uploadId=u", {**headers, "content-length": "0"}, b"")
    assert told("UploadPartCopy", asked) == {
        "CopySource": "a/b", "CopySourceRange": "bytes=0-1", "ExpectedBucketOwner": "1", "PartNumber": "2",
        "UploadId": "u",
    }  # fmt: skip
    body = b'<Tagging xmlns="http://s3"><TagSet><Tag><Key>a</Key><Value>1</Value></Tag></TagSet></Tagging>'
    assert told("PutBucketTagging", Request("PUT", "/bucket?tagging", {}, body)) == {
        "Tagging": {"TagSet": [{"Key": "a", "Value": "1"}]}
    }
    body = b"<Delete><Object><Key>x</Key></Object><Object><Key>y</Key></Object><Quiet>true</Quiet></Delete>"
    assert told("DeleteObjects", Request("POST", "/bucket?delete", {}, body)) == {
        "Delete": {"Objects": [{"Key": "x"}, {"Key": "y"}], "Quiet": "true"}
    }


def test_neither_content_nor_what_only_reads_nor_a_broken_body_is_told() -> None:
    assert told("PutObject", Request("PUT", "/bucket/key", {"x-amz-storage-class": "GLACIER"}, b"secret")) == {
        "StorageClass": "GLACIER"
    }
    assert told("GetObject", Request("GET", "/bucket/key?versionId=1", {}, b"")) == {}
    assert told("DeleteObjects", Request("POST", "/bucket?delete", {}, b"<Delete>")) == {}

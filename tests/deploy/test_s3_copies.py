"""Copies inside S3 and listings of versions and buckets, where moto is wrong or silent. feature 25"""

import json
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import pytest

from tests.deploy.estate import HOME, PROD, VAULT, refused
from tests.deploy.objects import PART, client, now, upload
from tests.sandbox import Sandbox

FROM = {"Bucket": "repo", "Key": "a"}


def test_a_copy_is_made_only_of_the_version_that_its_condition_names(s3: Any) -> None:
    """AWS, "CopyObject", "UploadPartCopy": x-amz-copy-source-if-match, 412 when the ETag is another."""
    etag = s3.put_object(**FROM, Body=b"x")["ETag"]
    s3.copy_object(Bucket="repo", Key="b", CopySource=FROM, CopySourceIfMatch=etag)
    asked = {"Bucket": "repo", "Key": "c", "CopySource": FROM, "CopySourceIfMatch": '"other"'}
    refused("PreconditionFailed", s3.copy_object, **asked)
    begun = s3.create_multipart_upload(Bucket="repo", Key="c")["UploadId"]
    refused("PreconditionFailed", s3.upload_part_copy, **asked, UploadId=begun, PartNumber=1)


def test_tags_go_along_unless_they_are_replaced(s3: Any, sandbox: Sandbox) -> None:
    """AWS, "CopyObject": the tagging directive is COPY by default, also to a bucket of another account."""
    s3.put_object(**FROM, Body=b"x", Tagging="t=1")
    other = client(sandbox, PROD)
    other.create_bucket(Bucket="theirs")
    rule = {"Effect": "Allow", "Principal": "*", "Action": "s3:*", "Resource": "arn:aws:s3:::repo/*"}
    s3.put_bucket_policy(Bucket="repo", Policy=json.dumps({"Version": "2012-10-17", "Statement": [rule]}))
    other.copy_object(Bucket="theirs", Key="a", CopySource=FROM)
    s3.copy_object(Bucket="repo", Key="b", CopySource=FROM, TaggingDirective="REPLACE", Tagging="u=2")
    found = (other.get_object_tagging(Bucket="theirs", Key="a"), s3.get_object_tagging(Bucket="repo", Key="b"))
    assert [one["TagSet"] for one in found] == [[{"Key": "t", "Value": "1"}], [{"Key": "u", "Value": "2"}]]


def test_whoever_copies_a_tagged_object_must_be_allowed_to_read_its_tags(s3: Any, sandbox: Sandbox) -> None:
    """AWS, "CopyObject": s3:GetObjectTagging on the source when its tags are copied."""
    s3.put_object(**FROM, Body=b"x", Tagging="t=1")
    other = client(sandbox, PROD)
    other.create_bucket(Bucket="theirs")
    rule = {"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::repo/*"}
    s3.put_bucket_policy(Bucket="repo", Policy=json.dumps({"Version": "2012-10-17", "Statement": [rule]}))
    assert "GetObjectTagging" in refused("AccessDenied", other.copy_object, Bucket="theirs", Key="a", CopySource=FROM)
    other.copy_object(Bucket="theirs", Key="a", CopySource=FROM, TaggingDirective="REPLACE")


def test_a_versions_tags_are_another_right_than_the_objects(s3: Any, sandbox: Sandbox) -> None:
    """AWS, "GetObjectTagging", "CopyObject": of a version that is named, s3:GetObjectVersionTagging."""
    s3.put_bucket_versioning(Bucket="repo", VersioningConfiguration={"Status": "Enabled"})
    version = s3.put_object(**FROM, Body=b"x", Tagging="t=1")["VersionId"]
    other = client(sandbox, PROD)
    other.create_bucket(Bucket="theirs")
    named = {**FROM, "VersionId": version}

    def lend(*actions: str) -> None:
        rule = {"Effect": "Allow", "Principal": "*", "Action": list(actions), "Resource": "arn:aws:s3:::repo/*"}
        s3.put_bucket_policy(Bucket="repo", Policy=json.dumps({"Version": "2012-10-17", "Statement": [rule]}))

    lend("s3:GetObjectVersion", "s3:GetObjectTagging")
    refused("AccessDenied", other.get_object_tagging, **named)
    refused("AccessDenied", other.copy_object, Bucket="theirs", Key="a", CopySource=named)
    lend("s3:GetObjectVersion", "s3:GetObjectVersionTagging")
    assert other.get_object_tagging(**named)["TagSet"] == [{"Key": "t", "Value": "1"}]
    other.copy_object(Bucket="theirs", Key="a", CopySource=named)


def test_a_large_object_is_copied_part_by_part_only(s3: Any, sandbox: Sandbox) -> None:
    """AWS, "CopyObject": up to 5 GiB in one piece, InvalidRequest above; here with a lower limit."""
    sandbox.configure(s3_copy_most=PART)
    s3.put_object(**FROM, Body=b"x" * (PART + 1))
    assert "larger than" in refused("InvalidRequest", s3.copy_object, Bucket="repo", Key="b", CopySource=FROM)
    place = {"Bucket": "repo", "Key": "b", "UploadId": s3.create_multipart_upload(Bucket="repo", Key="b")["UploadId"]}
    spans = [(0, PART - 1), (PART, PART)]
    done = [
        s3.upload_part_copy(**place, PartNumber=n, CopySource=FROM, CopySourceRange=f"bytes={a}-{b}")
        for n, (a, b) in enumerate(spans, 1)
    ]
    parts = [{"PartNumber": n, "ETag": one["CopyPartResult"]["ETag"]} for n, one in enumerate(done, 1)]
    s3.complete_multipart_upload(**place, MultipartUpload={"Parts": parts})
    assert s3.head_object(Bucket="repo", Key="b")["ContentLength"] == PART + 1
    assert upload(s3, "c", b"small")["Key"] == "c"


def test_versions_are_listed_from_the_newest_on_and_pages_go_on_exactly(s3: Any, sandbox: Sandbox) -> None:
    """AWS, "ListObjectVersions": keys in order, versions newest first; markers go on after what they name."""
    s3.put_bucket_versioning(Bucket="repo", VersioningConfiguration={"Status": "Enabled"})
    made = [s3.put_object(Bucket="repo", Key=key, Body=b"x")["VersionId"] for key in ("a", "b", "b", "b", "c")]
    s3.delete_object(Bucket="repo", Key="c")
    sandbox.configure(s3_page_max=2)
    pages = list(s3.get_paginator("list_object_versions").paginate(Bucket="repo"))
    sandbox.configure(s3_page_max=1000)
    listed = [one["VersionId"] for page in pages for one in page.get("Versions", ())]
    assert listed == [made[0], *reversed(made[1:4]), made[4]]
    assert [one["IsLatest"] for page in pages for one in page.get("DeleteMarkers", ())] == [True]
    after = s3.list_object_versions(Bucket="repo", KeyMarker="b")
    assert [one["Key"] for one in after["Versions"]] == ["c"]


def test_buckets_are_listed_by_region_and_in_pages(s3: Any, sandbox: Sandbox) -> None:
    """AWS, "ListBuckets": BucketRegion is told when something is asked for; a token goes on."""
    far = sandbox.client(VAULT, "eu-west-1", "s3")
    for name in ("far-1", "far-2"):
        far.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    first = s3.list_buckets(BucketRegion="eu-west-1", MaxBuckets=1)
    assert [(one["Name"], one["BucketRegion"]) for one in first["Buckets"]] == [("far-1", "eu-west-1")]
    rest = s3.list_buckets(BucketRegion="eu-west-1", ContinuationToken=first["ContinuationToken"])
    assert [one["Name"] for one in rest["Buckets"]] == ["far-2"]
    assert [one["Name"] for one in s3.list_buckets(BucketRegion=HOME)["Buckets"]] == ["repo"]
    assert {one["Name"] for one in s3.list_buckets()["Buckets"]} == {"far-1", "far-2", "repo"}
    refused("InvalidArgument", s3.list_buckets, MaxBuckets=20_000)


def test_every_answer_says_when_it_was_given(s3: Any, sandbox: Sandbox) -> None:
    """AWS, "Common response headers": Date, by the clock that objects are dated with."""
    sandbox.advance(3600)
    said = s3.head_bucket(Bucket="repo")["ResponseMetadata"]["HTTPHeaders"]["date"]
    told = parsedate_to_datetime(said).astimezone(UTC)
    assert abs((told - now(sandbox)).total_seconds()) < 5
    assert told > datetime.now(UTC)


@pytest.mark.parametrize("version", [True, False])
def test_a_copy_may_name_a_version(s3: Any, version: bool) -> None:
    """AWS, "CopyObject": versionId in the copy source; without it the current one."""
    s3.put_bucket_versioning(Bucket="repo", VersioningConfiguration={"Status": "Enabled"})
    old = s3.put_object(**FROM, Body=b"old")["VersionId"]
    s3.put_object(**FROM, Body=b"new")
    s3.copy_object(Bucket="repo", Key="b", CopySource={**FROM, **({"VersionId": old} if version else {})})
    assert s3.get_object(Bucket="repo", Key="b")["Body"].read() == (b"old" if version else b"new")

"""S3 as a place to keep things: Object Lock, archives, and who may do what."""

import json
from datetime import datetime, timedelta
from typing import Any

import pytest

from tests.deploy.estate import HOME, PROD, VAULT, key, refused
from tests.deploy.objects import PATH, client, keys, now, upload


def test_deleting_a_locked_version_waits_for_its_date(sandbox, locking):
    """AWS, "How S3 Object Lock works": AccessDenied until the date; without VersionId only a marker is added."""
    until = now(sandbox) + timedelta(days=2)
    asked = {"ObjectLockMode": "COMPLIANCE", "ObjectLockRetainUntilDate": until}
    version = locking.put_object(Bucket="vault", Key="m", Body=b"x", **asked)["VersionId"]
    marker = locking.delete_object(Bucket="vault", Key="m")
    assert marker["DeleteMarker"] is True
    refused("NoSuchKey", locking.get_object, Bucket="vault", Key="m")
    exact = {"Bucket": "vault", "Key": "m", "VersionId": version}
    refused("AccessDenied", locking.delete_object, **exact)
    refused("AccessDenied", locking.delete_object, **exact, BypassGovernanceRetention=True)
    batch = {"Objects": [{"Key": "m", "VersionId": version}, {"Key": "other"}]}
    done = locking.delete_objects(Bucket="vault", Delete=batch)
    assert [(e["VersionId"], e["Code"]) for e in done["Errors"]] == [(version, "AccessDenied")]
    assert [d["Key"] for d in done["Deleted"]] == ["other"]
    sandbox.advance(2 * 86400 + 1)
    locking.delete_object(**exact)
    refused("NoSuchVersion", locking.get_object, **exact)


def test_retention_is_extended_and_never_shortened(sandbox, locking):
    """AWS, "PutObjectRetention": compliance cannot be shortened or changed; governance only with the bypass."""
    began = now(sandbox).replace(microsecond=0)
    days = [began + timedelta(days=n) for n in range(10)]

    def retain(name: str, mode: str, until: datetime, **more: Any) -> None:
        locking.put_object_retention(
            Bucket="vault", Key=name, Retention={"Mode": mode, "RetainUntilDate": until}, **more
        )

    for name, mode in (("c", "COMPLIANCE"), ("g", "GOVERNANCE")):
        locking.put_object(Bucket="vault", Key=name, Body=b"x", ObjectLockMode=mode, ObjectLockRetainUntilDate=days[5])
        retain(name, mode, days[6])
        refused("AccessDenied", retain, name=name, mode=mode, until=days[3])
        held = locking.get_object_retention(Bucket="vault", Key=name)["Retention"]
        assert held == {"Mode": mode, "RetainUntilDate": days[6]}
    bypass = {"BypassGovernanceRetention": True}
    refused("AccessDenied", retain, name="c", mode="COMPLIANCE", until=days[3], **bypass)
    refused("AccessDenied", retain, name="c", mode="GOVERNANCE", until=days[9], **bypass)
    retain("g", "GOVERNANCE", days[3], **bypass)
    refused("InvalidArgument", retain, name="g", mode="GOVERNANCE", until=began - timedelta(days=1))
    refused("NoSuchKey", locking.get_object_retention, Bucket="vault", Key="none")


def test_bypassing_governance_is_a_right_of_its_own(sandbox, locking):
    """AWS, "Bypassing governance mode": s3:BypassGovernanceRetention and the header are both needed."""
    until = now(sandbox) + timedelta(days=2)
    asked = {"ObjectLockMode": "GOVERNANCE", "ObjectLockRetainUntilDate": until}
    version = locking.put_object(Bucket="vault", Key="m", Body=b"x", **asked)["VersionId"]
    arn = f"arn:aws:iam::{VAULT}:role/cleaner"
    sandbox.role(arn, denied=["s3:BypassGovernanceRetention"])
    held = sandbox.assume(arn, None)
    session = (held["AccessKeyId"], held["SecretAccessKey"], held["SessionToken"])
    cleaner = sandbox.client_with(*session, HOME, "s3", s3=PATH)
    exact = {"Bucket": "vault", "Key": "m", "VersionId": version}
    refused("AccessDenied", cleaner.delete_object, **exact, BypassGovernanceRetention=True)
    refused("AccessDenied", locking.delete_object, **exact)
    locking.delete_object(**exact, BypassGovernanceRetention=True)


def test_a_lock_is_shown_in_a_head_only_to_who_may_read_it(sandbox, locking):
    """AWS, "HeadObject": the lock's headers are left out without s3:GetObjectRetention and s3:GetObjectLegalHold."""
    until = now(sandbox).replace(microsecond=0) + timedelta(days=2)
    asked = {"ObjectLockMode": "COMPLIANCE", "ObjectLockRetainUntilDate": until, "ObjectLockLegalHoldStatus": "ON"}
    place = {"Bucket": "vault", "Key": "m"}
    locking.put_object(**place, Body=b"x", **asked)
    locking.put_object(Bucket="vault", Key="free", Body=b"x")
    arn = f"arn:aws:iam::{VAULT}:role/reader"
    sandbox.role(arn, denied=["s3:GetObjectRetention", "s3:GetObjectLegalHold"])
    held = sandbox.assume(arn, None)
    session = (held["AccessKeyId"], held["SecretAccessKey"], held["SessionToken"])
    reader = sandbox.client_with(*session, HOME, "s3", s3=PATH)
    names = ("ObjectLockMode", "ObjectLockRetainUntilDate", "ObjectLockLegalHoldStatus")
    for ask in ("head_object", "get_object"):
        assert [name in getattr(locking, ask)(**place) for name in names] == [True] * 3
        assert [name in getattr(reader, ask)(**place) for name in names] == [False] * 3
    assert locking.get_object_legal_hold(**place)["LegalHold"] == {"Status": "ON"}
    refused("AccessDenied", reader.get_object_retention, **place)
    refused("AccessDenied", reader.get_object_legal_hold, **place)
    refused("NoSuchObjectLockConfiguration", locking.get_object_legal_hold, Bucket="vault", Key="free")


def test_a_default_retention_locks_every_way_of_writing(sandbox, locking):
    """AWS, "Configuring S3 Object Lock": the bucket's default counts for puts, copies and multipart uploads."""
    rule = {"DefaultRetention": {"Mode": "COMPLIANCE", "Days": 3}}
    lock = {"ObjectLockEnabled": "Enabled", "Rule": rule}
    locking.put_object_lock_configuration(Bucket="vault", ObjectLockConfiguration=lock)
    locking.put_object(Bucket="vault", Key="put", Body=b"x")
    locking.copy_object(Bucket="vault", Key="copy", CopySource="vault/put")
    locking.complete_multipart_upload(**upload(locking, "parts", b"x", Bucket="vault"))
    for name in ("put", "copy", "parts"):
        held = locking.get_object_retention(Bucket="vault", Key=name)["Retention"]
        left = held["RetainUntilDate"] - now(sandbox)
        assert (held["Mode"], timedelta(days=2) < left <= timedelta(days=3)) == ("COMPLIANCE", True)
    shown = locking.get_object_lock_configuration(Bucket="vault")["ObjectLockConfiguration"]
    assert shown["Rule"] == rule
    suspended = {"VersioningConfiguration": {"Status": "Suspended"}}
    refused("InvalidBucketState", locking.put_bucket_versioning, Bucket="vault", **suspended)


def test_lock_headers_must_make_sense(sandbox, locking, s3):
    """AWS, "PutObject": mode and date together, a date to come, and a bucket that has Object Lock."""
    place = {"Bucket": "vault", "Key": "m", "Body": b""}
    later, earlier = now(sandbox) + timedelta(days=1), now(sandbox) - timedelta(days=1)
    refused("InvalidArgument", locking.put_object, **place, ObjectLockMode="COMPLIANCE")
    wrong = {"ObjectLockMode": "COMPLIANCE", "ObjectLockRetainUntilDate": earlier}
    refused("InvalidArgument", locking.put_object, **place, **wrong)
    right = wrong | {"ObjectLockRetainUntilDate": later}
    refused("InvalidRequest", s3.put_object, Bucket="repo", Key="m", Body=b"", **right)
    locking.put_object(**place)
    refused("NoSuchObjectLockConfiguration", locking.get_object_retention, Bucket="vault", Key="m")


@pytest.mark.parametrize("kind", ["GLACIER", "DEEP_ARCHIVE"])
def test_an_archived_object_is_read_only_after_its_retrieval(sandbox, s3, kind):
    """AWS, "RestoreObject": 202, then 409 while under way, then readable for some days, then archived again."""
    sandbox.configure(s3_restore_seconds={"Expedited": 60, "Standard": 3600, "Bulk": 7200})
    s3.put_object(Bucket="repo", Key="p", Body=b"cold", StorageClass=kind)
    place = {"Bucket": "repo", "Key": "p"}
    assert s3.head_object(**place)["StorageClass"] == kind
    refused("InvalidObjectState", s3.get_object, **place)
    refused("InvalidObjectState", s3.copy_object, Bucket="repo", Key="c", CopySource="repo/p")
    asked = {"RestoreRequest": {"Days": 2, "GlacierJobParameters": {"Tier": "Standard"}}}
    assert s3.restore_object(**place, **asked)["ResponseMetadata"]["HTTPStatusCode"] == 202
    for _ in range(3):
        assert s3.head_object(**place)["Restore"] == 'ongoing-request="true"'
        refused("InvalidObjectState", s3.get_object, **place)
    refused("RestoreAlreadyInProgress", s3.restore_object, **place, **asked)
    sandbox.advance(3601)
    assert s3.head_object(**place)["Restore"].startswith('ongoing-request="false", expiry-date=')
    assert s3.get_object(**place)["Body"].read() == b"cold"
    assert s3.restore_object(**place, **asked)["ResponseMetadata"]["HTTPStatusCode"] == 200
    sandbox.advance(3 * 86400 + 3600)
    refused("InvalidObjectState", s3.get_object, **place)
    assert "Restore" not in s3.head_object(**place)


def test_a_retrieval_must_fit_the_storage_class(s3):
    """AWS, "Archive retrieval options": no Expedited for DEEP_ARCHIVE, nothing to restore in STANDARD."""
    s3.put_object(Bucket="repo", Key="deep", Body=b"", StorageClass="DEEP_ARCHIVE")
    s3.put_object(Bucket="repo", Key="hot", Body=b"", StorageClass="GLACIER_IR")
    asked = {"RestoreRequest": {"Days": 1, "GlacierJobParameters": {"Tier": "Expedited"}}}
    refused("InvalidArgument", s3.restore_object, Bucket="repo", Key="deep", **asked)
    refused("InvalidObjectState", s3.restore_object, Bucket="repo", Key="hot", **asked)
    assert s3.get_object(Bucket="repo", Key="hot")["Body"].read() == b""
    refused("InvalidStorageClass", s3.put_object, Bucket="repo", Key="x", Body=b"", StorageClass="TAPE")


def test_another_account_needs_a_bucket_policy(sandbox, s3):
    """AWS, "How Amazon S3 authorizes a request": cross-account access needs the bucket's policy and the role's."""
    s3.put_object(Bucket="repo", Key="p", Body=b"x")
    other = client(sandbox, PROD)
    refused("AccessDenied", other.get_object, Bucket="repo", Key="p")
    refused("AccessDenied", other.put_object, Bucket="repo", Key="q", Body=b"")
    refused("AccessDenied", other.list_objects_v2, Bucket="repo")
    refused("403", other.head_bucket, Bucket="repo")
    statements = [
        {
            "Effect": "Allow",
            "Principal": {"AWS": f"arn:aws:iam::{PROD}:root"},
            "Action": ["s3:GetObject", "s3:ListBucket"],
            "Resource": ["arn:aws:s3:::repo", "arn:aws:s3:::repo/*"],
        },
        {
            "Effect": "Deny",
            "Principal": "*",
            "Action": "s3:*",
            "Resource": "arn:aws:s3:::repo/*",
            "Condition": {"Bool": {"aws:SecureTransport": "false"}},
        },
    ]
    s3.put_bucket_policy(Bucket="repo", Policy=json.dumps({"Version": "2012-10-17", "Statement": statements}))
    assert other.get_object(Bucket="repo", Key="p")["Body"].read() == b"x"
    assert keys(other) == ["p"]
    refused("AccessDenied", other.put_object, Bucket="repo", Key="q", Body=b"")
    refused("AccessDenied", s3.get_object, Bucket="repo", Key="p", ExpectedBucketOwner=PROD)
    assert [b["Name"] for b in other.list_buckets()["Buckets"]] == []
    refused("BucketAlreadyExists", other.create_bucket, Bucket="repo")


def test_a_role_is_held_to_its_actions_and_a_denial_holds_for_the_owner(sandbox, s3):
    """AWS, "Required permissions for Amazon S3 API operations": actions are not always named as operations are."""
    arn = f"arn:aws:iam::{VAULT}:role/reader"
    sandbox.role(arn, allowed=["s3:ListBucket", "s3:GetObject"])
    held = sandbox.assume(arn, None)
    reader = sandbox.client_with(
        held["AccessKeyId"], held["SecretAccessKey"], held["SessionToken"], HOME, "s3", s3=PATH
    )
    s3.put_object(Bucket="repo", Key="p", Body=b"x")
    assert keys(reader) == ["p"]
    assert reader.head_object(Bucket="repo", Key="p")["ContentLength"] == 1
    refused("AccessDenied", reader.create_multipart_upload, Bucket="repo", Key="p")
    refused("AccessDenied", reader.delete_objects, Bucket="repo", Delete={"Objects": [{"Key": "p"}]})
    deny = {"Effect": "Deny", "Principal": "*", "Action": "s3:Delete*", "Resource": "arn:aws:s3:::repo/*"}
    s3.put_bucket_policy(Bucket="repo", Policy=json.dumps({"Version": "2012-10-17", "Statement": [deny]}))
    refused("AccessDenied", s3.delete_object, Bucket="repo", Key="p")


def test_every_bucket_is_encrypted_and_a_customer_key_must_be_usable(sandbox, s3):
    """AWS, "Setting default server-side encryption behavior": SSE-S3 at least; SSE-KMS needs the key."""
    assert s3.put_object(Bucket="repo", Key="a", Body=b"")["ServerSideEncryption"] == "AES256"
    rules = s3.get_bucket_encryption(Bucket="repo")["ServerSideEncryptionConfiguration"]["Rules"]
    assert rules[0]["ApplyServerSideEncryptionByDefault"] == {"SSEAlgorithm": "AES256"}
    arn = key(sandbox, VAULT, HOME)
    default = {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": arn}}
    config = {"ServerSideEncryptionConfiguration": {"Rules": [default | {"BucketKeyEnabled": True}]}}
    s3.put_bucket_encryption(Bucket="repo", **config)
    put = s3.put_object(Bucket="repo", Key="b", Body=b"x")
    assert (put["ServerSideEncryption"], put["SSEKMSKeyId"]) == ("aws:kms", arn)
    sandbox.client(VAULT, HOME, "kms").disable_key(KeyId=arn)
    refused("AccessDenied", s3.get_object, Bucket="repo", Key="b")
    refused("AccessDenied", s3.put_object, Bucket="repo", Key="c", Body=b"")
    s3.get_object(Bucket="repo", Key="a")

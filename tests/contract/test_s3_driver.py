"""The driver of buckets over the emulated AWS: found by region, looked at before a sync, wired as S3 demands."""

import json
from dataclasses import replace
from typing import Any

import pytest

from tasks import errors
from tasks.states import OperationState
from tests.contract.rig import AWAY, HOME, PROD, TAGS, VAULT, Rig
from tests.deploy.estate import key
from tests.integration.test_sync import READS, lend
from tests.sandbox import Sandbox
from workers.aws.s3 import S3Driver
from workers.aws.s3_buckets import S3Buckets
from workers.buckets import Pair
from workers.driver import UNREAD, CopyRequest, Operation, Part, Point, Scope


def make_bucket(cloud: Sandbox, name: str = "data", region: str = HOME, account: str = PROD) -> str:
    where = {} if region == HOME else {"CreateBucketConfiguration": {"LocationConstraint": region}}
    cloud.client(account, region, "s3").create_bucket(Bucket=name, **where)
    return name


@pytest.fixture
def rig(cloud: Sandbox) -> Rig:
    made = Rig(cloud, "s3", make_bucket)
    cloud.clear_calls()
    return made


def buckets(rig: Rig) -> S3Buckets:
    assert isinstance(rig.driver, S3Driver)
    return rig.driver.buckets


def pair(rig: Rig, **options: str) -> Pair:
    """The source `data` with an object, kept in `safe` of the vault's account in another region."""
    cloud = rig.sandbox
    make_bucket(cloud)
    make_bucket(cloud, "safe", AWAY, VAULT)
    lend(cloud, PROD, "data", READS, rig.vault.role_arn)
    cloud.client(PROD, HOME, "s3").put_object(Bucket="data", Key="k", Body=b"x", StorageClass="STANDARD_IA")
    found = rig.found("data")
    return buckets(rig).prepare(rig.production, rig.vault, found, {"bucket": "safe", **options})


def synced(rig: Rig, made: Pair) -> None:
    for page in buckets(rig).pages(rig.vault, made, "", ""):
        assert buckets(rig).copy(rig.vault, made, page, 4).failed == 0


def test_buckets_of_the_region_are_found_with_what_a_restore_needs(rig: Rig) -> None:
    """feature 25: tags, versioning and default encryption; those of other regions belong to another look."""
    s3 = rig.sandbox.client(PROD, HOME, "s3")
    for number in range(30):  # more than a page
        make_bucket(rig.sandbox, f"many-{number:02}")
    make_bucket(rig.sandbox, "far", AWAY)
    s3.put_bucket_tagging(Bucket="many-07", Tagging={"TagSet": [{"Key": "backup", "Value": "gold"}]})
    s3.put_bucket_versioning(Bucket="many-07", VersioningConfiguration={"Status": "Enabled"})
    found = rig.found("many-07")
    assert (found.tags, found.attributes["versioning"]) == ({"backup": "gold"}, "Enabled")
    assert found.attributes["encryption"]["Rules"][0]["ApplyServerSideEncryptionByDefault"]["SSEAlgorithm"] == "AES256"
    with pytest.raises(LookupError):
        rig.found("far")
    away = rig.driver.discover(Scope(rig.production, AWAY, ("s3",)), None)
    assert [one.external_id for one in away.resources] == ["far"]


def test_what_a_buckets_own_policy_hides_is_named_and_never_taken_for_none(rig: Rig) -> None:
    """feature 25: a bucket policy may refuse even its owner's roles; the other buckets are read all the same."""
    s3 = rig.sandbox.client(PROD, HOME, "s3")
    for name in ("hidden", "open"):
        make_bucket(rig.sandbox, name)
        s3.put_bucket_tagging(Bucket=name, Tagging={"TagSet": [{"Key": "backup", "Value": "gold"}]})
    rule = {"Effect": "Deny", "Principal": "*", "Action": "s3:GetBucketTagging", "Resource": "arn:aws:s3:::hidden"}
    s3.put_bucket_policy(Bucket="hidden", Policy=json.dumps({"Version": "2012-10-17", "Statement": [rule]}))
    assert (rig.found("hidden").tags, rig.found("hidden").attributes[UNREAD]) == ({}, ["tags"])
    assert rig.found("open").tags == {"backup": "gold"}
    assert UNREAD not in rig.found("open").attributes


def test_a_healthy_account_passes_its_check_and_a_missing_right_says_what_it_costs(rig: Rig) -> None:
    """feature 93"""
    assert {one.outcome for one in rig.driver.check(rig.production, HOME)} == {"ok"}
    role = {"external_id": "production-id", "denied": ["s3:ListAllMyBuckets"]}
    rig.sandbox.role(rig.production.role_arn, **role)
    rig.sandbox.expire_sessions()
    rig.driver.check(rig.production, HOME)
    missing = [one for one in rig.driver.check(rig.production, HOME) if one.outcome == "missing"]
    assert [one.name for one in missing] == ["s3:ListAllMyBuckets"]


def test_a_copy_says_whose_buckets_it_means_and_exactly_which_content(rig: Rig) -> None:
    """Wire: the condition on the ETag, both owners, the storage class; nothing is downloaded."""
    synced(rig, pair(rig))
    (sent,) = rig.sandbox.calls("CopyObject")
    assert (sent["account"], sent["region"]) == (VAULT, AWAY)
    assert sent["parameters"]["StorageClass"] == "STANDARD_IA"
    assert rig.sandbox.count("GetObject") == 0


def test_a_bucket_that_came_to_be_somebody_elses_is_not_written_to(rig: Rig) -> None:
    """feature 25: names of deleted buckets are free for all; the owner is a condition of every call."""
    made = pair(rig)
    cloud = rig.sandbox
    cloud.client(VAULT, AWAY, "s3").delete_bucket(Bucket="safe")
    make_bucket(cloud, "safe", AWAY, "444444444444")
    lend(cloud, "444444444444", "safe", ["s3:*"], rig.vault.role_arn, AWAY)
    with pytest.raises(errors.SnapfleetError) as caught:
        synced(rig, made)
    assert caught.value.retry is errors.Retry.NEVER
    assert rig.sandbox.count("CopyObject", "ok") == 0


def test_objects_under_a_key_are_never_copied_without_one(rig: Rig) -> None:
    """feature 25: kms_key encrypts everything; a source under KMS whose copies would not be is refused."""
    cloud = rig.sandbox
    mine = key(cloud, VAULT, AWAY)
    synced(rig, pair(rig, kms_key=mine))
    head = cloud.client(VAULT, AWAY, "s3").head_object(Bucket="safe", Key="k")
    assert (head["ServerSideEncryption"], head["SSEKMSKeyId"]) == ("aws:kms", mine)
    rule = {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": key(cloud, PROD, HOME, VAULT)}
    cloud.client(PROD, HOME, "s3").put_bucket_encryption(
        Bucket="data",
        ServerSideEncryptionConfiguration={"Rules": [{"ApplyServerSideEncryptionByDefault": rule}]},
    )
    with pytest.raises(errors.Impossible) as caught:
        buckets(rig).prepare(rig.production, rig.vault, rig.found("data"), {"bucket": "safe"})
    assert caught.value.code == "kms-key-needed"


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        ({"kind": "throttle"}, errors.Throttled),
        ({"kind": "error", "code": "SlowDown", "status": 503}, errors.Throttled),
        ({"kind": "error", "code": "InternalError", "status": 500}, errors.Transient),
        ({"kind": "denied"}, errors.Denied),
        ({"kind": "error", "code": "ServiceQuotaExceededException", "status": 400}, errors.QuotaReached),
    ],
)
def test_a_refused_copy_says_what_it_means_and_is_sent_once(rig: Rig, fault: dict[str, Any], kind: type) -> None:
    """feature 31"""
    made = pair(rig)
    rig.sandbox.fault(operation="CopyObject", count=1, **fault)
    with pytest.raises(kind):
        synced(rig, made)
    assert rig.sandbox.count("CopyObject") == 1
    synced(rig, made)
    assert rig.sandbox.count("CopyObject", "ok") == 1


def test_a_copy_whose_answer_was_lost_is_not_made_again(rig: Rig) -> None:
    made = pair(rig)
    rig.sandbox.fault("drop_after", operation="CopyObject", count=1)
    with pytest.raises(errors.Transient):
        synced(rig, made)
    synced(rig, made)
    assert rig.sandbox.count("CopyObject") == 1


def test_deleting_a_point_deletes_no_object_and_other_verbs_are_refused(rig: Rig) -> None:
    """feature 25: objects belong to the newest sync; there is nothing to copy on, and no operation to follow."""
    synced(rig, pair(rig))
    rig.sandbox.clear_calls()
    resource = rig.found("data")
    point = Point(rig.vault, AWAY, resource, (Part("s3://safe/"),))
    guarded = replace(point, account=replace(point.account, may_delete=False))
    for one in (point, guarded):
        assert [answer.outcome for answer in rig.driver.delete([one])] == ["deleted"]
    assert rig.sandbox.count("DeleteObjects") == 0
    with pytest.raises(errors.Impossible):
        rig.driver.start_copy(point, rig.away(), CopyRequest("c", TAGS))
    (answer,) = rig.driver.progress([Operation("teleport", "x", rig.vault, AWAY)])
    assert answer.state is OperationState.FAILED


def lost(rig: Rig) -> None:
    """The source as somebody deletes it: its objects, its policy, itself."""
    s3 = rig.sandbox.client(PROD, HOME, "s3")
    for one in s3.list_objects_v2(Bucket="data").get("Contents", ()):
        s3.delete_object(Bucket="data", Key=one["Key"])
    s3.delete_bucket_policy(Bucket="data")
    s3.delete_bucket(Bucket="data")


def test_a_copy_whose_request_was_lost_is_made_by_the_next_attempt(rig: Rig) -> None:
    """feature 31"""
    made = pair(rig)
    rig.sandbox.fault("drop_before", operation="CopyObject", count=1)
    with pytest.raises(errors.Transient):
        synced(rig, made)
    synced(rig, made)
    assert rig.sandbox.count("CopyObject", "ok") == 1


def test_what_vanished_since_discovery_is_gone_and_nothing_is_written(rig: Rig) -> None:
    """feature 25: the whole source, after it was found and after its sync was prepared."""
    made, found = pair(rig), rig.found("data")
    lost(rig)
    rig.sandbox.clear_calls()
    with pytest.raises(errors.Gone):
        synced(rig, made)
    with pytest.raises(errors.Gone):
        buckets(rig).prepare(rig.production, rig.vault, found, {"bucket": "safe"})
    with pytest.raises(LookupError):
        rig.found("data")
    assert rig.sandbox.count("CopyObject") == rig.sandbox.count("CreateMultipartUpload") == 0


def test_an_object_that_a_stale_listing_still_shows_is_not_missed(rig: Rig) -> None:
    """feature 25: listed and gone before its copy; what came in its place is copied as it is now."""
    made = pair(rig)
    s3 = rig.sandbox.client(PROD, HOME, "s3")
    s3.put_object(Bucket="data", Key="other", Body=b"listed")
    pages = list(buckets(rig).pages(rig.vault, made, "", ""))
    s3.delete_object(Bucket="data", Key="k")
    s3.put_object(Bucket="data", Key="other", Body=b"overwritten")
    for page in pages:
        assert buckets(rig).copy(rig.vault, made, page, 4).failed == 0
    kept = rig.sandbox.client(VAULT, AWAY, "s3")
    assert [one["Key"] for one in kept.list_objects_v2(Bucket="safe")["Contents"]] == ["other"]
    assert kept.get_object(Bucket="safe", Key="other")["Body"].read() == b"overwritten"
    synced(rig, made)
    assert rig.sandbox.count("CopyObject", "ok") == 1


def test_objects_are_deleted_many_in_a_call_and_already_gone_is_deleted(rig: Rig) -> None:
    """feature 25: the page of a sync that was killed is deleted again by the next attempt."""
    made = pair(rig)
    synced(rig, made)
    keys = ["k", *(f"gone-{number}" for number in range(1000))]
    for _ in range(2):
        assert buckets(rig).delete(rig.vault, made, keys) == len(keys)
    assert rig.sandbox.count("DeleteObjects", "ok") == 4
    assert rig.sandbox.client(VAULT, AWAY, "s3").list_objects_v2(Bucket="safe")["KeyCount"] == 0


def test_an_account_without_room_for_a_bucket_is_waited_for(rig: Rig) -> None:
    """feature 25: a restore makes the lost bucket anew; TooManyBuckets is the quota of an account (S3, "Error
    responses")."""
    wish = {"bucket": "again", "from": {"bucket": "safe", "region": AWAY, "prefix": ""}}
    pair(rig)
    rig.sandbox.fault("error", operation="CreateBucket", code="TooManyBuckets", status=400, count=1)
    with pytest.raises(errors.QuotaReached) as caught:
        buckets(rig).prepare_restore(rig.vault, wish, TAGS)
    assert caught.value.retry is errors.Retry.FREE
    assert buckets(rig).prepare_restore(rig.vault, wish, TAGS).target == "again"


def test_everything_captured_is_on_the_bucket_that_is_restored(rig: Rig) -> None:
    """feature 25: settings and tags of the bucket; body, metadata, tags and storage class of its objects."""
    made, s3 = pair(rig), rig.sandbox.client(PROD, HOME, "s3")
    s3.put_bucket_tagging(Bucket="data", Tagging={"TagSet": [{"Key": "team", "Value": "a"}]})
    s3.put_bucket_versioning(Bucket="data", VersioningConfiguration={"Status": "Enabled"})
    rule = {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}, "BucketKeyEnabled": True}
    s3.put_bucket_encryption(Bucket="data", ServerSideEncryptionConfiguration={"Rules": [rule]})
    more = {
        "ContentType": "text/plain",
        "Metadata": {"made": "by hand"},
        "Tagging": "a=1",
        "StorageClass": "GLACIER_IR",
    }
    s3.put_object(Bucket="data", Key="full", Body=b"content", CacheControl="no-store", **more)
    synced(rig, made)
    was, objects = rig.found("data"), {key: held(s3, "data", key) for key in ("k", "full")}
    wish = {
        "bucket": "again", "region": HOME, "from": {"bucket": "safe", "region": AWAY, "prefix": "", "owner": VAULT},
        "like": {**was.attributes, "tags": was.tags},
    }  # fmt: skip
    lend(rig.sandbox, VAULT, "safe", READS, rig.production.role_arn, AWAY)
    back = buckets(rig).prepare_restore(rig.production, wish, TAGS)
    for page in buckets(rig).pages(rig.production, back, "", ""):
        assert buckets(rig).copy(rig.production, back, page, 4).failed == 0
    now = rig.found("again")
    assert {key: value for key, value in now.tags.items() if not key.startswith("snapfleet:")} == was.tags
    assert {**now.attributes, "arn": ""} == {**was.attributes, "arn": ""}
    assert {key: held(s3, "again", key) for key in objects} == objects


def held(s3: Any, bucket: str, key: str) -> dict[str, Any]:
    """All that a restore promises of an object."""
    said = s3.get_object(Bucket=bucket, Key=key)
    names = ("ContentType", "CacheControl", "Metadata", "StorageClass", "ServerSideEncryption", "ETag")
    tags = s3.get_object_tagging(Bucket=bucket, Key=key)["TagSet"]
    return {"body": said["Body"].read(), "tags": tags, **{name: said.get(name) for name in names}}

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

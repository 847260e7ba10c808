"""Exports of RDS snapshots to S3: begun once, followed in groups, deleted with every version, and never restorable.

"StartExportTask", "DescribeExportTasks" (RDS API reference); "Exporting DB snapshot data to Amazon S3" (user guide).
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from tasks import errors
from tasks.resources import TYPES
from tasks.states import OperationState
from tests.contract.databases import DatabaseRig, make_instance, rig_of, shared_key
from tests.contract.driver_suite import overtaken
from tests.contract.rig import HOME, PROD, TAGS
from tests.contract.wire import WIRE
from tests.sandbox import Sandbox
from workers.cooling import Cooled, CoolsExports
from workers.driver import CopyRequest, Destination, Point, Started, always

ROLE = f"arn:aws:iam::{PROD}:role/exports"
BUCKET = "acme-exports"


@pytest.fixture
def rig(cloud: Sandbox) -> DatabaseRig:
    cloud.role(ROLE)
    cloud.client(PROD, HOME, "s3").create_bucket(Bucket=BUCKET)
    return rig_of(cloud, "rds")


def options(rig: DatabaseRig, **more: str) -> dict[str, str]:
    key = shared_key(rig, PROD, HOME)
    asked = {"export_bucket": BUCKET, "export_prefix": "dbs/", "export_role": ROLE, "export_key": key}
    return {**asked, **more}


def export(rig: DatabaseRig, point: Point, given: dict[str, str], key: str = "export-1", **more: Any) -> Started:
    there = Destination(rig.production, HOME)
    return rig.driver.start_copy(point, there, CopyRequest(key, TAGS, options=given, **more))


def exported(rig: DatabaseRig, point: Point, key: str = "export-1") -> Point:
    started = export(rig, point, options(rig), key)
    assert [one.state for one in rig.driver.progress(started.operations)] == [OperationState.DONE]
    return replace(point, parts=started.parts)


def objects(rig: DatabaseRig) -> dict[str, bytes]:
    s3 = rig.sandbox.client(PROD, HOME, "s3")
    found = s3.list_objects_v2(Bucket=BUCKET).get("Contents", [])
    return {one["Key"]: s3.get_object(Bucket=BUCKET, Key=one["Key"])["Body"].read() for one in found}


def test_an_export_carries_what_aws_asks_for_and_lies_below_its_own_name(rig: DatabaseRig) -> None:
    """The wire: identifier, source, bucket, prefix, role and a customer's key; no token exists."""
    point, given = rig.taken(), options(rig)
    started = export(rig, point, given)
    name = started.parts[0].external_id
    assert rig.parameters("StartExportTask") == {
        "ExportTaskIdentifier": name,
        "SourceArn": point.parts[0].attributes["arn"],
        "S3BucketName": BUCKET,
        "S3Prefix": "dbs",
        "IamRoleArn": ROLE,
        "KmsKeyId": given["export_key"],
    }
    rig.driver.progress(started.operations)
    held = objects(rig)
    assert all(one.startswith(f"dbs/{name}/") for one in held)
    assert b"rows of" in b"".join(held.values())


def test_the_same_key_again_adopts_also_when_the_answer_was_lost(rig: DatabaseRig) -> None:
    """Feature 31: the identifier is the token."""
    point, given = rig.taken(), options(rig)
    rig.sandbox.fault("drop_after", operation="StartExportTask", count=1)
    with pytest.raises(errors.Transient):
        export(rig, point, given, fresh=True)
    first, second = export(rig, point, given, fresh=True), export(rig, point, given)
    assert (first.adopted, second.adopted) == (True, True)
    assert rig.sandbox.count("StartExportTask", outcome="ok") == 0  # one had no answer, one was taken already
    assert [one.kind for one in rig.driver.find(rig.production, HOME, "export-1")] == ["export"]


def test_an_export_of_somebody_else_by_now_is_not_begun(rig: DatabaseRig) -> None:
    with pytest.raises(errors.FenceLost):
        export(rig, rig.taken(), options(rig), proceed=overtaken)
    assert rig.sandbox.count("StartExportTask") == 0


def test_exports_are_followed_beside_snapshots_in_one_call(rig: DatabaseRig) -> None:
    resource = rig.resource()
    taken = rig.backup(resource)
    point = rig.point(resource, rig.finished(taken))
    rig.sandbox.configure(backup_seconds=100.0)
    given = options(rig)
    begun = [export(rig, point, given, f"export-{n}").operations[0] for n in range(3)]
    rig.sandbox.clear_calls()
    answers = rig.driver.progress([begun[0], *taken.operations, *begun[1:]])
    assert [one.state for one in answers] == [
        OperationState.RUNNING, OperationState.DONE, OperationState.RUNNING, OperationState.RUNNING
    ]  # fmt: skip
    assert rig.sandbox.count("DescribeExportTasks") == 1
    rig.sandbox.advance(200)
    assert {one.state for one in rig.driver.progress(begun)} == {OperationState.DONE}


def test_an_export_that_failed_says_why(rig: DatabaseRig) -> None:
    point = rig.taken()
    rig.sandbox.fault("snapshot_error", operation="StartExportTask", message="The KMS key is disabled.")
    started = export(rig, point, options(rig))
    answer = rig.driver.progress(started.operations)[0]
    assert answer.state is OperationState.FAILED
    assert "The KMS key is disabled" in str(answer.error)


def test_five_at_once_are_a_quota_that_is_waited_for(rig: DatabaseRig) -> None:
    point, given = rig.taken(), options(rig)
    rig.sandbox.configure(backup_seconds=100.0)
    for number in range(5):
        export(rig, point, given, f"export-{number}")
    with pytest.raises(errors.QuotaReached):
        export(rig, point, given, "export-5")
    rig.sandbox.advance(200)
    assert export(rig, point, given, "export-5").operations


def test_another_engine_is_refused_before_any_call(cloud: Sandbox, rig: DatabaseRig) -> None:
    """Capability: MySQL, MariaDB and PostgreSQL alone."""
    resource = rig.found(make_instance(cloud, "ora", Engine="oracle-ee", EngineVersion="19"))
    point = rig.point(resource, rig.finished(rig.backup(resource)))
    with pytest.raises(errors.Invalid, match="not of oracle"):
        export(rig, point, options(rig))
    assert rig.sandbox.count("StartExportTask") == 0
    assert any("Parquet" in note for note in TYPES["rds"].notes)


def test_an_export_is_deleted_with_every_version_and_nothing_beside_it(rig: DatabaseRig) -> None:
    s3 = rig.sandbox.client(PROD, HOME, "s3")
    s3.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
    point = rig.taken()
    first, second = exported(rig, point), exported(rig, point, "export-2")
    s3.put_object(Bucket=BUCKET, Key="dbs/theirs", Body=b"x")
    guarded = replace(first, account=replace(first.account, may_delete=False))
    assert [one.error and one.error.code for one in rig.driver.delete([guarded])] == ["outdated"]
    assert [one.outcome for one in rig.driver.delete([first])] == ["deleted"]
    assert [one.outcome for one in rig.driver.delete([first])] == ["already-gone"]
    left = {key.split("/")[1] for key in objects(rig)}
    assert left == {second.parts[0].external_id, "theirs"}
    assert [one.outcome for one in rig.driver.delete([point])] == ["deleted"]  # the snapshot itself, as ever
    versions = s3.list_object_versions(Bucket=BUCKET, Prefix=f"dbs/{first.parts[0].external_id}/")
    assert "Versions" not in versions


def test_a_part_under_another_name_is_not_deleted(rig: DatabaseRig) -> None:
    point = exported(rig, rig.taken())
    strange = replace(point.parts[0], external_id="everything")
    answers = rig.driver.delete([replace(point, parts=(strange,))])
    assert [(one.outcome, one.error and one.error.code) for one in answers] == [("kept", "not-ours")]
    assert objects(rig)


def classes(rig: DatabaseRig) -> dict[str, str]:
    found = rig.sandbox.client(PROD, HOME, "s3").list_objects_v2(Bucket=BUCKET).get("Contents", [])
    return {one["Key"]: one["StorageClass"] for one in found}


def cooled(rig: DatabaseRig, point: Point, late: Callable[[], bool] = lambda: False) -> Cooled:
    assert isinstance(rig.driver, CoolsExports)
    return rig.driver.cool_export(point, point.parts[0], "GLACIER", late, always)


def test_an_export_is_moved_to_a_cold_class_and_nothing_beside_it(rig: DatabaseRig) -> None:
    """Feature 42: CopyObject onto itself, as it was looked at, under the export's key, in its owner's bucket."""
    rig.sandbox.client(PROD, HOME, "s3").put_object(Bucket=BUCKET, Key="dbs/theirs", Body=b"x")
    point = exported(rig, rig.taken())
    first = cooled(rig, point)
    assert (first.moved, first.kept, first.note, first.ended) == (len(classes(rig)) - 1, 0, "", True)
    assert {key: one for key, one in classes(rig).items() if one != "GLACIER"} == {"dbs/theirs": "STANDARD"}
    for call in rig.sandbox.calls("CopyObject"):
        asked = call["parameters"]
        assert all(holds(asked) for _, holds in WIRE["CopyObject"])
        assert (asked["StorageClass"], asked["ServerSideEncryption"]) == ("GLACIER", "aws:kms")
        assert asked["SSEKMSKeyId"] == point.parts[0].kms_key_id
    rig.sandbox.clear_calls()
    assert cooled(rig, point) == Cooled()
    assert rig.sandbox.count("CopyObject") == 0
    assert [one.outcome for one in rig.driver.delete([point])] == ["deleted"]


def test_a_move_that_was_broken_off_goes_on_with_what_is_left(rig: DatabaseRig) -> None:
    """Feature 31: the listing tells; a slice does at least one step, and says that there is more."""
    point = exported(rig, rig.taken())
    s3, (head, *_) = rig.sandbox.client(PROD, HOME, "s3"), sorted(classes(rig))
    folder = head.rpartition("/")[0]
    for number in range(40):
        s3.put_object(Bucket=BUCKET, Key=f"{folder}/part-{number:05}.gz.parquet", Body=b"x")
    assert not cooled(rig, point, lambda: True).ended
    left = [one for one in classes(rig).values() if one == "STANDARD"]
    assert 0 < len(left) < 40
    assert cooled(rig, point).ended
    assert set(classes(rig).values()) == {"GLACIER"}
    assert rig.sandbox.count("CopyObject") == len(classes(rig))


def test_what_a_bucket_that_keeps_versions_costs_beside_is_told(rig: DatabaseRig) -> None:
    s3 = rig.sandbox.client(PROD, HOME, "s3")
    s3.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
    assert "keeps versions" in cooled(rig, exported(rig, rig.taken())).note


def test_what_is_no_export_of_ours_is_not_moved(rig: DatabaseRig) -> None:
    point = exported(rig, rig.taken())
    strange = replace(point.parts[0], external_id="everything")
    with pytest.raises(errors.Refused):
        cooled(rig, replace(point, parts=(strange,)))
    assert set(classes(rig).values()) == {"STANDARD"}

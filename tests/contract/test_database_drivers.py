"""The contract, kept by RDS instances, Aurora and DocumentDB clusters; and what only databases have."""

from dataclasses import replace
from typing import Any

import pytest

from tasks import errors
from tasks.states import OperationState
from tests.contract.databases import DatabaseRig, encrypted, make_aurora, make_instance, rig_of, shared_key
from tests.contract.driver_suite import overtaken
from tests.contract.rig import AWAY, HOME, PROD, TAGS, VAULT
from tests.contract.service_suite import ServiceContract
from tests.sandbox import Sandbox
from workers.aws.tags import name_for
from workers.driver import (
    TAG_INSTALLATION,
    TAG_JOB,
    TAG_OUTDATED,
    CopyRequest,
    Created,
    Destination,
    RestoreStep,
    Scope,
    SeesCopies,
)


class DatabaseCopyContract:
    """Copying databases' snapshots: shared first, begun in the destination, keys as the rules want them."""

    def test_a_copy_to_another_region_is_begun_there_with_a_presigned_url_and_tags_of_its_own(
        self, rig: DatabaseRig
    ) -> None:
        """Feature 42: the SDK adds the URL when the source region is named."""
        point = rig.taken()
        there = rig.copied(point, rig.away())
        sent = rig.sandbox.calls(rig.ways["copy"])
        assert [(one["account"], one["region"]) for one in sent] == [(PROD, AWAY)]
        assert "X-Amz-Signature" in sent[0]["parameters"]["PreSignedUrl"]
        assert "KmsKeyId" not in sent[0]["parameters"]
        assert "CopyTags" not in sent[0]["parameters"]
        made = rig.snapshot(there.parts[0].external_id, region=AWAY)
        tags = {one["Key"]: one["Value"] for one in made["TagList"]}
        assert tags.items() >= {**TAGS, TAG_JOB: "copy-1", "team": "a"}.items()
        assert rig.rows(there.parts[0].external_id, region=AWAY) == {"orders": "rows of orders-0"}
        assert rig.sandbox.count("AddTagsToResource") == rig.sandbox.count(rig.ways["share"]) == 0

    def test_a_copy_to_another_account_is_shared_by_its_owner_and_made_by_the_other(self, rig: DatabaseRig) -> None:
        point = rig.taken()
        there = rig.copied(point, Destination(rig.vault, HOME))
        shares = rig.sandbox.calls(rig.ways["share"])
        assert [(one["account"], one["parameters"]["ValuesToAdd"]) for one in shares] == [(PROD, [VAULT])]
        assert [one["account"] for one in rig.sandbox.calls(rig.ways["copy"])] == [VAULT]
        assert rig.rows(there.parts[0].external_id, rig.vault) == {"orders": "rows of orders-0"}

    def test_the_same_copy_again_adopts(self, rig: DatabaseRig) -> None:
        point = rig.taken()
        first = rig.driver.start_copy(point, rig.away(), CopyRequest("copy-1", TAGS))
        second = rig.driver.start_copy(point, rig.away(), CopyRequest("copy-1", TAGS))
        again = rig.driver.start_copy(point, rig.away(), CopyRequest("copy-1", TAGS, fresh=True))
        assert (first.adopted, second.adopted, again.adopted) == (False, True, True)
        assert first.parts[0].external_id == second.parts[0].external_id == again.parts[0].external_id

    def test_a_copy_whose_answer_was_lost_is_adopted_and_sent_once(self, rig: DatabaseRig) -> None:
        point = rig.taken()
        rig.sandbox.fault("drop_after", operation=rig.ways["copy"], count=1)
        with pytest.raises(errors.Transient) as caught:
            rig.driver.start_copy(point, rig.away(), CopyRequest("copy-1", TAGS))
        assert (caught.value.code, rig.sandbox.count(rig.ways["copy"])) == ("unknown-effect", 1)
        assert rig.driver.start_copy(point, rig.away(), CopyRequest("copy-1", TAGS)).adopted

    def test_a_copy_of_somebody_else_by_now_is_not_begun(self, rig: DatabaseRig) -> None:
        point = rig.taken()
        with pytest.raises(errors.FenceLost):
            rig.driver.start_copy(point, rig.away(), CopyRequest("copy-1", TAGS, proceed=overtaken))
        assert rig.sandbox.count(rig.ways["copy"]) == 0

    def test_a_full_destination_waits_and_burns_no_attempt(self, rig: DatabaseRig) -> None:
        one, two = rig.taken(), rig.taken("job-2")
        limits = {"db_copies_per_destination": 1, "cluster_copies_per_destination": 1}
        rig.sandbox.configure(backup_copy_seconds=60.0, **limits)
        rig.driver.start_copy(one, rig.away(), CopyRequest("copy-1", TAGS))
        with pytest.raises(errors.QuotaReached) as caught:
            rig.driver.start_copy(two, rig.away(), CopyRequest("copy-2", TAGS))
        assert caught.value.retry is errors.Retry.FREE

    def test_copies_that_somebody_else_runs_into_a_place_are_seen(self, rig: DatabaseRig) -> None:
        """feature C3: ours are not among them; DocumentDB tells no tags, so that there all with our names are ours."""
        point = rig.taken()
        rig.sandbox.configure(backup_copy_seconds=60.0)
        rig.driver.start_copy(point, rig.away(), CopyRequest("copy-1", TAGS))
        assert isinstance(rig.driver, SeesCopies)
        assert rig.driver.copies_of_others(rig.production, AWAY, TAGS[TAG_INSTALLATION]) == 0
        assert rig.driver.copies_of_others(rig.production, AWAY, "another") == (0 if rig.type == "documentdb" else 1)
        assert rig.driver.copies_of_others(rig.production, HOME, "another") == 0

    def test_an_encrypted_copy_names_a_key_of_its_destination(self, rig: DatabaseRig) -> None:
        point = encrypted(rig, shared_key(rig, PROD, HOME))
        there = shared_key(rig, PROD, AWAY)
        copied = rig.copied(point, rig.away(there))
        assert rig.parameters(rig.ways["copy"])["KmsKeyId"] == there
        assert (copied.parts[0].encrypted, copied.parts[0].kms_key_id) == (True, there)
        rig.copied(point, rig.away(), "copy-2")
        assert rig.parameters(rig.ways["copy"])["KmsKeyId"] == "alias/aws/rds"

    def test_nothing_under_the_default_key_crosses_accounts_and_a_copy_under_another_does(
        self, rig: DatabaseRig
    ) -> None:
        """Feature 44: refused with the reason before any call."""
        point = encrypted(rig)
        elsewhere = Destination(rig.vault, HOME, shared_key(rig, VAULT, HOME))
        assert point.parts[0].attributes["default_key"] is True
        assert "aws/rds" in rig.driver.plan_copy_problem(point, elsewhere)
        with pytest.raises(errors.Impossible):
            rig.driver.start_copy(point, elsewhere, CopyRequest("copy-1", TAGS))
        assert rig.sandbox.count(rig.ways["share"]) == 0
        middle = rig.copied(point, Destination(rig.production, HOME, shared_key(rig, PROD, HOME)), "copy-2")
        assert middle.parts[0].attributes["default_key"] is False
        assert rig.driver.plan_copy_problem(middle, elsewhere) == ""
        there = rig.copied(middle, elsewhere, "copy-3")
        assert rig.rows(there.parts[0].external_id, rig.vault) == {"orders": "rows of sealed"}

    def test_a_wrong_key_is_refused_for_good(self, rig: DatabaseRig) -> None:
        point = encrypted(rig, shared_key(rig, PROD, HOME))
        strange = f"arn:aws:kms:{AWAY}:{PROD}:key/00000000-0000-0000-0000-000000000000"
        with pytest.raises(errors.Invalid) as caught:
            rig.driver.start_copy(point, rig.away(strange), CopyRequest("copy-1", TAGS))
        assert (caught.value.code, caught.value.retry) == ("kms-key", errors.Retry.NEVER)

    def test_what_the_cloud_will_not_do_in_one_step_asks_for_two(self, rig: DatabaseRig) -> None:
        """The older rule of RDS, and DocumentDB's: a shared snapshot is copied inside its region only."""
        rig.sandbox.configure(db_two_hops=True)
        point = rig.taken()
        with pytest.raises(errors.Impossible) as caught:
            rig.driver.start_copy(point, Destination(rig.vault, AWAY), CopyRequest("copy-1", TAGS))
        assert caught.value.code == "two-hops"
        middle = rig.copied(point, rig.away(), "copy-2")
        there = rig.copied(middle, Destination(rig.vault, AWAY), "copy-3")
        assert rig.rows(there.parts[0].external_id, rig.vault, AWAY) == {"orders": "rows of orders-0"}

    def test_a_point_that_vanished_is_gone(self, rig: DatabaseRig) -> None:
        point = rig.taken()
        rig.sandbox.destroy(PROD, HOME, point.parts[0].external_id)
        for key, to in (("copy-1", rig.away()), ("copy-2", Destination(rig.vault, HOME))):
            with pytest.raises(errors.Gone):
                rig.driver.start_copy(point, to, CopyRequest(key, TAGS))

    def test_a_share_that_the_other_side_does_not_see_yet_is_waited_for(self, rig: DatabaseRig) -> None:
        point = rig.taken()
        code = "DBClusterSnapshotNotFoundFault" if rig.clustered else "DBSnapshotNotFound"
        rig.sandbox.fault("error", operation=rig.ways["copy"], count=1, code=code, status=404)
        with pytest.raises(errors.NotReady) as caught:
            rig.driver.start_copy(point, Destination(rig.vault, HOME), CopyRequest("copy-1", TAGS))
        assert caught.value.code == "share-unseen"

    def test_nothing_is_copied_into_a_separate_cloud(self, rig: DatabaseRig) -> None:
        point = rig.taken()
        chinese = Destination(rig.production, "cn-north-1")
        assert "separate clouds" in rig.driver.plan_copy_problem(point, chinese)

    def test_a_snapshot_that_failed_is_tried_again(self, rig: DatabaseRig) -> None:
        started = rig.backup(rig.resource())
        rig.sandbox.fail(PROD, HOME, started.parts[0].external_id)
        answer = rig.driver.progress(started.operations)[0]
        assert (answer.state, type(answer.error)) == (OperationState.FAILED, errors.CloudFailed)


class DatabaseContract(ServiceContract, DatabaseCopyContract):
    """What every family keeps besides: names as tokens, tags, renames, deletions of what is ours alone."""

    def test_the_identifier_is_the_token_and_the_tags_go_out_in_the_same_call(self, rig: DatabaseRig) -> None:
        started = rig.backup(rig.resource())
        asked = rig.parameters(rig.ways["create"])
        name = asked["DBClusterSnapshotIdentifier" if rig.clustered else "DBSnapshotIdentifier"]
        assert (name, len(name) <= 63) == (name_for("job-1"), True)
        assert started.parts[0].external_id == name
        tags = {one["Key"]: one["Value"] for one in asked["Tags"]}
        assert tags.items() >= {**TAGS, TAG_JOB: "job-1", "team": "a"}.items()
        assert rig.sandbox.count("AddTagsToResource") == 0

    def test_a_fresh_repeat_of_a_lost_call_meets_the_name_and_adopts(self, rig: DatabaseRig) -> None:
        """Feature 31: AlreadyExists is an answer, not a failure."""
        resource = rig.resource()
        rig.sandbox.fault("drop_after", operation=rig.creating(), count=1)
        with pytest.raises(errors.Transient):
            rig.backup(resource, fresh=True)
        again = rig.backup(resource, fresh=True)
        assert again.adopted
        assert rig.finished(again).parts

    def test_a_database_that_was_renamed_since_is_found_by_its_resource_id(self, rig: DatabaseRig) -> None:
        resource = rig.resource()
        old = replace(resource, attributes={**resource.attributes, "identifier": "was-called-so"})
        if rig.type == "documentdb":  # knows no filter by resource id
            with pytest.raises(errors.Gone):
                rig.backup(old, fresh=True)
            return
        assert rig.backup(old, fresh=True).parts[0].source_id == resource.external_id
        assert rig.backup(old, "job-2").parts[0].source_id == resource.external_id

    def test_what_vanished_after_its_backup_had_begun_is_adopted_all_the_same(self, rig: DatabaseRig) -> None:
        resource = rig.resource()
        first = rig.backup(resource)
        rig.drop(rig.sandbox, resource.external_id)
        again = rig.backup(resource)
        assert [part.external_id for part in again.parts] == [part.external_id for part in first.parts]
        assert any("was deleted after" in warning for warning in again.warnings)

    def test_a_stale_description_loses_no_backup_and_makes_no_second_one(self, rig: DatabaseRig) -> None:
        """Feature 31: a snapshot that is not shown yet is waited for, and meets its name when it is asked for again."""
        resource = rig.resource()
        started = rig.backup(resource)
        rig.sandbox.fault("stale", hide="all", seconds=30, operation=rig.ways["read"])
        assert rig.driver.progress(started.operations)[0].state is OperationState.RUNNING
        rig.sandbox.clear_faults()
        rig.sandbox.fault("stale", hide="all", seconds=30, operation=rig.ways["read"], count=1)
        assert rig.backup(resource).adopted
        rig.sandbox.clear_faults()
        assert rig.driver.progress(started.operations)[0].state is OperationState.DONE
        assert len(rig.driver.find(rig.production, HOME, "job-1")) == 1

    def test_users_tags_come_along_in_the_characters_that_rds_takes(self, rig: DatabaseRig) -> None:
        resource = rig.resource()
        hostile = {"na<me>": 'va"lue', "ok": "yes", "aws:no": "x", **{f"user-{n:02}": "v" for n in range(60)}}
        changed = replace(resource, tags=hostile, attributes={**resource.attributes, "own_tags": hostile})
        started = rig.backup(changed, fresh=True)
        tags = {one["Key"]: one["Value"] for one in rig.parameters(rig.ways["create"])["Tags"]}
        assert len(tags) == 50
        assert (tags["na_me_"], tags["ok"], tags[TAG_JOB]) == ("va_lue", "yes", "job-1")
        assert any("left out" in warning for warning in started.warnings)

    def test_a_database_that_is_busy_is_tried_again_later(self, rig: DatabaseRig) -> None:
        resource = rig.resource()
        rig.sandbox.configure(backup_seconds=60.0)
        rig.backup(resource)
        with pytest.raises(errors.NotReady) as caught:
            rig.backup(resource, "job-2")
        assert caught.value.retry is errors.Retry.ATTEMPT

    def test_a_quota_of_snapshots_is_waited_for(self, rig: DatabaseRig) -> None:
        resource = rig.resource()
        rig.sandbox.configure(db_snapshots_per_region=0)
        with pytest.raises(errors.QuotaReached):
            rig.backup(resource)

    def test_somebody_elses_snapshot_is_never_deleted(self, rig: DatabaseRig) -> None:
        point = rig.taken()
        made = rig.snapshot(point.parts[0].external_id)
        arn = made.get("DBSnapshotArn") or made["DBClusterSnapshotArn"]
        rds = rig.sandbox.client(PROD, HOME, "rds")
        rds.remove_tags_from_resource(ResourceName=arn, TagKeys=["snapfleet:installation"])
        answers = rig.driver.delete([point])
        assert [(one.outcome, one.error and one.error.code) for one in answers] == [("kept", "not-ours")]
        assert rig.sandbox.count(rig.ways["delete"]) == 0

    def test_where_deleting_is_not_allowed_the_snapshot_is_tagged_as_outdated(self, rig: DatabaseRig) -> None:
        point = rig.taken()
        rig.driver.delete([replace(point, account=replace(point.account, may_delete=False))])
        tags = {one["Key"] for one in rig.snapshot(point.parts[0].external_id)["TagList"]}
        assert TAG_OUTDATED in tags

    def test_a_restored_database_holds_the_rows_and_our_tags(self, rig: DatabaseRig) -> None:
        point = rig.taken()
        made = rig.restored(point, "again")
        assert rig.rows("again") == {"orders": "rows of orders-0"}
        tags = {one["Key"]: one["Value"] for one in made["TagList"]}
        assert tags.items() >= {**TAGS, "team": "a"}.items()

    def test_a_restore_step_that_is_repeated_makes_nothing_twice(self, rig: DatabaseRig) -> None:
        """Feature 31: killed between the call and its record."""
        point = rig.taken()
        method = "RestoreDBClusterFromSnapshot" if rig.clustered else "RestoreDBInstanceFromDBSnapshot"
        rig.sandbox.fault("drop_after", operation=method, count=1)
        with pytest.raises(errors.Transient):
            rig.restored(point, "again")
        assert rig.restored(point, "again")
        assert rig.sandbox.count(method) == 1

    def test_an_identifier_that_is_taken_is_refused(self, rig: DatabaseRig) -> None:
        point = rig.taken()
        with pytest.raises(errors.Invalid) as caught:
            rig.restored(point, str(point.resource.attributes["identifier"]))
        assert caught.value.code == "identifier-taken"

    def test_a_failed_restore_is_taken_back_even_if_protected_and_twice(self, rig: DatabaseRig) -> None:
        point = rig.taken()
        rig.restored(point, "again", deletion_protection=True)
        word = "cluster" if rig.clustered else "database"
        first = rig.undone(rig.production, Created(word, "again"))
        second = rig.undone(rig.production, Created(word, "again"))
        assert [one.outcome for one in (*first, *second)] == ["deleted", "already-gone"]

    def test_what_is_not_ours_is_not_taken_back(self, rig: DatabaseRig) -> None:
        resource = rig.resource()
        word = "cluster" if rig.clustered else "database"
        answers = rig.undone(rig.production, Created(word, str(resource.attributes["identifier"])))
        assert [(one.outcome, one.error and one.error.code) for one in answers] == [("kept", "not-ours")]


class TestRds(DatabaseContract):
    """Feature 15: RDS instances."""

    @pytest.fixture
    def rig(self, cloud: Sandbox) -> DatabaseRig:
        return rig_of(cloud, "rds")


class TestAurora(DatabaseContract):
    """Feature 16: Aurora clusters."""

    @pytest.fixture
    def rig(self, cloud: Sandbox) -> DatabaseRig:
        return rig_of(cloud, "aurora")


class TestDocumentDb(DatabaseContract):
    """Feature 18: DocumentDB clusters."""

    @pytest.fixture
    def rig(self, cloud: Sandbox) -> DatabaseRig:
        return rig_of(cloud, "documentdb")


def test_discovery_walks_all_pages_and_sees_its_own_family_only(cloud: Sandbox) -> None:
    rigs = {kind: rig_of(cloud, kind) for kind in ("rds", "aurora", "documentdb")}
    made = {kind: {one.make(cloud) for _ in range(2)} for kind, one in rigs.items()}
    for n in range(110):
        make_instance(cloud, f"many-{n}")
    for kind, one in rigs.items():
        found, page = [], None
        while True:
            answer = one.driver.discover(Scope(one.production, HOME, (kind,)), page)
            found += [row.external_id for row in answer.resources]
            page = answer.next_page
            if page is None:
                break
        assert made[kind] <= set(found)
        assert len(found) == (112 if kind == "rds" else 2)


def groups(cloud: Sandbox, account: str = PROD, region: str = HOME) -> None:
    rds = cloud.client(account, region, "rds")
    rds.create_db_subnet_group(DBSubnetGroupName="private", DBSubnetGroupDescription="d", SubnetIds=["subnet-1"])
    rds.create_db_parameter_group(DBParameterGroupName="tuned", DBParameterGroupFamily="postgres16", Description="d")
    rds.create_db_cluster_parameter_group(
        DBClusterParameterGroupName="tuned", DBParameterGroupFamily="aurora-postgresql16", Description="d"
    )
    rds.create_option_group(
        OptionGroupName="plain", EngineName="postgres", MajorEngineVersion="16", OptionGroupDescription="d"
    )
    rds.create_option_group(
        OptionGroupName="sealed", EngineName="oracle", MajorEngineVersion="19", OptionGroupDescription="TDE"
    )


FULL: dict[str, Any] = {
    "DBSubnetGroupName": "private",
    "DBParameterGroupName": "tuned",
    "OptionGroupName": "plain",
    "VpcSecurityGroupIds": ["sg-1", "sg-2"],
    "MultiAZ": True,
    "Port": 6000,
    "EnableIAMDatabaseAuthentication": True,
    "DeletionProtection": True,
    "StorageType": "io1",
    "Iops": 3000,
    "CopyTagsToSnapshot": True,
    "EnableCloudwatchLogsExports": ["postgresql"],
    "BackupRetentionPeriod": 9,
    "PreferredBackupWindow": "02:00-03:00",
    "PreferredMaintenanceWindow": "sun:05:00-sun:06:00",
    "MaxAllocatedStorage": 500,
    "AutoMinorVersionUpgrade": False,
}


def test_a_plain_instance_is_discovered_with_all_that_a_restore_takes(cloud: Sandbox) -> None:
    groups(cloud)
    rig = rig_of(cloud, "rds")
    facts = rig.found(make_instance(cloud, **FULL)).attributes
    assert facts["security_group_ids"] == ["sg-1", "sg-2"]
    assert (facts["subnet_group"], facts["parameter_group"], facts["option_group"]) == ("private", "tuned", "plain")
    assert (facts["multi_az"], facts["port"], facts["iam_auth"], facts["iops"]) == (True, 6000, True, 3000)
    assert (facts["logs"], facts["backup_retention"], facts["max_storage"]) == (["postgresql"], 9, 500)
    assert facts["auto_minor_upgrade"] is False
    assert "zone" not in facts


def test_default_groups_are_not_carried_around(cloud: Sandbox) -> None:
    """AWS's default groups exist everywhere under names of their own: a restore gets them by naming none."""
    rig = rig_of(cloud, "rds")
    facts = rig.resource().attributes
    assert (facts["subnet_group"], facts["parameter_group"], facts["option_group"]) == ("", "", "")


def test_an_option_group_that_keeps_a_snapshot_from_being_shared_is_noticed(cloud: Sandbox) -> None:
    """Feature 42: TDE's option is permanent, and RDS shares no such snapshot."""
    groups(cloud)
    rig = rig_of(cloud, "rds")
    resource = rig.found(make_instance(cloud, OptionGroupName="sealed"))
    point = rig.point(resource, rig.finished(rig.backup(resource)))
    assert point.resource.attributes["persistent_options"] is True
    assert "permanent option" in rig.driver.plan_copy_problem(point, Destination(rig.vault, HOME))
    assert rig.driver.plan_copy_problem(point, rig.away()) == ""


def test_an_unencrypted_instance_is_encrypted_by_copying_and_a_cluster_is_not(cloud: Sandbox) -> None:
    """CopyDBSnapshot takes a key for a plain snapshot; CopyDBClusterSnapshot refuses one."""
    rds, aurora = rig_of(cloud, "rds"), rig_of(cloud, "aurora")
    key = shared_key(rds, PROD, AWAY)
    copied = rds.copied(rds.taken(), rds.away(key))
    assert (copied.parts[0].encrypted, copied.parts[0].kms_key_id) == (True, key)
    started = aurora.driver.start_copy(aurora.taken("job-2"), aurora.away(key), CopyRequest("copy-2", TAGS))
    assert "KmsKeyId" not in aurora.parameters("CopyDBClusterSnapshot")
    assert any("not encrypted" in warning for warning in started.warnings)


def test_members_count_for_their_cluster_and_are_captured_in_order(cloud: Sandbox) -> None:
    """Feature 16: a restore makes the members again; a tag on a member is a tag of its cluster."""
    rig = rig_of(cloud, "aurora")
    made = make_aurora(cloud, members=3, name="web")
    rds = cloud.client(PROD, HOME, "rds")
    arn = rds.describe_db_instances(DBInstanceIdentifier="web-1")["DBInstances"][0]["DBInstanceArn"]
    rds.add_tags_to_resource(ResourceName=arn, Tags=[{"Key": "backup", "Value": "gold"}])
    found = rig.found(made)
    assert [one["identifier"] for one in found.attributes["members"]] == ["web-0", "web-1", "web-2"]
    assert [one["writer"] for one in found.attributes["members"]] == [True, False, False]
    assert found.tags == {"team": "a", "backup": "gold"}
    assert found.attributes["own_tags"] == {"team": "a"}


def test_a_clusters_members_are_made_when_it_is_there(cloud: Sandbox) -> None:
    rig = rig_of(cloud, "aurora")
    point = rig.taken()
    rig.restored(point, "again")
    params = {"cluster_id": "again", "id": "again-1", "class": "db.serverless", "engine": "aurora-postgresql"}
    rig.step(point, "create-member", **params, tier=2, tags={})
    rig.step(point, "create-member", **params, tier=2, tags={})
    assert rig.sandbox.count("CreateDBInstance", account=PROD) == 2  # its source's, and one of two wishes
    member = rig.database("again")["DBClusterMembers"][0]
    assert (member["DBInstanceIdentifier"], member["PromotionTier"]) == ("again-1", 2)
    answers = rig.undone(rig.production, Created("cluster", "again"), Created("member", "again-1"))
    assert [one.outcome for one in answers] == ["deleted", "deleted"]


def test_a_step_from_another_version_is_refused(cloud: Sandbox) -> None:
    rig = rig_of(cloud, "rds")
    with pytest.raises(errors.Invalid):
        rig.driver.start_restore(rig.taken(), RestoreStep("teleport", {}), "restore-1", TAGS)

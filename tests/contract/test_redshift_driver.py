"""The contract, kept by Redshift's clusters and namespaces; and what only warehouses have."""

from dataclasses import replace

import pytest

from tasks import errors
from tasks.states import OperationState
from tests.contract.driver_suite import overtaken
from tests.contract.planning import restore_by_plan
from tests.contract.rig import AWAY, HOME, PROD, TAGS, VAULT
from tests.contract.service_suite import ServiceContract
from tests.contract.warehouses import (
    CARRY,
    LEND,
    MELT,
    WarehouseRig,
    clusters,
    copied,
    make_namespace,
    make_warehouse,
    namespaces,
)
from tests.sandbox import Sandbox
from workers.aws.tags import name_for
from workers.driver import (
    TAG_INSTALLATION,
    TAG_JOB,
    TAG_OUTDATED,
    CopyRequest,
    Destination,
    FindsTagged,
    Point,
    Scope,
)


class WarehouseContract(ServiceContract):
    """What both houses keep: names as tokens, tags in the same call, loans, the cluster's own copying."""

    def test_the_name_is_the_token_and_tags_and_backstop_go_out_in_the_same_call(self, rig: WarehouseRig) -> None:
        """Feature 17: an abandoned installation's snapshots end by themselves in ten years."""
        started = rig.backup(rig.resource())
        asked = {name.lower(): value for name, value in rig.parameters(rig.creating()).items()}
        days = asked["retentionperiod" if rig.serverless else "manualsnapshotretentionperiod"]
        name = asked["snapshotname" if rig.serverless else "snapshotidentifier"]
        assert (name, days, started.parts[0].external_id) == (name_for("job-1"), 3653, name)
        pairs = [{key.lower(): value for key, value in one.items()} for one in asked["tags"]]
        tags = {one["key"]: one["value"] for one in pairs}
        assert tags.items() >= {**TAGS, TAG_JOB: "job-1", "team": "a"}.items()
        assert rig.sandbox.count("CreateTags") == rig.sandbox.count("TagResource") == 0

    def test_a_fresh_repeat_of_a_lost_call_meets_the_name_and_adopts(self, rig: WarehouseRig) -> None:
        """Feature 31: AlreadyExists is an answer, not a failure."""
        resource = rig.resource()
        rig.sandbox.fault("drop_after", operation=rig.creating(), count=1)
        with pytest.raises(errors.Transient):
            rig.backup(resource, fresh=True)
        again = rig.backup(resource, fresh=True)
        assert again.adopted
        assert rig.finished(again).parts

    def test_what_vanished_after_its_backup_had_begun_is_adopted_all_the_same(self, rig: WarehouseRig) -> None:
        resource = rig.resource()
        first = rig.backup(resource)
        rig.drop(rig.sandbox, resource.external_id)
        again = rig.backup(resource)
        assert [part.external_id for part in again.parts] == [part.external_id for part in first.parts]
        assert any("was deleted after" in warning for warning in again.warnings)

    def test_a_quota_of_snapshots_is_waited_for_and_burns_no_attempt(self, rig: WarehouseRig) -> None:
        resource = rig.resource()
        rig.sandbox.configure(redshift_snapshots_per_region=0)
        with pytest.raises(errors.QuotaReached) as caught:
            rig.backup(resource)
        assert caught.value.retry is errors.Retry.FREE

    def test_somebody_elses_snapshot_is_never_deleted(self, rig: WarehouseRig) -> None:
        point = rig.taken()
        arn = point.parts[0].attributes["arn"]
        if rig.serverless:
            rig.client().untag_resource(resourceArn=arn, tagKeys=["snapfleet:installation"])
        else:
            rig.client().delete_tags(ResourceName=arn, TagKeys=["snapfleet:installation"])
        answers = rig.driver.delete([point])
        assert [(one.outcome, one.error and one.error.code) for one in answers] == [("kept", "not-ours")]
        assert rig.sandbox.count(rig.ways["delete"]) == 0

    def test_a_snapshot_that_failed_is_tried_again(self, rig: WarehouseRig) -> None:
        started = rig.backup(rig.resource())
        rig.sandbox.fail(PROD, HOME, started.parts[0].external_id)
        answer = rig.driver.progress(started.operations)[0]
        assert (answer.state, type(answer.error)) == (OperationState.FAILED, errors.CloudFailed)

    def test_a_loan_is_the_source_itself_and_ends_by_being_revoked(self, rig: WarehouseRig) -> None:
        """Feature 43: share-only. The other account sees it, restores it, and owns nothing."""
        point = rig.taken()
        started = rig.driver.start_copy(point, Destination(rig.vault, HOME), CopyRequest("copy-1", TAGS, options=LEND))
        again = copied(rig, point, Destination(rig.vault, HOME), **LEND)
        assert started.lent
        assert again.parts[0].external_id == started.parts[0].external_id == point.parts[0].attributes["arn"]
        assert [one.outcome for one in rig.driver.delete([again])] == ["deleted"]
        assert {one.state for one in rig.driver.progress(started.operations)} == {OperationState.RUNNING}
        assert len(rig.driver.find(rig.production, HOME, "job-1")) == 1
        assert [one.outcome for one in rig.driver.delete([again])] == ["deleted"]

    def test_a_loan_of_what_vanished_is_gone_and_ends_as_already_gone(self, rig: WarehouseRig) -> None:
        point = rig.taken()
        there = copied(rig, point, Destination(rig.vault, HOME), **LEND)
        rig.sandbox.destroy(PROD, HOME, point.parts[0].external_id)
        with pytest.raises(errors.Gone):
            copied(rig, point, Destination(rig.vault, HOME), "copy-2", **LEND)
        assert rig.driver.delete([there])[0].outcome in ("already-gone", "deleted")

    def test_a_snapshot_that_others_may_restore_is_deleted_after_they_may_no_more(self, rig: WarehouseRig) -> None:
        """DeleteClusterSnapshot: all authorizations are revoked first."""
        point = rig.taken()
        copied(rig, point, Destination(rig.vault, HOME), **LEND)
        assert [one.outcome for one in rig.driver.delete([point])] == ["deleted"]
        if not rig.serverless:
            assert rig.sandbox.count("RevokeSnapshotAccess") == 1

    def test_the_clusters_own_copying_is_set_before_the_backup_where_the_policy_consents(
        self, rig: WarehouseRig
    ) -> None:
        """Feature 42: only with the option; the copy is found under the source's name and gets our tags."""
        resource = rig.resource()
        setting = "CreateSnapshotCopyConfiguration" if rig.serverless else "EnableSnapshotCopy"
        rig.finished(rig.backup(resource))
        assert rig.sandbox.count(setting) == 0
        started = rig.finished(rig.backup(resource, "job-2", options=CARRY))
        rig.backup(rig.found(resource.external_id), "job-3", options=CARRY)
        assert rig.sandbox.count(setting) == 1
        point = rig.point(resource, started)
        there = copied(rig, point, rig.away(), cluster_copy="yes")
        assert there.parts[0].external_id == point.parts[0].external_id
        assert rig.rows(there.parts[0].external_id, region=AWAY) == {"orders": f"rows of {resource.name}"}
        tagged = rig.sandbox.calls("TagResource" if rig.serverless else "CreateTags")
        assert {one["region"] for one in tagged} == {AWAY}
        rig.sandbox.clear_calls()
        assert [one.outcome for one in rig.driver.delete([there])] == ["deleted"]
        assert [one.outcome for one in rig.driver.delete([there])] == ["already-gone"]
        assert {one["region"] for one in rig.sandbox.calls(rig.ways["delete"])} == {AWAY}

    def test_a_backup_from_before_the_setting_is_never_copied_and_says_why(self, rig: WarehouseRig) -> None:
        point = rig.taken()
        with pytest.raises(errors.Impossible) as caught:
            copied(rig, point, rig.away(), cluster_copy="yes")
        assert caught.value.code == "not-carried"
        rig.sandbox.destroy(PROD, HOME, point.parts[0].external_id)
        with pytest.raises(errors.Gone):
            copied(rig, point, rig.away(), "copy-2", cluster_copy="yes")

    def test_a_cluster_that_copies_elsewhere_is_backed_up_with_a_warning(self, rig: WarehouseRig) -> None:
        resource = rig.resource()
        rig.backup(resource, options=CARRY)
        resource = rig.found(resource.external_id)
        other = rig.finished(rig.backup(resource, "job-2", options={**CARRY, "copy_region": "eu-central-1"}))
        assert any(AWAY in warning and "one region only" in warning for warning in other.warnings)
        point = rig.point(resource, other)
        with pytest.raises(errors.Impossible, match=AWAY):
            copied(rig, point, Destination(rig.production, "eu-central-1"), cluster_copy="yes")

    def test_a_missing_right_to_set_the_copying_costs_the_copy_and_not_the_backup(self, rig: WarehouseRig) -> None:
        resource = rig.resource()
        setting = "CreateSnapshotCopyConfiguration" if rig.serverless else "EnableSnapshotCopy"
        rig.sandbox.fault("denied", operation=setting)
        started = rig.finished(rig.backup(resource, options=CARRY))
        assert any(f"does not copy its snapshots to {AWAY}" in warning for warning in started.warnings)

    def test_nothing_goes_to_a_separate_cloud_nor_to_account_and_region_at_once(self, rig: WarehouseRig) -> None:
        point = rig.taken()
        assert "separate clouds" in rig.driver.plan_copy_problem(point, Destination(rig.production, "cn-north-1"))
        assert "own region" in rig.driver.plan_copy_problem(point, Destination(rig.vault, AWAY))
        with pytest.raises(errors.Impossible):
            copied(rig, point, Destination(rig.vault, AWAY), **LEND)
        assert rig.driver.plan_copy_problem(point, Destination(rig.vault, HOME)) == ""


class TestClusters(WarehouseContract):
    """Feature 17: provisioned clusters."""

    @pytest.fixture
    def rig(self, cloud: Sandbox) -> WarehouseRig:
        return clusters(cloud)


class TestNamespaces(WarehouseContract):
    """Feature 17: Redshift Serverless."""

    @pytest.fixture
    def rig(self, cloud: Sandbox) -> WarehouseRig:
        return namespaces(cloud)


@pytest.fixture
def rig(cloud: Sandbox) -> WarehouseRig:
    return clusters(cloud)


def materialised(rig: WarehouseRig, point: Point, key: str = "", name: str = "copy") -> tuple[Point, Point]:
    """Both hops: the temporary cluster as an intermediate point, and the copy made of it."""
    to = Destination(rig.vault, HOME, key)
    middle = copied(rig, point, to, f"{name}-1", **MELT)
    return middle, copied(rig, middle, to, f"{name}-2", **MELT)


def test_a_materialised_copy_outlives_its_source_and_leaves_no_cluster(rig: WarehouseRig) -> None:
    """Feature 43: through a temporary cluster in the other account, closed to the world, and full."""
    point = rig.taken()
    middle, there = materialised(rig, point)
    asked = rig.parameters("RestoreFromClusterSnapshot")
    assert (asked["OwnerAccount"], asked["PubliclyAccessible"], asked["AutomatedSnapshotRetentionPeriod"]) == (
        PROD,
        False,
        1,
    )
    assert asked["ClusterIdentifier"] == middle.parts[0].external_id == name_for("copy-1")
    held = rig.client(rig.vault).describe_clusters()["Clusters"][0]
    assert {one["Key"] for one in held["Tags"]} >= {*TAGS, TAG_JOB}
    assert [one["account"] for one in rig.sandbox.calls("CreateClusterSnapshot")] == [PROD, VAULT]
    assert [one.outcome for one in rig.driver.delete([middle])] == ["deleted"]
    assert [one.outcome for one in rig.driver.delete([middle])] == ["already-gone"]
    assert rig.client(rig.vault).describe_clusters()["Clusters"] == []
    assert rig.parameters("DeleteCluster")["SkipFinalClusterSnapshot"] is True
    assert [one.outcome for one in rig.driver.delete([point])] == ["deleted"]
    restore_by_plan(rig, there, "cluster", id="again")
    assert rig.rows("again", rig.vault) == {"orders": "rows of sales-0"}


def test_both_hops_are_adopted_when_their_answers_were_lost(rig: WarehouseRig) -> None:
    """Feature 31: killed between the call and its record, before and after the tags; nothing is made twice."""
    point, to = rig.taken(), Destination(rig.vault, HOME)
    rig.sandbox.fault("drop_after", operation="RestoreFromClusterSnapshot", count=1)
    with pytest.raises(errors.Transient) as caught:
        copied(rig, point, to, "copy-1", **MELT)
    assert caught.value.code == "unknown-effect"
    first = rig.driver.start_copy(point, to, CopyRequest("copy-1", TAGS, options=MELT))
    assert first.adopted
    middle = replace(point, account=rig.vault, parts=rig.finished(first).parts)
    held = rig.client(rig.vault).describe_clusters()["Clusters"][0]
    assert TAG_JOB in {one["Key"] for one in held["Tags"]}
    rig.sandbox.fault("drop_after", operation="CreateClusterSnapshot", count=1)
    with pytest.raises(errors.Transient):
        copied(rig, middle, to, "copy-2", **MELT)
    assert rig.driver.start_copy(middle, to, CopyRequest("copy-2", TAGS, options=MELT)).adopted
    assert rig.sandbox.count("RestoreFromClusterSnapshot") == 1
    assert [one["account"] for one in rig.sandbox.calls("CreateClusterSnapshot")] == [PROD, VAULT]
    assert {one.kind for one in rig.driver.find(rig.vault, HOME, "copy-1")} == {"cluster"}


def test_a_hop_of_somebody_else_by_now_is_not_begun(rig: WarehouseRig) -> None:
    point, to = rig.taken(), Destination(rig.vault, HOME)
    for options in (LEND, MELT):
        with pytest.raises(errors.FenceLost):
            rig.driver.start_copy(point, to, CopyRequest("copy-1", TAGS, proceed=overtaken, options=options))
    assert rig.sandbox.count("RestoreFromClusterSnapshot") == 0
    assert rig.client(rig.vault).describe_clusters()["Clusters"] == []


def test_a_copy_of_what_is_encrypted_lies_under_the_other_accounts_key(rig: WarehouseRig) -> None:
    ours, theirs = rig.shared_key(PROD, HOME), rig.shared_key(VAULT, HOME)
    resource = rig.found(make_warehouse(rig.sandbox, "sealed", Encrypted=True, KmsKeyId=ours))
    point = rig.point(resource, rig.finished(rig.backup(resource)))
    assert point.parts[0].attributes["default_key"] is False
    _, there = materialised(rig, point, theirs)
    assert rig.parameters("RestoreFromClusterSnapshot")["KmsKeyId"] == theirs
    assert (there.parts[0].encrypted, there.parts[0].kms_key_id) == (True, theirs)


def test_under_the_default_key_nothing_goes_to_another_account(rig: WarehouseRig) -> None:
    """Feature 44: seen at the backup, refused before any call."""
    resource = rig.found(make_warehouse(rig.sandbox, "sealed", Encrypted=True))
    point = rig.point(resource, rig.finished(rig.backup(resource)))
    assert point.parts[0].attributes["default_key"] is True
    assert "aws/redshift" in rig.driver.plan_copy_problem(point, Destination(rig.vault, HOME))
    with pytest.raises(errors.Impossible):
        copied(rig, point, Destination(rig.vault, HOME), **LEND)
    assert rig.sandbox.count("AuthorizeSnapshotAccess") == 0


def test_an_encrypted_cluster_copies_under_a_grant_made_in_the_other_region(rig: WarehouseRig) -> None:
    """EnableSnapshotCopy, SnapshotCopyGrantName; automated snapshots stay there for the least time."""
    ours, theirs = rig.shared_key(PROD, HOME), rig.shared_key(PROD, AWAY)
    resource = rig.found(make_warehouse(rig.sandbox, "sealed", Encrypted=True, KmsKeyId=ours))
    started = rig.finished(rig.backup(resource, options={**CARRY, "copy_key": theirs}))
    grants = rig.sandbox.calls("CreateSnapshotCopyGrant")
    assert [(one["region"], one["parameters"]["KmsKeyId"]) for one in grants] == [(AWAY, theirs)]
    asked = rig.parameters("EnableSnapshotCopy")
    assert (asked["DestinationRegion"], asked["RetentionPeriod"], asked["ManualSnapshotRetentionPeriod"]) == (
        AWAY,
        1,
        3653,
    )
    assert asked["SnapshotCopyGrantName"] == grants[0]["parameters"]["SnapshotCopyGrantName"]
    there = copied(rig, rig.point(resource, started), rig.away(theirs), cluster_copy="yes")
    assert there.parts[0].kms_key_id in ("", theirs)


def test_a_share_that_the_other_side_does_not_see_yet_is_waited_for(rig: WarehouseRig) -> None:
    point = rig.taken()
    for code in ("ClusterSnapshotNotFound", "AccessToSnapshotDenied"):
        rig.sandbox.fault("error", operation="RestoreFromClusterSnapshot", count=1, code=code, status=400)
        with pytest.raises(errors.NotReady) as caught:
            copied(rig, point, Destination(rig.vault, HOME), **MELT)
        assert caught.value.code == "share-unseen"


def test_a_temporary_cluster_is_ready_when_its_data_is_there(rig: WarehouseRig) -> None:
    """RestoreStatus: a restored cluster answers while its data still comes."""
    point = rig.taken()
    rig.sandbox.configure(backup_restore_seconds=100.0)
    started = rig.driver.start_copy(point, Destination(rig.vault, HOME), CopyRequest("copy-1", TAGS, options=MELT))
    assert rig.driver.progress(started.operations)[0].state is OperationState.RUNNING
    rig.sandbox.advance(101)
    assert rig.driver.progress(started.operations)[0].state is OperationState.DONE


def test_where_deleting_is_not_allowed_things_are_tagged_as_outdated(rig: WarehouseRig) -> None:
    middle, there = materialised(rig, rig.taken())
    guarded = replace(rig.vault, may_delete=False)
    answers = rig.driver.delete([replace(one, account=guarded) for one in (middle, there)])
    assert {(one.outcome, one.error and one.error.code) for one in answers} == {("kept", "outdated")}
    client = rig.client(rig.vault)
    held = [*client.describe_clusters()["Clusters"], *client.describe_cluster_snapshots()["Snapshots"]]
    assert all(TAG_OUTDATED in {tag["Key"] for tag in one["Tags"]} for one in held)


def test_what_carries_our_tag_is_listed_for_who_looks_for_what_no_record_knows(rig: WarehouseRig) -> None:
    """Snapshots alone: a cluster that a restore has made carries the tag too, and stays."""
    middle, _ = materialised(rig, rig.taken())
    assert isinstance(rig.driver, FindsTagged)
    found = rig.driver.tagged(rig.vault, HOME, TAGS[TAG_INSTALLATION])
    assert [(one.kind, one.external_id, one.tags[TAG_JOB]) for one in found] == [
        ("snapshot", name_for("copy-2"), "copy-2")
    ]
    assert middle.parts[0].external_id not in {one.external_id for one in found}
    assert rig.driver.tagged(rig.vault, HOME, "another") == []


def test_a_renamed_cluster_is_found_by_its_namespace(rig: WarehouseRig) -> None:
    resource = rig.resource()
    rig.client().modify_cluster(ClusterIdentifier=resource.name, NewClusterIdentifier="new-name")
    assert rig.backup(resource, fresh=True).captured["identifier"] == "new-name"
    assert rig.backup(resource, "job-2").parts[0].source_id == "new-name"


def test_clusters_and_namespaces_are_walked_in_pages(rig: WarehouseRig) -> None:
    wanted = {make_warehouse(rig.sandbox), make_namespace(rig.sandbox), make_namespace(rig.sandbox, group=False)}
    found, page = set(), None
    while True:
        answer = rig.driver.discover(Scope(rig.production, HOME, ("redshift",)), page)
        found |= {one.external_id for one in answer.resources}
        page = answer.next_page
        if page is None:
            break
    assert found == wanted


def test_where_the_region_has_no_serverless_nothing_asks_for_it(rig: WarehouseRig) -> None:
    """As the SDK knows regions; Redshift is in all of them, Serverless is not."""
    session = rig.sessions.session(rig.production, HOME)
    lacking = set(session.get_available_regions("redshift")) - set(session.get_available_regions("redshift-serverless"))
    region = sorted(lacking)[0]
    page = rig.driver.discover(Scope(rig.production, region, ("redshift",)), None)
    assert page.next_page is None
    assert rig.driver.find(rig.production, region, "job-1") == []
    assert {one["service"] for one in rig.sandbox.calls() if one["region"] == region} <= {"redshift", "sts"}


def test_a_namespace_without_a_workgroup_is_refused_before_any_call(cloud: Sandbox) -> None:
    rig = namespaces(cloud)
    resource = rig.found(make_namespace(cloud, group=False))
    with pytest.raises(errors.Impossible, match="workgroup"):
        rig.backup(resource)
    assert rig.sandbox.count("CreateSnapshot") == 0


@pytest.fixture
def lake(cloud: Sandbox) -> WarehouseRig:
    return namespaces(cloud)


def filled(rig: WarehouseRig, middle: Point, key: str = "", name: str = "copy-2") -> Point:
    """The second hop, asked again as the queue does while the restore into the temporary namespace goes on."""
    to = Destination(rig.vault, HOME, key)
    with pytest.raises(errors.NotReady) as caught:
        copied(rig, middle, to, name, **MELT)
    assert (caught.value.code, caught.value.retry, caught.value.wait) == (
        "restoring",
        errors.Retry.FREE,
        rig.pace.floor,
    )
    return copied(rig, middle, to, name, **MELT)


def test_a_serverless_snapshot_is_materialised_through_a_temporary_namespace(lake: WarehouseRig) -> None:
    """Feature 43: "RestoreFromSnapshot", ownerAccount; the copy outlives its source, and no namespace is left."""
    point = lake.taken()
    middle = copied(lake, point, Destination(lake.vault, HOME), "copy-1", **MELT)
    name = middle.parts[0].external_id
    group = lake.parameters("CreateWorkgroup")
    assert (group["publiclyAccessible"], group["baseCapacity"]) == (False, 128)
    there = filled(lake, middle)
    asked = lake.parameters("RestoreFromSnapshot")
    wanted = {"namespaceName": name, "workgroupName": name, "ownerAccount": PROD}
    assert asked == {**wanted, "snapshotName": point.parts[0].external_id}
    assert lake.sandbox.count("RestoreFromSnapshot") == 1
    assert [one.outcome for one in lake.driver.delete([middle])] == ["deleted"]
    assert [one.outcome for one in lake.driver.delete([middle])] == ["already-gone"]
    assert lake.client(lake.vault).list_namespaces()["namespaces"] == []
    assert lake.client(lake.vault).list_workgroups()["workgroups"] == []
    assert [one.outcome for one in lake.driver.delete([point])] == ["deleted"]
    restore_by_plan(lake, there, "namespace", id="again")
    assert lake.rows("again", lake.vault) == {"orders": "rows of lake-0"}
    assert [one.outcome for one in lake.driver.delete([there])] == ["deleted"]


@pytest.mark.parametrize("call", ["CreateNamespace", "CreateWorkgroup"])
def test_a_temporary_namespace_is_adopted_when_an_answer_was_lost(lake: WarehouseRig, call: str) -> None:
    """Feature 31: its name is the token."""
    point, to = lake.taken(), Destination(lake.vault, HOME)
    before = lake.sandbox.count(call)
    lake.sandbox.fault("drop_after", operation=call, count=1)
    with pytest.raises(errors.Transient) as caught:
        copied(lake, point, to, "copy-1", **MELT)
    assert caught.value.code == "unknown-effect"
    middle = copied(lake, point, to, "copy-1", **MELT)
    assert lake.sandbox.count(call) == before + 1
    assert {one.kind for one in lake.driver.find(lake.vault, HOME, "copy-1")} == {"namespace"}
    assert filled(lake, middle).parts


def test_a_restore_whose_answer_was_lost_is_not_begun_again_while_it_runs(lake: WarehouseRig) -> None:
    """Feature 31: the namespace is busy then; AWS tells nobody later that it was restored, so a tag does."""
    point, to = lake.taken(), Destination(lake.vault, HOME)
    middle = copied(lake, point, to, "copy-1", **MELT)
    lake.sandbox.configure(backup_restore_seconds=100.0)
    lake.sandbox.fault("drop_after", operation="RestoreFromSnapshot", count=1)
    with pytest.raises(errors.Transient):
        copied(lake, middle, to, "copy-2", **MELT)
    for _ in range(2):
        with pytest.raises(errors.NotReady):
            copied(lake, middle, to, "copy-2", **MELT)
    lake.sandbox.advance(101)
    there = copied(lake, middle, to, "copy-2", **MELT)
    assert lake.sandbox.count("RestoreFromSnapshot") == 1
    assert lake.driver.start_copy(middle, to, CopyRequest("copy-2", TAGS, options=MELT)).adopted
    assert there.parts[0].attributes["serverless"] is True


def test_a_namespace_whose_workgroup_is_refused_is_recorded_and_taken_away(lake: WarehouseRig) -> None:
    """Feature 43: what cannot be finished leaves nothing, and its reason is told."""
    point = lake.taken()
    lake.sandbox.fault("denied", operation="CreateWorkgroup", account=VAULT)
    started = lake.driver.start_copy(point, Destination(lake.vault, HOME), CopyRequest("copy-1", TAGS, options=MELT))
    answer = lake.driver.progress(started.operations)[0]
    assert answer.state is OperationState.FAILED
    assert answer.error is not None
    assert "CreateWorkgroup" in answer.error.text
    middle = replace(point, account=lake.vault, parts=started.parts)
    assert [one.outcome for one in lake.driver.delete([middle])] == ["deleted"]
    assert lake.client(lake.vault).list_namespaces()["namespaces"] == []


def test_a_materialised_copy_of_an_encrypted_namespace_lies_under_the_other_accounts_key(lake: WarehouseRig) -> None:
    ours, theirs = lake.shared_key(PROD, HOME), lake.shared_key(VAULT, HOME)
    resource = lake.found(make_namespace(lake.sandbox, kmsKeyId=ours))
    point = lake.point(resource, lake.finished(lake.backup(resource)))
    middle = copied(lake, point, Destination(lake.vault, HOME, theirs), "copy-1", **MELT)
    there = filled(lake, middle, theirs)
    assert (there.parts[0].encrypted, there.parts[0].kms_key_id) == (True, theirs)


def test_a_temporary_namespace_of_nobody_we_know_is_not_touched(lake: WarehouseRig) -> None:
    """A row in the catalog is not enough; and where deleting is not allowed it is tagged as outdated."""
    middle = copied(lake, lake.taken(), Destination(lake.vault, HOME), "copy-1", **MELT)
    guarded = replace(middle, account=replace(lake.vault, may_delete=False))
    assert [(one.outcome, one.error and one.error.code) for one in lake.driver.delete([guarded])] == [
        ("kept", "outdated")
    ]
    serverless = lake.client(lake.vault)
    arn = serverless.list_namespaces()["namespaces"][0]["namespaceArn"]
    assert TAG_OUTDATED in {one["key"] for one in serverless.list_tags_for_resource(resourceArn=arn)["tags"]}
    serverless.untag_resource(resourceArn=arn, tagKeys=[TAG_INSTALLATION])
    assert [one.outcome for one in lake.driver.delete([middle])] == ["kept"]
    assert len(serverless.list_namespaces()["namespaces"]) == 1

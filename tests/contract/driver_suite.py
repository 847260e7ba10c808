"""What every driver must keep, whatever the resource: bound to a type by a subclass that gives the fixture `rig`.

The requests are read where they arrive, in the emulated cloud's log; faults are planted there and not in our code.
"""

from dataclasses import replace
from datetime import timedelta

import pytest

from tasks import errors
from tasks.states import OperationState
from tests.contract.presence_suite import PresenceContract
from tests.contract.rig import AWAY, HOME, TAGS, VAULT, Rig
from workers.driver import TAG_JOB, TAG_OUTDATED, CopyRequest, Destination, Operation, Scope


def overtaken() -> None:
    """The `proceed` of a worker whose job another one has taken over."""
    raise errors.FenceLost("Job 1 was taken over by another worker.")


class BackupContract:
    """Beginning a backup: once, found again, tagged by the creating call, and refused in words."""

    def test_a_backup_is_begun_with_our_tags_in_the_creating_call_itself(self, rig: Rig) -> None:
        started = rig.backup(rig.resource())
        assert rig.sandbox.count(rig.creating()) == 1
        assert rig.sandbox.count("CreateTags") == 0
        made = rig.snapshots()
        assert {part.external_id for part in started.parts} == set(made)
        for snapshot in made.values():
            assert rig.tags_of(snapshot).items() >= {**TAGS, TAG_JOB: "job-1"}.items()

    def test_the_parts_tell_their_volume_device_and_size(self, rig: Rig) -> None:
        resource = rig.resource()
        started = rig.backup(resource)
        volumes = {one["VolumeId"]: one for one in rig.snapshots().values()}
        assert {part.source_id for part in started.parts} == set(volumes)
        assert all(part.size_gib == volumes[part.source_id]["VolumeSize"] > 0 for part in started.parts)
        assert all(part.attributes["type"] for part in started.parts)

    def test_the_same_key_again_adopts_what_is_there(self, rig: Rig) -> None:
        """A repeated message makes no second snapshot."""
        resource = rig.resource()
        first, second = rig.backup(resource), rig.backup(resource)
        assert (first.adopted, second.adopted) == (False, True)
        assert [part.external_id for part in first.parts] == [part.external_id for part in second.parts]
        assert [part.device for part in first.parts] == [part.device for part in second.parts]
        assert rig.sandbox.count(rig.creating()) == 1

    def test_another_key_makes_another_backup(self, rig: Rig) -> None:
        resource = rig.resource()
        first, second = rig.backup(resource), rig.backup(resource, "job-2")
        assert {part.external_id for part in first.parts}.isdisjoint(part.external_id for part in second.parts)

    def test_when_the_answer_is_lost_the_next_attempt_adopts_what_was_made(self, rig: Rig) -> None:
        """Feature 31: the SDK must not re-send a create, and nobody looks before the tags can be seen."""
        resource = rig.resource()
        rig.sandbox.fault("drop_after", operation=rig.creating(), count=1)
        with pytest.raises(errors.Transient) as caught:
            rig.backup(resource)
        assert (caught.value.code, caught.value.wait) == ("unknown-effect", rig.pace.guard)
        made = set(rig.snapshots())
        assert rig.sandbox.count(rig.creating()) == 1
        again = rig.backup(resource)
        assert again.adopted
        assert {part.external_id for part in again.parts} == made == set(rig.snapshots())

    def test_when_the_request_was_lost_the_next_attempt_creates(self, rig: Rig) -> None:
        resource = rig.resource()
        rig.sandbox.fault("drop_before", operation=rig.creating(), count=1)
        with pytest.raises(errors.Transient):
            rig.backup(resource)
        assert not rig.snapshots()
        assert not rig.backup(resource).adopted

    def test_what_an_earlier_attempt_left_in_error_is_adopted_and_told_to_have_failed(self, rig: Rig) -> None:
        """Passed over it would stay in the cloud for ever, known to nobody: its failed point takes it along."""
        resource = rig.resource()
        failed = [part.external_id for part in rig.backup(resource).parts]
        rig.sandbox.fail("111111111111", HOME, *failed)
        again = rig.backup(resource)
        assert (again.adopted, [part.external_id for part in again.parts]) == (True, failed)
        assert {one.state for one in rig.driver.progress(again.operations)} == {OperationState.FAILED}

    @pytest.mark.parametrize(
        ("fault", "kind"),
        [
            ({"kind": "throttle"}, errors.Throttled),
            ({"kind": "denied"}, errors.Denied),
            ({"kind": "internal"}, errors.Transient),
            ({"kind": "error", "code": "ConcurrentSnapshotLimitExceeded", "status": 400}, errors.QuotaReached),
            ({"kind": "error", "code": "SnapshotCreationPerVolumeRateExceeded", "status": 400}, errors.QuotaReached),
            ({"kind": "error", "code": "IncorrectState", "status": 400}, errors.NotReady),
        ],
    )
    def test_a_refused_create_is_sent_once_and_says_what_it_means(self, rig: Rig, fault: dict, kind: type) -> None:
        resource = rig.resource()
        rig.sandbox.fault(operation=rig.creating(), count=1, **fault)
        with pytest.raises(kind):
            rig.backup(resource)
        assert rig.sandbox.count(rig.creating()) == 1
        rig.backup(resource)

    @pytest.mark.parametrize("fresh", [False, True])
    def test_a_backup_of_somebody_else_by_now_is_not_begun(self, rig: Rig, fresh: bool) -> None:
        """The driver asks right before it creates, so that a worker that was paused makes nothing a second time."""
        with pytest.raises(errors.FenceLost):
            rig.backup(rig.resource(), fresh=fresh, proceed=overtaken)
        assert rig.sandbox.count(rig.creating()) == 0

    def test_a_throttled_read_is_repeated_once_and_then_left_to_another_attempt(self, rig: Rig) -> None:
        """Nothing was made by then, so that the other attempt starts as this one did."""
        resource = rig.resource()
        rig.sandbox.fault("throttle", operation="DescribeSnapshots", count=1)
        assert rig.backup(resource).parts
        other = rig.resource()
        rig.sandbox.fault("throttle", operation="DescribeSnapshots", count=2)
        with pytest.raises(errors.Throttled):
            rig.backup(other, "job-2")
        assert rig.backup(other, "job-2").parts

    def test_what_vanished_since_discovery_is_gone_and_nothing_is_created(self, rig: Rig) -> None:
        """A resource that was deleted is no failure of the backup."""
        resource = rig.resource()
        rig.sandbox.destroy("111111111111", HOME, resource.external_id)
        with pytest.raises(errors.Gone):
            rig.backup(resource)
        assert rig.sandbox.count(rig.creating()) == 0

    def test_what_vanished_after_its_backup_had_begun_is_adopted_all_the_same(self, rig: Rig) -> None:
        resource = rig.resource()
        first = rig.backup(resource)
        rig.sandbox.destroy("111111111111", HOME, resource.external_id)
        again = rig.backup(resource)
        assert {part.external_id for part in again.parts} == {part.external_id for part in first.parts}
        assert any("was deleted after" in warning for warning in again.warnings)

    def test_users_tags_come_along_and_never_push_ours_out(self, rig: Rig) -> None:
        resource = rig.resource()
        ec2 = rig.sandbox.client("111111111111")
        many = [{"Key": f"user-{n:02}", "Value": "v"} for n in range(49)] + [{"Key": TAG_JOB, "Value": "older"}]
        ec2.delete_tags(Resources=[resource.external_id])
        ec2.create_tags(Resources=[resource.external_id], Tags=many)
        started = rig.backup(resource)
        for snapshot in rig.snapshots().values():
            tags = rig.tags_of(snapshot)
            assert len(tags) == 50
            assert tags[TAG_JOB] == "job-1"
            assert tags["user-00"] == "v"
        assert any("left out" in warning for warning in started.warnings)

    def test_everything_under_a_key_is_found(self, rig: Rig) -> None:
        started = rig.backup(rig.resource())
        found = rig.driver.find(rig.production, HOME, "job-1")
        assert {one.external_id for one in found} == {part.external_id for part in started.parts}
        assert {one.state for one in found} == {OperationState.DONE}
        assert rig.driver.find(rig.production, HOME, "job-2") == []
        assert rig.driver.find(rig.production, AWAY, "job-1") == []


class ProgressContract:
    """Following: in few calls, patient with what EC2 does not show yet, and good only when the cloud says completed."""

    def test_only_completed_means_done(self, rig: Rig) -> None:
        resource = rig.resource()
        rig.sandbox.configure(snapshot_seconds=100.0)
        started = rig.backup(resource)
        rig.sandbox.advance(50)
        running = rig.driver.progress(started.operations)
        assert {one.state for one in running} == {OperationState.RUNNING}
        assert all(40 <= one.percent < 100 for one in running)
        rig.sandbox.advance(60)
        assert {one.state for one in rig.driver.progress(started.operations)} == {OperationState.DONE}

    def test_many_operations_are_asked_about_in_one_call_and_answered_in_order(self, rig: Rig) -> None:
        resource = rig.resource()
        operations = [one for n in range(20) for one in rig.backup(resource, f"job-{n}").operations]
        rig.sandbox.clear_calls()
        answers = rig.driver.progress(operations[::-1])
        assert [one.external_id for one in answers] == [one.external_id for one in operations[::-1]]
        assert rig.sandbox.count("DescribeSnapshots") == 1

    def test_more_than_two_hundred_take_one_call_for_each_two_hundred(self, rig: Rig) -> None:
        started = rig.clock.timer().isoformat()
        operations = [
            Operation("snapshot", f"snap-{n:017x}", rig.production, HOME, {"started_at": started}) for n in range(450)
        ]
        assert len(rig.driver.progress(operations)) == 450
        assert rig.sandbox.count("DescribeSnapshots", outcome="ok") == 3

    def test_a_kind_from_another_version_spoils_no_answer_about_the_others(self, rig: Rig) -> None:
        known = rig.backup(rig.resource()).operations[0]
        answers = rig.driver.progress([replace(known, kind="teleport", external_id="x"), known])
        assert [one.state for one in answers] == [OperationState.FAILED, OperationState.DONE]

    def test_the_time_to_the_next_question_grows_with_the_age_and_has_an_end(self, rig: Rig) -> None:
        resource = rig.resource()
        rig.sandbox.configure(snapshot_seconds=10_000.0)
        started = rig.backup(resource)
        waits = []
        for _ in range(3):
            waits.append(rig.driver.progress(started.operations)[0].ask_again)
            rig.clock.advance(timedelta(minutes=4))
        assert waits == [rig.pace.floor, timedelta(minutes=4), rig.pace.ceiling]

    def test_what_was_just_made_may_be_missing_and_is_gone_only_after_the_grace(self, rig: Rig) -> None:
        """Feature 31: EC2's descriptions lag behind its creations."""
        resource = rig.resource()
        started = rig.backup(resource)
        rig.sandbox.destroy("111111111111", HOME, *(part.external_id for part in started.parts))
        assert {one.state for one in rig.driver.progress(started.operations)} == {OperationState.RUNNING}
        rig.clock.advance(rig.pace.grace)
        answers = rig.driver.progress(started.operations)
        assert {(one.state, one.error and one.error.code) for one in answers} == {(OperationState.GONE, "gone")}

    def test_a_stale_description_does_not_lose_a_backup(self, rig: Rig) -> None:
        resource = rig.resource()
        rig.sandbox.fault("stale", hide="all", seconds=30, count=1, operation="DescribeSnapshots")
        started = rig.backup(resource)
        rig.sandbox.fault("stale", hide="all", seconds=30, count=1, operation="DescribeSnapshots")
        assert {one.state for one in rig.driver.progress(started.operations)} == {OperationState.RUNNING}
        assert {one.state for one in rig.driver.progress(started.operations)} == {OperationState.DONE}

    def test_a_snapshot_that_the_cloud_failed_is_tried_again(self, rig: Rig) -> None:
        started = rig.backup(rig.resource())
        rig.sandbox.fail("111111111111", HOME, started.parts[0].external_id, message="Internal trouble")
        answer = rig.driver.progress(started.operations)[0]
        assert (answer.state, type(answer.error)) == (OperationState.FAILED, errors.CloudFailed)
        assert "Internal trouble" in str(answer.error)

    def test_a_snapshot_that_failed_over_its_key_is_not_tried_again(self, rig: Rig) -> None:
        started = rig.backup(rig.resource())
        rig.sandbox.fail("111111111111", HOME, started.parts[0].external_id, message="Given key ID is not accessible")
        error = rig.driver.progress(started.operations)[0].error
        assert error is not None
        assert (error.code, error.retry) == ("kms-key", errors.Retry.NEVER)

    def test_a_refused_question_is_an_error_and_not_an_answer(self, rig: Rig) -> None:
        started = rig.backup(rig.resource())
        rig.sandbox.fault("denied", operation="DescribeSnapshots", count=1)
        with pytest.raises(errors.Denied):
            rig.driver.progress(started.operations)


class CopyContract:
    """Copying: begun in the destination, tagged there, resumed part by part, shared before it crosses accounts."""

    def test_a_copy_is_begun_in_the_destination_with_tags_of_its_own(self, rig: Rig) -> None:
        """Feature 11: a point exists in another region."""
        point = rig.taken()
        started = rig.driver.start_copy(point, rig.away(), CopyRequest("copy-1", TAGS))
        calls = rig.sandbox.calls("CopySnapshot")
        assert {(one["region"], one["parameters"]["SourceRegion"]) for one in calls} == {(AWAY, HOME)}
        assert len(calls) == len(point.parts) == len(started.parts)
        assert not any("Encrypted" in one["parameters"] or "KmsKeyId" in one["parameters"] for one in calls)
        made = rig.snapshots(region=AWAY)
        for part, source in zip(started.parts, point.parts, strict=True):
            tags = rig.tags_of(made[part.external_id])
            assert tags.items() >= {**TAGS, TAG_JOB: f"copy-1/{source.external_id}"}.items()
            assert (part.source_id, part.device) == (source.source_id, source.device)
        assert {one.state for one in rig.driver.progress(started.operations)} == {OperationState.DONE}
        assert rig.sandbox.count("ModifySnapshotAttribute") == 0

    def test_a_copy_of_somebody_else_by_now_is_not_begun(self, rig: Rig) -> None:
        point = rig.taken()
        with pytest.raises(errors.FenceLost):
            rig.driver.start_copy(point, rig.away(), CopyRequest("copy-1", TAGS, proceed=overtaken))
        assert rig.sandbox.count("CopySnapshot") == 0

    def test_the_same_copy_again_adopts_and_is_found(self, rig: Rig) -> None:
        point = rig.taken()
        first = rig.driver.start_copy(point, rig.away(), CopyRequest("copy-1", TAGS))
        second = rig.driver.start_copy(point, rig.away(), CopyRequest("copy-1", TAGS))
        assert (first.adopted, second.adopted) == (False, True)
        assert [part.external_id for part in first.parts] == [part.external_id for part in second.parts]
        assert rig.sandbox.count("CopySnapshot") == len(point.parts)
        found = rig.driver.find(rig.production, AWAY, "copy-1")
        assert {one.external_id for one in found} == {part.external_id for part in first.parts}

    def test_a_copy_whose_answer_was_lost_is_adopted(self, rig: Rig) -> None:
        point = rig.taken()
        rig.sandbox.fault("drop_after", operation="CopySnapshot", count=1)
        with pytest.raises(errors.Transient) as caught:
            rig.driver.start_copy(point, rig.away(), CopyRequest("copy-1", TAGS))
        assert caught.value.code == "unknown-effect"
        rig.driver.start_copy(point, rig.away(), CopyRequest("copy-1", TAGS))
        assert len(rig.snapshots(region=AWAY)) == len(point.parts)

    def test_a_full_destination_keeps_what_is_under_way(self, rig: Rig) -> None:
        """Twenty copies may run into a region: the rest waits and burns no attempt, and comes back no sooner than a
        look shows what was begun, or that would be made twice."""
        point = rig.taken()
        rig.sandbox.configure(copies_per_destination=1, copy_seconds=60.0)
        busy = rig.taken("job-busy") if rig.type == "volume" else None
        if busy:
            rig.driver.start_copy(busy, rig.away(), CopyRequest("copy-busy", TAGS))
        with pytest.raises(errors.QuotaReached) as caught:
            rig.driver.start_copy(point, rig.away(), CopyRequest("copy-1", TAGS))
        assert caught.value.retry is errors.Retry.FREE
        assert busy or caught.value.wait >= rig.pace.guard
        assert len(rig.snapshots(region=AWAY)) == 1
        rig.sandbox.configure(copies_per_destination=20)
        rig.driver.start_copy(point, rig.away(), CopyRequest("copy-1", TAGS))
        assert len(rig.snapshots(region=AWAY)) == len(point.parts) + (1 if busy else 0)

    def test_a_key_goes_out_with_encrypted_and_the_copy_lies_under_it(self, rig: Rig) -> None:
        key = rig.sandbox.client("111111111111", AWAY, "kms").create_key()["KeyMetadata"]["Arn"]
        point = rig.taken()
        started = rig.driver.start_copy(point, rig.away(key), CopyRequest("copy-1", TAGS))
        assert {one["KmsKeyId"] for one in rig.snapshots(region=AWAY).values()} == {key}
        assert {(part.encrypted, part.kms_key_id) for part in started.parts} == {(True, key)}

    def test_a_wrong_key_shows_up_as_a_failed_copy(self, rig: Rig) -> None:
        """AWS accepts the call and fails the snapshot later."""
        point = rig.taken()
        strange = f"arn:aws:kms:{AWAY}:111111111111:key/00000000-0000-0000-0000-000000000000"
        started = rig.driver.start_copy(point, rig.away(strange), CopyRequest("copy-1", TAGS))
        answers = rig.driver.progress(started.operations)
        assert {(one.state, one.error and one.error.code) for one in answers} == {(OperationState.FAILED, "kms-key")}

    def test_a_copy_to_another_account_is_shared_first_and_made_by_the_other(self, rig: Rig) -> None:
        """Feature 42: a point exists in another account."""
        point = rig.taken()
        started = rig.driver.start_copy(point, Destination(rig.vault, AWAY), CopyRequest("copy-1", TAGS))
        shares = rig.sandbox.calls("ModifySnapshotAttribute")
        assert {(one["account"], one["region"]) for one in shares} == {("111111111111", HOME)}
        assert {tuple(one["parameters"]["UserIds"]) for one in shares} == {(VAULT,)}
        assert {one["account"] for one in rig.sandbox.calls("CopySnapshot")} == {VAULT}
        assert set(rig.snapshots(rig.vault, AWAY)) == {part.external_id for part in started.parts}
        assert {one.account.number for one in started.operations} == {VAULT}
        assert {one.state for one in rig.driver.progress(started.operations)} == {OperationState.DONE}

    def test_an_account_whose_number_is_unknown_is_asked_for_it(self, rig: Rig) -> None:
        point = rig.taken()
        vault = replace(rig.vault, number="")
        rig.driver.start_copy(point, Destination(vault, AWAY), CopyRequest("copy-1", TAGS))
        assert len(rig.snapshots(rig.vault, AWAY)) == len(point.parts)

    def test_a_point_that_vanished_is_gone(self, rig: Rig) -> None:
        point = rig.taken()
        rig.sandbox.destroy("111111111111", HOME, point.parts[0].external_id)
        with pytest.raises(errors.Gone):
            rig.driver.start_copy(point, rig.away(), CopyRequest("copy-1", TAGS))

    def test_a_share_that_the_other_side_does_not_see_yet_is_waited_for(self, rig: Rig) -> None:
        point = rig.taken()
        unseen = {"code": "InvalidSnapshot.NotFound", "status": 400, "message": "does not exist"}
        rig.sandbox.fault("error", operation="CopySnapshot", count=1, **unseen)
        with pytest.raises(errors.NotReady):
            rig.driver.start_copy(point, Destination(rig.vault, HOME), CopyRequest("copy-1", TAGS))
        assert rig.driver.start_copy(point, Destination(rig.vault, HOME), CopyRequest("copy-1", TAGS)).parts

    def test_a_snapshot_that_is_not_completed_cannot_be_copied_yet(self, rig: Rig) -> None:
        resource = rig.resource()
        rig.sandbox.configure(snapshot_seconds=100.0)
        point = rig.point(resource, rig.backup(resource))
        with pytest.raises(errors.NotReady):
            rig.driver.start_copy(point, rig.away(), CopyRequest("copy-1", TAGS))

    def test_nothing_is_copied_into_a_separate_cloud(self, rig: Rig) -> None:
        point = rig.taken()
        chinese = Destination(rig.production, "cn-north-1")
        assert "separate clouds" in rig.driver.plan_copy_problem(point, chinese)
        with pytest.raises(errors.Impossible):
            rig.driver.start_copy(point, chinese, CopyRequest("copy-1", TAGS))
        assert rig.driver.plan_copy_problem(point, rig.away()) == ""


class DeletionContract:
    """Deleting: only ours, already gone is success, a kept part says why."""

    def test_a_point_is_deleted_once_and_then_already_gone(self, rig: Rig) -> None:
        point = rig.taken()
        first, second = rig.driver.delete([point]), rig.driver.delete([point])
        assert {one.external_id for one in first} == {part.external_id for part in point.parts}
        assert {one.outcome for one in first} == {"deleted"}
        assert {one.outcome for one in second} == {"already-gone"}
        assert not rig.snapshots()

    def test_what_somebody_elses_is_never_deleted(self, rig: Rig) -> None:
        """A row in the catalog is not enough: the object itself must carry our tag."""
        point = rig.taken()
        ids = [part.external_id for part in point.parts]
        rig.sandbox.client("111111111111").delete_tags(Resources=ids, Tags=[{"Key": "snapfleet:installation"}])
        answers = rig.driver.delete([point])
        assert {(one.outcome, one.error and one.error.code) for one in answers} == {("kept", "not-ours")}
        assert rig.sandbox.count("DeleteSnapshot") == 0

    def test_where_deleting_is_not_allowed_the_point_is_tagged_as_outdated(self, rig: Rig) -> None:
        point = rig.taken()
        guarded = replace(point, account=replace(point.account, may_delete=False))
        answers = rig.driver.delete([guarded])
        assert {(one.outcome, one.error and one.error.code) for one in answers} == {("kept", "outdated")}
        assert all(TAG_OUTDATED in rig.tags_of(one) for one in rig.snapshots().values())
        assert rig.sandbox.count("DeleteSnapshot") == 0

    def test_what_is_in_use_is_kept_and_the_others_go(self, rig: Rig) -> None:
        used, free = rig.taken(), rig.taken("job-2")
        held = used.parts[0].external_id
        fault = {"code": "InvalidSnapshot.InUse", "status": 400, "message": "is in use by ami-1"}
        rig.sandbox.fault("error", operation="DeleteSnapshot", resource=held, **fault)
        answers = {one.external_id: one for one in rig.driver.delete([used, free])}
        assert answers[held].outcome == "kept"
        assert isinstance(answers[held].error, errors.InUse)
        assert {one.outcome for name, one in answers.items() if name != held} <= {"deleted"}
        assert set(rig.snapshots()) == {held}

    def test_a_missing_right_keeps_the_point_with_the_reason(self, rig: Rig) -> None:
        point = rig.taken()
        rig.sandbox.fault("denied", operation="DeleteSnapshot")
        answers = rig.driver.delete([point])
        assert all(isinstance(one.error, errors.Denied) and one.outcome == "kept" for one in answers)

    def test_a_deletion_whose_answer_was_lost_is_done(self, rig: Rig) -> None:
        point = rig.taken()
        rig.sandbox.fault("drop_after", operation="DeleteSnapshot", count=1)
        assert {one.outcome for one in rig.driver.delete([point])} <= {"deleted", "already-gone"}
        assert not rig.snapshots()


class EntryContract:
    """Entering accounts: one account's trouble stays its own, and expired credentials are replaced."""

    def test_expired_credentials_are_replaced_by_the_next_attempt(self, rig: Rig) -> None:
        resource = rig.resource()
        rig.sandbox.expire_sessions()
        with pytest.raises(errors.CredentialsExpired):
            rig.backup(resource)
        assert rig.backup(resource).parts

    def test_a_wrong_external_id_shuts_out_that_account_alone(self, rig: Rig) -> None:
        resource = rig.resource()
        rig.sandbox.role(rig.vault.role_arn, external_id="another")
        scope = Scope(rig.vault, HOME, (rig.type,))
        with pytest.raises(errors.CredentialsRefused) as caught:
            rig.driver.discover(scope, None)
        assert "vault-id" not in str(caught.value)
        assert rig.backup(resource).parts

    def test_every_call_is_reported_with_its_outcome(self, rig: Rig) -> None:
        rig.backup(rig.resource())
        seen = {(service, operation, name, code) for service, operation, name, _, code in rig.recorded}
        assert ("ec2", rig.creating(), "production", "ok") in seen
        assert ("sts", "AssumeRole", "production", "ok") in seen

    def test_a_healthy_account_passes_its_checks(self, rig: Rig) -> None:
        rig.taken()
        checks = {one.name: one.outcome for one in rig.driver.check(rig.production, HOME)}
        assert checks["contact"] == "ok"
        assert {checks[f"ec2:{name}"] for name in ("CreateSnapshot", "DeleteSnapshot", "CreateVolume")} == {"ok"}
        assert len(rig.snapshots()) == len(rig.driver.find(rig.production, HOME, "job-1"))

    def test_a_missing_right_is_named_with_what_it_costs(self, rig: Rig) -> None:
        rig.taken()
        rig.sandbox.role(rig.production.role_arn, external_id="production-id", denied=["ec2:CopySnapshot"])
        rig.sandbox.expire_sessions()
        rig.driver.check(rig.production, HOME)
        missing = [one for one in rig.driver.check(rig.production, HOME) if one.outcome == "missing"]
        assert [(one.name, one.text) for one in missing] == [
            ("ec2:CopySnapshot", "Without ec2:CopySnapshot nothing is copied here.")
        ]

    def test_an_account_that_cannot_be_entered_says_only_that(self, rig: Rig) -> None:
        rig.sandbox.role(rig.production.role_arn, external_id="another")
        checks = rig.driver.check(rig.production, HOME)
        assert [(one.name, one.outcome) for one in checks] == [("contact", "missing")]

    def test_a_role_that_leads_elsewhere_is_noticed(self, rig: Rig) -> None:
        lost = replace(rig.production, number="999999999999")
        checks = rig.driver.check(lost, HOME)
        assert (checks[0].outcome, "leads into account 111111111111" in checks[0].text) == ("missing", True)


class DriverContract(BackupContract, ProgressContract, CopyContract, DeletionContract, EntryContract, PresenceContract):
    """All of it."""

"""What a driver of any service keeps, for its own backups and AWS Backup's: bound by a subclass with a fixture `rig`.

The EC2 contract (driver_suite) reads EC2's snapshots; this one asks the same of services with other objects.
"""

from dataclasses import replace
from datetime import timedelta

import pytest

from tasks import errors
from tasks.states import OperationState
from tests.contract.driver_suite import overtaken
from tests.contract.presence_suite import PresenceContract
from tests.contract.rig import AWAY, HOME, PROD, TAGS, VAULT
from tests.contract.service_rig import ServiceRig
from workers.driver import CopyRequest, Destination, Scope


class ServiceBackupContract:
    """Beginning a backup: once, found again, refused in words."""

    def test_the_same_key_again_adopts_what_is_there(self, rig: ServiceRig) -> None:
        """Feature 31: a worker killed between the call and its record makes nothing twice."""
        resource = rig.resource()
        first, second = rig.backup(resource), rig.backup(resource)
        assert (first.adopted, second.adopted) == (False, True)
        assert [one.external_id for one in first.operations] == [one.external_id for one in second.operations]
        assert [part.external_id for part in first.parts] == [part.external_id for part in second.parts]

    def test_another_key_makes_another_backup(self, rig: ServiceRig) -> None:
        resource = rig.resource()
        first, second = rig.finished(rig.backup(resource)), rig.finished(rig.backup(resource, "job-2"))
        assert {part.external_id for part in first.parts}.isdisjoint(part.external_id for part in second.parts)

    def test_when_the_answer_is_lost_the_next_attempt_adopts_what_was_made(self, rig: ServiceRig) -> None:
        resource = rig.resource()
        rig.sandbox.fault("drop_after", operation=rig.creating(), count=1)
        if not rig.tokened:
            with pytest.raises(errors.Transient) as caught:
                rig.backup(resource)
            assert caught.value.code == "unknown-effect"
            assert rig.sandbox.count(rig.creating()) == 1
        first = rig.backup(resource)
        assert first.adopted is not rig.tokened  # with a token the SDK itself may ask again
        found = rig.finished(first)
        assert len(rig.driver.find(rig.production, HOME, "job-1")) == len(found.parts) == 1

    def test_when_the_request_was_lost_the_next_attempt_creates(self, rig: ServiceRig) -> None:
        resource = rig.resource()
        rig.sandbox.fault("drop_before", operation=rig.creating(), count=1)
        if not rig.tokened:
            with pytest.raises(errors.Transient):
                rig.backup(resource)
        assert not rig.backup(resource).adopted

    @pytest.mark.parametrize(
        ("fault", "kind"),
        [
            ({"kind": "throttle"}, errors.Throttled),
            ({"kind": "denied"}, errors.Denied),
            ({"kind": "error", "code": "ServiceLimitExceeded", "status": 400}, errors.QuotaReached),
            ({"kind": "error", "code": "BackupInProgress", "status": 400}, errors.NotReady),
        ],
    )
    def test_a_refused_create_says_what_it_means(self, rig: ServiceRig, fault: dict, kind: type) -> None:
        resource = rig.resource()
        rig.sandbox.fault(operation=rig.creating(), count=10, **fault)
        with pytest.raises(kind):
            rig.backup(resource)
        rig.sandbox.clear_faults()
        rig.backup(resource)

    @pytest.mark.parametrize("fresh", [False, True])
    def test_a_backup_of_somebody_else_by_now_is_not_begun(self, rig: ServiceRig, fresh: bool) -> None:
        with pytest.raises(errors.FenceLost):
            rig.backup(rig.resource(), fresh=fresh, proceed=overtaken)
        assert rig.sandbox.count(rig.creating()) == 0

    def test_what_vanished_since_discovery_is_gone_and_nothing_is_created(self, rig: ServiceRig) -> None:
        resource = rig.resource()
        rig.drop(rig.sandbox, resource.external_id)
        with pytest.raises(errors.Gone):
            rig.backup(resource)
        assert rig.sandbox.count(rig.creating(), outcome="ok") == 0

    def test_everything_under_a_key_is_found(self, rig: ServiceRig) -> None:
        started = rig.finished(rig.backup(rig.resource()))
        found = rig.driver.find(rig.production, HOME, "job-1")
        assert {one.external_id for one in found} == {part.external_id for part in started.parts}
        assert {one.state for one in found} == {OperationState.DONE}
        assert rig.driver.find(rig.production, HOME, "job-2") == []

    def test_every_call_is_reported_with_its_outcome(self, rig: ServiceRig) -> None:
        rig.backup(rig.resource())
        seen = {(operation, name, code) for _, operation, name, _, code in rig.recorded}
        assert {(rig.creating(), "production", "ok"), ("AssumeRole", "production", "ok")} <= seen

    def test_a_wrong_external_id_shuts_out_that_account_alone(self, rig: ServiceRig) -> None:
        resource = rig.resource()
        rig.sandbox.role(rig.vault.role_arn, external_id="another")
        with pytest.raises(errors.CredentialsRefused):
            rig.driver.discover(Scope(rig.vault, HOME, (rig.type,)), None)
        assert rig.backup(resource).operations

    def test_a_healthy_account_passes_its_checks_and_a_missing_right_says_what_it_costs(self, rig: ServiceRig) -> None:
        """Feature 93."""
        checks = rig.driver.check(rig.production, HOME)
        assert {one.outcome for one in checks} == {"ok"}, checks
        lost = checks[1].name
        rig.sandbox.role(rig.production.role_arn, external_id="production-id", denied=[lost])
        rig.sandbox.expire_sessions()
        rig.driver.check(rig.production, HOME)
        missing = [one for one in rig.driver.check(rig.production, HOME) if one.outcome == "missing"]
        assert [one.name for one in missing] == [lost]
        assert missing[0].text.startswith(f"Without {lost} ")


class ServiceProgressContract:
    """Following: many in few calls, patient with what is not listed yet, good only when the cloud says so."""

    def test_only_the_clouds_word_means_done(self, rig: ServiceRig) -> None:
        resource = rig.resource()
        rig.sandbox.configure(backup_seconds=100.0)
        started = rig.backup(resource)
        rig.sandbox.advance(50)
        assert {one.state for one in rig.driver.progress(started.operations)} == {OperationState.RUNNING}
        rig.sandbox.advance(60)
        assert {one.state for one in rig.driver.progress(started.operations)} == {OperationState.DONE}

    def test_many_operations_are_asked_about_in_few_calls_and_answered_in_order(self, rig: ServiceRig) -> None:
        resource = rig.resource()
        operations = [one for n in range(12) for one in rig.backup(resource, f"job-{n}").operations]
        rig.sandbox.clear_calls()
        answers = rig.driver.progress(operations[::-1])
        assert [one.external_id for one in answers] == [one.external_id for one in operations[::-1]]
        assert {one.state for one in answers} == {OperationState.DONE}
        assert rig.sandbox.count(rig.ways["read"]) == 1
        assert sum(1 for call in rig.sandbox.calls() if call["operation"] != "AssumeRole") == 1

    def test_what_was_just_begun_may_be_missing_and_is_gone_only_after_the_grace(self, rig: ServiceRig) -> None:
        """Feature 31: descriptions lag behind creations."""
        known = rig.one(rig.backup(rig.resource()))
        strange = replace(known, external_id=rig.ways["strange"])
        assert rig.driver.progress([strange])[0].state is OperationState.RUNNING
        rig.clock.advance(rig.pace.grace)
        answer = rig.driver.progress([strange, known])
        assert [one.state for one in answer] == [OperationState.GONE, OperationState.DONE]

    def test_a_stale_description_loses_no_backup(self, rig: ServiceRig) -> None:
        """What a list does not show yet is waited for, or asked about by its id: it is neither gone nor failed."""
        started = rig.backup(rig.resource())
        rig.sandbox.fault("stale", hide="all", seconds=30, operation=rig.ways["read"])
        answer = rig.driver.progress(started.operations)[0]
        assert answer.state in (OperationState.RUNNING, OperationState.DONE), answer
        rig.sandbox.clear_faults()
        assert rig.driver.progress(started.operations)[0].state is OperationState.DONE

    def test_the_time_to_the_next_question_grows_with_the_age(self, rig: ServiceRig) -> None:
        resource = rig.resource()
        rig.sandbox.configure(backup_seconds=100_000.0)
        started = rig.backup(resource)
        waits = []
        for _ in range(3):
            waits.append(rig.driver.progress(started.operations)[0].ask_again)
            rig.clock.advance(timedelta(minutes=4))
        assert waits == [rig.pace.floor, timedelta(minutes=4), rig.pace.ceiling]

    def test_a_kind_from_another_version_spoils_no_answer_about_the_others(self, rig: ServiceRig) -> None:
        known = rig.one(rig.backup(rig.resource()))
        answers = rig.driver.progress([replace(known, kind="teleport", external_id="x"), known])
        assert [one.state for one in answers] == [OperationState.FAILED, OperationState.DONE]

    def test_a_refused_question_is_an_error_and_not_an_answer(self, rig: ServiceRig) -> None:
        started = rig.backup(rig.resource())
        rig.sandbox.fault("denied")
        with pytest.raises(errors.Denied):
            rig.driver.progress(started.operations)


class ServiceDeletionContract:
    """Deleting: only ours, already gone is success, a kept part says why."""

    def test_a_point_is_deleted_once_and_then_already_gone(self, rig: ServiceRig) -> None:
        point = rig.taken()
        first, second = rig.driver.delete([point]), rig.driver.delete([point])
        assert {one.external_id for one in first} == {part.external_id for part in point.parts}
        assert {one.outcome for one in first} == {"deleted"}
        assert {one.outcome for one in second} == {"already-gone"}
        assert rig.driver.find(rig.production, HOME, "job-1") == []

    def test_where_deleting_is_not_allowed_nothing_is_deleted(self, rig: ServiceRig) -> None:
        point = rig.taken()
        guarded = replace(point, account=replace(point.account, may_delete=False))
        answers = rig.driver.delete([guarded])
        assert {(one.outcome, one.error and one.error.code) for one in answers} == {("kept", "outdated")}
        assert rig.sandbox.count(rig.ways["delete"]) == 0

    def test_a_missing_right_keeps_the_point_with_the_reason(self, rig: ServiceRig) -> None:
        point = rig.taken()
        rig.sandbox.fault("denied", operation=rig.ways["delete"])
        answers = rig.driver.delete([point])
        assert all(isinstance(one.error, errors.Denied) and one.outcome == "kept" for one in answers)

    def test_what_is_in_use_is_kept_and_the_others_go(self, rig: ServiceRig) -> None:
        used, free = rig.taken(), rig.taken("job-2")
        rig.sandbox.fault("error", operation=rig.ways["delete"], count=1, code="BackupInUseException", status=400)
        answers = rig.driver.delete([used, free])
        assert [one.outcome for one in answers] == ["kept", "deleted"]
        assert isinstance(answers[0].error, errors.InUse)

    def test_a_deletion_whose_answer_was_lost_is_done(self, rig: ServiceRig) -> None:
        point = rig.taken()
        rig.sandbox.fault("drop_after", operation=rig.ways["delete"], count=1)
        assert {one.outcome for one in rig.driver.delete([point])} <= {"deleted", "already-gone"}
        assert rig.driver.find(rig.production, HOME, "job-1") == []


class VaultCopyContract:
    """Copying between vaults: begun in the source, followed there, deleted in the destination."""

    def test_a_copy_to_another_region_is_begun_in_its_source(self, rig: ServiceRig) -> None:
        """Feature 42."""
        point = rig.taken()
        started = rig.driver.start_copy(point, rig.away(), CopyRequest("copy-1", TAGS))
        sent = rig.sandbox.calls("StartCopyJob")
        assert [(one["account"], one["region"]) for one in sent] == [(PROD, HOME)]
        assert sent[0]["parameters"]["Lifecycle"] == {"DeleteAfterDays": 36500}
        assert sent[0]["parameters"]["IdempotencyToken"]
        assert {(one.account.number, one.region) for one in started.operations} == {(PROD, HOME)}
        there = rig.copied(point, rig.away())
        assert f":{AWAY}:{PROD}:" in there.parts[0].external_id
        assert there.parts[0].source_id == point.parts[0].source_id

    def test_the_same_copy_again_adopts(self, rig: ServiceRig) -> None:
        point = rig.taken()
        first = rig.driver.start_copy(point, rig.away(), CopyRequest("copy-1", TAGS))
        second = rig.driver.start_copy(point, rig.away(), CopyRequest("copy-1", TAGS))
        assert (first.adopted, second.adopted) == (False, True)
        assert rig.one(first).external_id == rig.one(second).external_id

    def test_a_copy_of_somebody_else_by_now_is_not_begun(self, rig: ServiceRig) -> None:
        point = rig.taken()
        with pytest.raises(errors.FenceLost):
            rig.driver.start_copy(point, rig.away(), CopyRequest("copy-1", TAGS, proceed=overtaken))
        assert rig.sandbox.count("StartCopyJob") == 0

    def test_a_vault_is_opened_to_the_account_that_copies_into_it_once(self, rig: ServiceRig) -> None:
        """Feature 46: the vault, its key and its policy."""
        point, key = rig.taken(), rig.shared_key(VAULT, AWAY)
        there = rig.copied(point, Destination(rig.vault, AWAY, key))
        assert f":{AWAY}:{VAULT}:" in there.parts[0].external_id
        assert rig.parameters("CreateBackupVault")["EncryptionKeyArn"] == key
        rig.copied(point, Destination(rig.vault, AWAY, key), "copy-2")
        assert rig.sandbox.count("PutBackupVaultAccessPolicy") == 1
        policy = rig.sandbox.client(VAULT, AWAY, "backup").get_backup_vault_access_policy(BackupVaultName="snapfleet")
        assert f"arn:aws:iam::{PROD}:root" in policy["Policy"]

    def test_a_copy_is_deleted_in_the_account_that_has_it(self, rig: ServiceRig) -> None:
        there = rig.copied(rig.taken(), Destination(rig.vault, AWAY, rig.shared_key(VAULT, AWAY)))
        assert [one.outcome for one in rig.driver.delete([there])] == ["deleted"]
        assert [one.outcome for one in rig.driver.delete([there])] == ["already-gone"]

    def test_a_copy_outside_the_organization_fails_for_good_with_the_reason(self, rig: ServiceRig) -> None:
        point = rig.taken()
        rig.sandbox.configure(organization=[PROD])
        to = Destination(rig.vault, AWAY, rig.shared_key(VAULT, AWAY))
        started = rig.driver.start_copy(point, to, CopyRequest("copy-1", TAGS))
        answer = rig.driver.progress(started.operations)[0]
        assert answer.state is OperationState.FAILED
        assert answer.error is not None
        assert answer.error.retry is errors.Retry.NEVER
        assert "same organization" in answer.error.text

    def test_nothing_is_copied_into_a_separate_cloud(self, rig: ServiceRig) -> None:
        point = rig.taken()
        chinese = Destination(rig.production, "cn-north-1")
        assert "separate clouds" in rig.driver.plan_copy_problem(point, chinese)
        with pytest.raises(errors.Impossible):
            rig.driver.start_copy(point, chinese, CopyRequest("copy-1", TAGS))

    def test_a_deletion_that_aws_took_and_did_not_do_is_kept_with_the_reason(self, rig: ServiceRig) -> None:
        """DeleteRecoveryPoint answers with success, and the point becomes EXPIRED."""
        point = rig.taken()
        role = f"arn:aws:iam::{PROD}:role/service-role/AWSBackupDefaultServiceRole"
        rig.sandbox.role(role, denied=["backup:DeleteRecoveryPoint"])
        answers = rig.driver.delete([point])
        assert [(one.outcome, one.error and one.error.code) for one in answers] == [("kept", "not-deleted")]

    def test_a_point_without_our_tag_is_not_deleted(self, rig: ServiceRig) -> None:
        point = rig.taken()
        arn = point.parts[0].external_id
        if ":fsx:" in arn:
            fsx = rig.sandbox.client(PROD, HOME, "fsx")
            fsx.untag_resource(ResourceARN=arn, TagKeys=["snapfleet:installation"])
        else:
            backup = rig.sandbox.client(PROD, HOME, "backup")
            backup.untag_resource(ResourceArn=arn, TagKeyList=["snapfleet:installation"])
        answers = rig.driver.delete([point])
        assert [(one.outcome, one.error and one.error.code) for one in answers] == [("kept", "not-ours")]

    def test_many_copies_are_asked_about_in_one_call(self, rig: ServiceRig) -> None:
        points = [rig.taken(f"job-{n}") for n in range(5)]
        begun = [
            rig.one(rig.driver.start_copy(point, rig.away(), CopyRequest(f"copy-{n}", TAGS)))
            for n, point in enumerate(points)
        ]
        rig.sandbox.clear_calls()
        assert {one.state for one in rig.driver.progress(begun)} == {OperationState.DONE}
        assert rig.sandbox.count("ListCopyJobs") == 1


class ServiceContract(ServiceBackupContract, ServiceProgressContract, ServiceDeletionContract, PresenceContract):
    """A service's own backups."""


class VaultContract(ServiceContract, VaultCopyContract):
    """Backups through AWS Backup, with copies."""

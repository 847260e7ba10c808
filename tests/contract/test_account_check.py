"""What `snapfleet account check` is told: tried where that harms nobody, asked of IAM for the rest."""

from dataclasses import replace

import pytest

from tasks.resources import TYPES
from tasks.resources.repository import rights_of
from tasks.resources.rights import CHECK_ACTIONS, granted
from tests.contract.journeys import as_duty
from tests.contract.rig import HOME, Rig
from tests.contract.test_dynamodb_driver import native
from tests.contract.test_volume_driver import make_volume
from tests.sandbox import Sandbox
from workers.driver import Check


def allow(rig: Rig, duty: str, *actions: str, denied: tuple[str, ...] = ()) -> None:
    account = as_duty(rig.production, duty)
    external = account.external_id.reveal()
    rig.sandbox.role(account.role_arn, external_id=external, allowed=list(actions), denied=list(denied))


def checked(rig: Rig, duty: str) -> dict[str, Check]:
    return {one.name: one for one in rig.driver.check(as_duty(rig.production, duty), HOME)}


def test_a_missing_action_names_the_features_that_stop_working(cloud: Sandbox) -> None:
    """Feature 93: also those that no harmless read can prove."""
    rig = native(cloud)
    wanted = set(granted([TYPES["dynamodb"]], "restore"))
    allow(rig, "restore", *(wanted - {"dynamodb:RestoreTableFromBackup"}))
    found = checked(rig, "restore")
    missing = [one for one in found.values() if one.outcome == "missing"]
    assert [one.name for one in missing] == ["dynamodb:RestoreTableFromBackup"]
    assert missing[0].text == "Without dynamodb:RestoreTableFromBackup this does not work: restore (dynamodb)."
    assert set(found) == {"contact", *(wanted - set(CHECK_ACTIONS))}


def test_a_role_is_asked_for_its_own_duty_alone(cloud: Sandbox) -> None:
    """Feature 93: that a role that backs up cannot delete is as it should be."""
    rig = native(cloud)
    allow(rig, "snapshot", *granted([TYPES["dynamodb"]], "snapshot"))
    found = checked(rig, "snapshot")
    assert {one.outcome for one in found.values()} == {"ok"}
    assert "dynamodb:DeleteBackup" not in found


def test_without_the_right_to_ask_iam_what_was_not_tried_is_unknown(cloud: Sandbox) -> None:
    """Feature 93: unknown is not missing."""
    rig = native(cloud)
    allow(rig, "cleanup", "*", denied=("iam:SimulatePrincipalPolicy",))
    found = checked(rig, "cleanup")
    assert found["dynamodb:DeleteBackup"].outcome == "unknown"
    assert "iam:SimulatePrincipalPolicy" in found["dynamodb:DeleteBackup"].text
    assert not [one for one in found.values() if one.outcome == "missing"]


@pytest.mark.parametrize("duty", ["snapshot", "cleanup", "restore"])
def test_ec2_tries_by_dry_run_what_it_can_and_asks_for_the_rest(cloud: Sandbox, duty: str) -> None:
    """Feature 93: no volume here to try anything on, and still every answer is known."""
    rig = Rig(cloud, "volume", make_volume)
    allow(rig, duty, *granted([TYPES["instance"], TYPES["volume"]], duty))
    found = checked(rig, duty)
    assert {one.outcome for one in found.values()} == {"ok"}, found
    make_volume(cloud)
    assert {one.outcome for one in checked(rig, duty).values()} == {"ok"}
    assert cloud.count("CreateSnapshot", outcome="ok") == 0


def test_a_denied_deletion_is_found_without_deleting(cloud: Sandbox) -> None:
    """Feature 93."""
    rig = Rig(cloud, "volume", make_volume)
    allow(rig, "cleanup", "*", denied=("ec2:DeleteSnapshot",))
    resource = rig.resource()
    rig.backup(resource)
    found = checked(rig, "cleanup")
    assert found["ec2:DeleteSnapshot"].outcome == "missing"
    assert len(rig.snapshots()) == 1
    mine = replace(as_duty(rig.production, "cleanup"), duties=("snapshot", "cleanup", "restore"))
    assert {one.name for one in rig.driver.check(mine, HOME)} > set(found)


def test_where_nothing_may_be_deleted_the_right_to_is_not_asked_for(cloud: Sandbox) -> None:
    rig = native(cloud)
    allow(rig, "cleanup", "*", denied=("dynamodb:Delete*", "backup:Delete*"))
    guarded = replace(as_duty(rig.production, "cleanup"), may_delete=False)
    assert {one.outcome for one in rig.driver.check(guarded, HOME)} == {"ok"}


def test_rights_on_a_repositorys_bucket_are_asked_for_by_its_name(cloud: Sandbox) -> None:
    """Feature 93, feature C20: without the right to read locks a locked object looks free."""
    spec = {"url": "s3://safe/cold", "region": HOME, "lock": "30d"}
    wanted = {action for some in rights_of(spec).values() for action in some}
    rights = (*CHECK_ACTIONS, *(wanted - {"s3:GetObjectRetention"}))
    allow(Rig(cloud, "volume", make_volume), "snapshot", *rights)

    def found() -> dict[str, Check]:
        rig = Rig(cloud, "volume", make_volume)
        return {
            one.name: one for one in rig.driver.blocks.check(as_duty(rig.production, "snapshot"), HOME, "cold", spec)
        }

    missing = [one for one in found().values() if one.outcome != "ok"]
    assert set(found()) == wanted
    assert [(one.name, one.outcome, "the repository cold: locks are not seen" in one.text) for one in missing] == [
        ("s3:GetObjectRetention", "missing", True)
    ]
    asked = cloud.calls("SimulatePrincipalPolicy")[-1]["parameters"]["ResourceArns"]
    assert asked == ["arn:aws:s3:::safe/cold/snapfleet-check"]
    allow(Rig(cloud, "volume", make_volume), "snapshot", "*", denied=("iam:SimulatePrincipalPolicy",))
    assert {one.outcome for one in found().values()} == {"unknown"}

"""Azure's limits, met by the drivers: rates that answers tell, paces of the fleet, what a refusal leaves behind."""

from datetime import timedelta

import pytest

from tasks import errors
from tasks.states import OperationState
from tests.azure import AzureRig
from workers.allowance import SPENT

DONE = OperationState.DONE


def test_a_limit_that_leaves_a_failed_snapshot_behind_is_cleaned_up_after(azure: AzureRig) -> None:
    """Users' issues: the refusal for the cap can leave a snapshot in state Failed, which counts against the cap."""
    disk = azure.resource("az-web-1-0")
    wish = {"code": "SnapshotsLimitReached", "leaves_failed": True}
    azure.cloud.fault("error", method="PUT", type="snapshots", **wish)
    with pytest.raises(errors.QuotaReached):
        azure.backup(disk)
    assert azure.snapshots() == []
    started = azure.backup(disk)
    assert azure.states(started.operations) == {DONE}
    assert len(azure.snapshots()) == 1


def test_a_failed_snapshot_that_could_not_be_deleted_at_once_goes_before_the_next_attempt(azure: AzureRig) -> None:
    disk = azure.resource("az-web-1-0")
    azure.cloud.fault("error", method="PUT", type="snapshots", code="SnapshotsLimitReached", leaves_failed=True)
    azure.cloud.fault("internal", method="DELETE", type="snapshots")
    with pytest.raises(errors.QuotaReached):
        azure.backup(disk, fresh=True)
    assert len(azure.snapshots()) == 1
    with pytest.raises(errors.NotReady) as caught:
        azure.backup(disk)
    assert caught.value.code == "deleting"
    assert azure.states(azure.backup(disk).operations) == {DONE}


def test_the_rates_that_answers_tell_are_kept_and_the_last_part_is_not_used(azure: AzureRig) -> None:
    """Feature 31: ten writes are allowed; the eleventh is not sent, so nothing is ever refused."""
    azure.cloud.ask("POST", "config", {"writes_per_3_minutes": 10})
    resources = [azure.resource(name) for name in ("az-web-1-0", "az-web-1-1", "az-db-1-0", "az-db-1-1")]
    sent = 0
    with pytest.raises(errors.Throttled) as caught:
        for number in range(12):
            azure.backup(resources[number % 4], f"job-{number}", fresh=True)
            sent += 1
    assert caught.value.code == SPENT, "what Azure was not asked for counts as no refusal of it"
    assert (sent, azure.cloud.count("PUT snapshots"), azure.cloud.count("metered", "throttled")) == (10, 10, 0)
    assert timedelta(0) < caught.value.wait <= timedelta(minutes=3)
    azure.cloud.ask("POST", "config", {"writes_per_3_minutes": 1000})


def test_the_fleets_paces_are_asked_before_each_call_and_told_of_each_throttle(azure: AzureRig) -> None:
    asked: list[tuple[str, ...]] = []

    class Fleet:
        def take(self, *call: str) -> None:
            asked.append(("take", *call))

        def throttled(self, *call: str) -> None:
            asked.append(("throttled", *call))

    disk = azure.resource("az-web-1-0")
    driver = azure.another(budget=Fleet())
    azure.cloud.fault("throttle", method="PUT", type="snapshots", retry_after=300)
    with pytest.raises(errors.Throttled):
        azure.backup(disk, driver=driver, fresh=True)
    place = ("azure-compute", "put-snapshots", "az", "westeurope")
    assert asked[-2:] == [("take", *place), ("throttled", *place)]

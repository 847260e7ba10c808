"""What a restore or a backup made in Azure goes only when this installation made it, and what an undo takes only when
that restore did: names are used again, and several installations may work in one subscription (feature 66)."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from deploy.sandbox.azure import seed
from tasks.states import OperationState
from tests.azure import TAGS, AzureRig
from tests.contract.azure_sql_rig import SqlRig
from tests.contract.test_azure_restore_points import taken, whole
from workers.driver import TAG_INSTALLATION, TAG_JOB, Account, Created, Deleted, Driver, RestoreStep

Made = tuple[Driver, Created]


def a_disk(azure: AzureRig) -> Made:
    disk = azure.resource("az-web-1-0")
    point = azure.point(disk, azure.backup(disk))
    params = {"group": seed.GROUP, "name": "back", "snapshot_id": point.parts[0].external_id, "size_gib": 2}
    made = azure.driver.start_restore(point, RestoreStep("azure-create-disk", params), "abc-0", TAGS)
    return azure.driver, made.created[0]


def a_database(azure: AzureRig) -> Made:
    rig = SqlRig(azure)
    return rig.driver, rig.restore(rig.point(rig.backup()), "abc-0").created[0]


def account(azure: AzureRig, installation: str) -> Account:
    return replace(azure.account, installation=installation)


def code(answer: Deleted) -> str:
    return answer.error.code if answer.error else answer.outcome


@pytest.mark.parametrize("make", [a_disk, a_database])
def test_an_undo_leaves_what_another_installation_or_another_restore_made(
    azure: AzureRig, make: Callable[[AzureRig], Made]
) -> None:
    driver, made = make(azure)

    def undo(installation: str, *keys: str) -> Deleted:
        (answer,) = driver.undo_restore(account(azure, installation), seed.HOME, [replace(made, keys=keys)])
        return answer

    assert code(undo("another", "abc")) == "not-ours"
    assert code(undo("it", "xyz", "ab")) == "not-ours"
    assert code(undo("it", "xyz", "abc")) == "deleting"
    assert code(undo("it", "abc")) == "already-gone"


def test_a_staging_copy_of_another_installation_is_left_alone(azure: AzureRig) -> None:
    rig = SqlRig(azure)
    rig.account = account(azure, "it")
    mine = replace(rig.resource(), account=rig.account)
    started = rig.exported(resource=mine)
    staging = started.parts[0].attributes["staging"]
    rig.cloud.change(staging, tags={TAG_INSTALLATION: "another", TAG_JOB: "job-1"})
    answer = rig.follow(started.operations)
    assert answer.state is OperationState.FAILED
    assert "is not this job's" in str(answer.error)
    assert staging.rsplit("/", 1)[1] in rig.names()


def test_a_restore_point_in_a_collection_of_another_installation_is_kept(azure: AzureRig) -> None:
    point = whole(azure, taken(azure))
    theirs: Any = replace(point, account=account(azure, "another"))
    assert {code(one) for one in azure.driver.delete([theirs])} == {"not-ours"}
    assert len(azure.cloud.things("restorePoints")) == 1


def test_a_look_for_forgotten_access_leaves_that_of_another_installation(azure: AzureRig) -> None:
    disk = azure.resource("az-web-1-0")
    started = azure.backup(disk)
    driver: Any = azure.driver
    driver.blocks._access(driver._at(azure.account), started.parts[0].external_id).address()
    assert driver.shut_forgotten(account(azure, "another"), seed.HOME, frozenset()) == []
    assert driver.shut_forgotten(account(azure, "it"), seed.HOME, frozenset()) == [started.parts[0].external_id]

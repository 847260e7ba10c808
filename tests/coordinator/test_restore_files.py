"""Plans of restores from an archive into files: what a dry run shows."""

from dataclasses import replace
from typing import Any

import pytest

from coordinator.restore import plan_restore, render
from coordinator.restore_facts import PartFacts, PointFacts, RestoreRequest
from tasks.errors import Invalid

pytestmark = pytest.mark.unit

POINT = PointFacts(
    id="rp-7",
    type="instance",
    resource_id="i-1",
    resource_name="../../etc/cron.d/x",
    account="prod",
    region="us-east-1",
    repository="cold",
    parts=(
        PartFacts("1" * 32, "vol-1", "/dev/sda1", 8, tags={"Name": "/etc/passwd"}),
        PartFacts("2" * 32, "vol-2", "/dev/sdf", 64),
    ),
)


def test_each_volume_becomes_a_file_and_nothing_of_the_cloud_names_it() -> None:
    """feature 82: what would be written and its size; names and tags of a cloud are in no parameter."""
    plan = plan_restore(POINT, RestoreRequest(kind="file"))
    assert [(step.kind, dict(step.params)) for step in plan.steps] == [
        ("restore-file", {"repository": "cold", "generation": "1" * 32, "volume": "vol-1", "size_gib": 8}),
        ("restore-file", {"repository": "cold", "generation": "2" * 32, "volume": "vol-2", "size_gib": 64}),
    ]
    assert (plan.estimate["volumes"], plan.estimate["size_gib"], plan.estimate["interrupts"]) == (2, 72, False)
    assert "SNAPFLEET_RESTORE_FOLDER" in render(plan)[0]
    (one,) = plan_restore(POINT, RestoreRequest(kind="file", volumes=("/dev/sdf",))).steps
    assert one.params["volume"] == "vol-2"


@pytest.mark.parametrize("wish", [{"zone": "us-east-1a"}, {"account": "prod"}, {"settings": {"name": "x"}}])
def test_options_of_what_is_made_in_a_cloud_are_refused(wish: dict[str, Any]) -> None:
    with pytest.raises(Invalid, match=r"not for files; --volume"):
        plan_restore(POINT, RestoreRequest.from_json({"kind": "file", **wish}))


@pytest.mark.parametrize("kind", ["instance", "azure-vm", "rds"])
def test_only_an_archive_is_restored_to_files(kind: str) -> None:
    with pytest.raises(Invalid, match="Only an archive"):
        plan_restore(replace(POINT, type=kind, repository=""), RestoreRequest(kind="file"))

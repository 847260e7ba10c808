"""Sixty nights of a hundred volumes, one of which cannot be backed up any more after a while."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tasks.errors import Denied
from tasks.states import PointState, RunState
from tests.coordinator.house import DAY, HOUR, MINUTE, NIGHTLY, START, House
from tests.fakes.driver import FakeDriver
from workers import driver

# About a minute of one core: the one long story outside the crash tests.
pytestmark = pytest.mark.timeout(600)

NIGHTS, VOLUMES, GENERATIONS = 60, 100, 3
SICK, SICK_FROM = "vol-prod-017", 20


class SickDriver(FakeDriver):
    """A cloud in which one volume cannot be backed up any more once `sick` is set."""

    sick = ""

    def start_backup(self, resource: driver.Resource, request: driver.BackupRequest) -> driver.Started:
        if resource.external_id == self.sick:
            raise Denied("You are not authorized to use the volume's key.")
        return super().start_backup(resource, request)


def test_one_sick_volume_keeps_its_last_good_point_and_freezes_nobody_elses_retention(
    embedded_catalog: str, tmp_path: Path
) -> None:
    """feature C1: through real coordinators, workers and cleanups, with a clock that moves and a cloud that is a file.

    The others stay at their generations; of the sick one every good point that the rule wants stays too, since
    attempts that failed push out nothing; and all its nights are one alert.
    """
    house = House(tmp_path)
    cloud = SickDriver(house.cloud)
    house.context.drivers.update(instance=cloud, volume=cloud)  # type: ignore[attr-defined]
    house.account()
    house.policy(schedules=[NIGHTLY], generations=GENERATIONS, retries={"attempts": 1, "wait": "1m"})
    house.volumes(VOLUMES)
    for night in range(NIGHTS):
        cloud.sick = SICK if night >= SICK_FROM else ""
        house.clock.advance(START + 13 * HOUR + night * DAY - house.clock.timer())
        house.work(4 * MINUTE, MINUTE)
    house.work(20 * MINUTE, 5 * MINUTE)

    kept = Counter(point.resource_id for point in house.points())
    assert sorted(kept.values()) == [GENERATIONS] * VOLUMES
    (sick,) = {point.resource_id for point in house.points(state=PointState.FAILED)}
    newest = max(point.taken_at for point in house.points() if point.resource_id == sick)
    assert newest.date() == (START + 13 * HOUR + (SICK_FROM - 1) * DAY).date()
    assert len(house.cloud.of_kind("snapshot")) == GENERATIONS * VOLUMES
    states: Any = [run.state for run in house.runs()]
    assert states == [RunState.DONE] * SICK_FROM + [RunState.PARTIAL] * (NIGHTS - SICK_FROM)
    alerts = [alert for alert in house.alerts() if alert.cleared_at is None]
    assert [alert.key for alert in alerts if alert.key.startswith("target-failing:")] == [
        f"target-failing:gold/prod/us-east-1/{SICK}"
    ]
    assert [alert.key for alert in house.alerts("brake:")] == []

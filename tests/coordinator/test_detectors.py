"""Detectors find what looks protected and is not; each fires, and clears by itself."""

from datetime import timedelta
from typing import Any

import pytest

from coordinator.alerts import evaluate
from coordinator.detectors import NEVER_AFTER, PAUSED_AFTER, Coverage, Doubts, detect
from tasks.catalog import Alert, Part, Point, Policy, PolicySchedule, Resource, session
from tests.coordinator.test_alerts import AT, HOUR, MINUTE, Estate


@pytest.fixture
def estate(catalog: str) -> Estate:
    with session():
        return Estate()


def look(estate: Estate, after: timedelta = MINUTE) -> set[str]:
    """The open alerts of an evaluation some time later; detectors look once a minute."""
    estate.clock.advance(after)
    with session():
        evaluate(estate.clock)
        return {alert.key for alert in Alert.select().where(Alert.open_key.is_null(False))}


def test_a_policy_whose_first_slot_passed_without_a_run_is_told_until_it_runs(estate: Estate) -> None:
    """Feature C6: never ran."""
    with session():
        PolicySchedule.update(next_slot_at=AT, next_start_at=AT).execute()
    assert look(estate, NEVER_AFTER) == set()
    assert look(estate) == {"never-ran:web"}
    with session():
        estate.run(AT, {estate.volume("vol-a"): "done"})
    assert look(estate) == set()


def test_a_policy_that_was_disabled_and_forgotten_is_told_until_it_is_enabled(estate: Estate) -> None:
    """Feature C6: paused too long; seven days from the last change."""
    with session():
        Policy.update(enabled=False).execute()
    assert look(estate, PAUSED_AFTER) == set()
    assert look(estate) == {"paused-too-long:web"}
    with session():
        Policy.update(enabled=True).execute()
    assert look(estate) == set()


@pytest.mark.parametrize("later", [4, 7])
def test_a_run_with_far_fewer_targets_is_told_until_a_run_is_back_or_as_large(estate: Estate, later: int) -> None:
    """Feature C6: coverage dropped; a fifth less is no drop yet, and a manual run of one resource is none."""
    with session():
        volumes = [estate.volume(f"vol-{number}") for number in range(10)]

    def run(minute: int, count: int, **columns: Any) -> set[str]:
        with session():
            estate.run(AT + minute * MINUTE, dict.fromkeys(volumes[:count], "done"), **columns)
        return look(estate)

    assert run(0, 10) == run(1, 8) == set()
    assert run(2, 1, trigger="manual", only=["vol-0"]) == set()
    assert run(3, 4) == {"coverage-dropped:web"}
    assert run(4, later) == set()


@pytest.mark.parametrize("without", ["parts", "size"])
def test_a_newest_point_without_data_is_told_until_a_newer_one_has_some(estate: Estate, without: str) -> None:
    """Feature C6: zero data; an older point with data hides nothing."""
    with session():
        volume = estate.volume("vol-a")
        estate.run(AT - HOUR, {volume: "done"})
        run = estate.run(AT, {volume: "done"})
        point = Point.get(Point.run == run)
        if without == "parts":
            Part.delete().where(Part.point == point.id).execute()
        else:
            Point.update(size_gib=0).where(Point.id == point.id).execute()
    assert look(estate) == {"zero-data:web"}
    with session():
        estate.run(AT + MINUTE, {volume: "done"})
    assert look(estate) == set()


def test_points_with_warnings_are_one_alert_of_their_policy_until_newer_ones_have_none(estate: Estate) -> None:
    """Feature C6: completed with warnings, for information; one alert for both targets."""
    with session():
        both = {estate.volume("vol-a"): "done", estate.volume("vol-b"): "done"}
        estate.run(AT, both)
        Point.update(warnings=["The machine was not quiet."]).execute()
    assert look(estate) == {"completed-with-warnings:web"}
    with session():
        alert = Alert.get()
        assert (alert.severity, alert.detail["targets"]) == ("info", 2)
        estate.run(AT + MINUTE, both)
    assert look(estate) == set()


@pytest.mark.unit
@pytest.mark.parametrize(("targets", "before", "told"), [(79, 100, 1), (80, 100, 0), (0, 1, 1), (0, 0, 0), (5, 4, 0)])
def test_fewer_than_four_fifths_of_the_targets_is_a_drop(targets: int, before: int, told: int) -> None:
    """Feature C6: the border of the rule."""
    assert len(detect(Doubts(coverage=[Coverage("web", 9, targets, before)]), AT)) == told


def test_tags_that_may_not_be_read_are_told_of_a_policy_that_would_choose_by_them(estate: Estate) -> None:
    """Feature C6: what was tagged since the right was lost is not protected; another account's is none of its."""
    with session():
        estate.bucket("data", tags={"backup": "gold"}, unread=["tags"])
        estate.bucket("seen", tags={"backup": "gold"})
        estate.bucket("half", unread=["encryption"])
    assert look(estate) == set()  # the policy means no buckets: they need an option
    with session():
        target = {"tag": {"backup": "gold"}, "types": ["s3"], "options": {"bucket": "safe"}}
        Policy.update(spec={"targets": [target | {"accounts": ["another"]}]}).execute()
    assert look(estate) == set()
    with session():
        Policy.update(spec={"targets": [target]}).execute()
    assert look(estate) == {"tags-unread:web/s3"}
    with session():
        alert = Alert.get()
        assert ("data in" in alert.text, alert.detail["targets"]) == (True, 1)
        Resource.update(attributes={}).where(Resource.external_id == "data").execute()
    assert look(estate) == set()

"""Alerts: raised once, counted while they last, cleared by themselves; each rule fires on its own facts only."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from coordinator.alert_rules import (
    TARGETS_ONE_BY_ONE,
    Condition,
    Facts,
    FailedTarget,
    LaneFact,
    LostPoints,
    StalePolicy,
    conditions,
)
from coordinator.alerts import clear_alert, evaluate, raise_alert, reconcile
from coordinator.undone import FailedUndo
from tasks.catalog import (
    Account,
    Alert,
    DeadLetter,
    Delivery,
    Job,
    MissedSlots,
    Outbox,
    Part,
    Point,
    Policy,
    PolicySchedule,
    Process,
    Resource,
    Run,
    Scan,
    Schedule,
    session,
    transaction,
)
from tasks.catalog.drift import Drifted, DriftedPlace
from tasks.catalog.era import mark_rebuilt, place_of, take_over
from tasks.catalog.standstill import Standstill
from tasks.clock import FixedClock

AT = datetime(2026, 11, 2, 12, tzinfo=UTC)
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)


class Estate:
    """One account, one policy with an hourly schedule, and as many volumes as a test wants."""

    def __init__(self) -> None:
        self.clock = FixedClock(AT)
        with transaction():
            self.account = Account.create(name="prod", state="reachable")
            stamps = {"created_at": AT, "changed_at": AT}
            self.policy = Policy.create(name="web", spec={}, **stamps)
            grid = {"every": "1h", "starts_at": "2026-11-01T00:00", "time_zone": "UTC"}
            schedule = Schedule.create(name="hourly", spec=grid, **stamps)
            PolicySchedule.create(policy=self.policy, schedule=schedule)

    def volume(self, name: str) -> Resource:
        return Resource.create(
            account=self.account, region="us-east-1", type="volume", external_id=name, found_at=AT, seen_at=AT
        )

    def bucket(self, name: str, tags: dict[str, str] | None = None, unread: list[str] | None = None) -> Resource:
        """`unread` is what of it may not be read."""
        noted = {"attributes": {"unread": unread}} if unread else {}
        place = {"account": self.account, "region": "us-east-1", "type": "s3", "external_id": name}
        return Resource.create(**place, tags=tags or {}, found_at=AT, seen_at=AT, **noted)

    def run(self, slot_at: datetime, outcomes: dict[Resource, str], **columns: Any) -> Run:
        """A run of the policy whose jobs ended as `outcomes` says; a done job has a good point."""
        states = set(outcomes.values())
        state = "done" if states == {"done"} else "failed" if states == {"failed"} else "partial"
        columns = {"state": state, "trigger": "schedule", "targets": len(outcomes), **columns}
        columns["error_code"] = "" if columns["state"] == "done" else "denied"
        row = Run.create(policy=self.policy, slot_at=slot_at, created_at=slot_at, planned_at=slot_at, **columns)
        for resource, outcome in outcomes.items():
            self.job(resource, row, outcome)
            if outcome == "done":
                place: dict[str, Any] = {"account": self.account, "region": "us-east-1"}
                place |= {"state": "good", "taken_at": slot_at, "size_gib": 8}
                point = Point.create(resource=resource, policy=self.policy, run=row, **place)
                Part.create(point=point, external_id=f"snap-{point.id}", size_gib=8, state="good")
        return row

    def job(self, resource: Resource, run: Run | None, state: str, **columns: Any) -> Job:
        failed = {"error_code": "denied", "error_text": "May not."} if state == "failed" else {}
        columns = {"kind": "snapshot", "lane": "snapshot", "not_before_at": AT, "created_at": AT, **failed, **columns}
        count = Job.select().count()
        return Job.create(
            key=f"k{count}",
            run=run,
            account=self.account,
            region="us-east-1",
            resource=resource,
            state=state,
            **columns,
        )


@pytest.fixture
def estate(catalog: str) -> Estate:
    with session():
        return Estate()


def open_keys() -> set[str]:
    with session():
        return {alert.key for alert in Alert.select().where(Alert.open_key.is_null(False))}


def test_an_alert_is_one_row_while_its_condition_lasts_and_a_new_row_after_it_ended(catalog: str) -> None:
    """Feature C6: raised once, seen again, cleared, raised anew; each change has one delivery."""
    with session():
        assert raise_alert("brake:web", "critical", "Stopped", "Because.", AT)
        assert not raise_alert("brake:web", "critical", "Stopped", "Because of more.", AT + MINUTE)
        (row,) = Alert.select()
        assert (row.count, row.raised_at, row.seen_at, row.text) == (2, AT, AT + MINUTE, "Because of more.")
        assert clear_alert("brake:web", AT + 2 * MINUTE)
        assert not clear_alert("brake:web", AT + 3 * MINUTE)
        assert raise_alert("brake:web", "critical", "Stopped", "Again.", AT + HOUR)
        assert [delivery.event for delivery in Delivery.select().order_by(Delivery.id)] == [
            "raised",
            "cleared",
            "raised",
        ]
        assert [bool(row.cleared_at) for row in Alert.select().order_by(Alert.id)] == [True, False]


def test_a_change_that_is_rolled_back_is_delivered_to_nobody(catalog: str) -> None:
    """Feature C6: the delivery is written with the alert's change."""
    with pytest.raises(RuntimeError), transaction():
        raise_alert("brake:web", "critical", "Stopped", "Because.", AT)
        raise RuntimeError
    with session():
        assert Alert.select().count() == Delivery.select().count() == 0


def test_only_families_that_were_evaluated_are_cleared(catalog: str) -> None:
    """Feature C6: alerts that others raise, and rules that were not looked at this time, stay."""
    with session():
        for key in ("brake:web", "no-worker:copy", "points-too-old:web"):
            raise_alert(key, "warning", key, "", AT)
        reconcile([], ("no-worker",), AT)
    assert open_keys() == {"brake:web", "points-too-old:web"}


def test_an_evaluation_writes_a_lasting_alert_once_a_minute(catalog: str) -> None:
    """Feature C6: thousands of lasting alerts cost no writes at every sweep."""
    lasting = [Condition("no-worker:copy", "critical", "None", "Since long.")]
    with session():
        for seconds in range(0, 121, 5):
            reconcile(lasting, ("no-worker",), AT + timedelta(seconds=seconds))
        assert Alert.get().count == 3


def test_a_target_that_fails_at_every_run_is_one_alert_until_it_succeeds(estate: Estate) -> None:
    """Feature C6, feature 38: one alert for policy and resource, whatever the number of runs."""
    with session():
        sick, well = estate.volume("vol-sick"), estate.volume("vol-well")
        for hour in range(3):
            estate.run(AT + hour * HOUR, {sick: "failed", well: "done"})
            evaluate(estate.clock)
    assert open_keys() == {"target-failing:web/prod/us-east-1/vol-sick"}
    with session():
        assert Alert.select().count() == 1
        estate.run(AT + 4 * HOUR, {sick: "done", well: "done"})
        evaluate(estate.clock)
    assert open_keys() == set()


def test_targets_that_failed_for_good_are_told_while_their_run_still_goes_on(estate: Estate) -> None:
    """Feature C18: at once, one alert for each policy and error code, with the missing action and the first targets."""
    with session():
        volumes = [estate.volume(f"vol-{number}") for number in range(6)]
        run = estate.run(AT, {}, state="open")
        estate.job(volumes[0], run, "waiting")
        estate.job(volumes[5], run, "failed", error_code="impossible", error_text="Never.")
        evaluate(estate.clock)
        assert open_keys() == {"targets-given-up:web/impossible"}
        for one in volumes[1:5]:
            estate.job(one, run, "failed", error_text="No ec2:CreateSnapshots.")
        estate.job(volumes[0], run, "pending", error_code="throttled")  # goes again by itself
        evaluate(estate.clock)
        assert open_keys() == {"targets-given-up:web/denied", "targets-given-up:web/impossible"}
        denied = Alert.get(Alert.open_key == "targets-given-up:web/denied")
        assert denied.title == "4 targets of policy web failed for good: denied"
        assert "without vol-1, vol-2, vol-3 and 1 more." in denied.text
        assert denied.text.endswith("No ec2:CreateSnapshots.")
        assert Delivery.select().count() == 2


def test_a_target_that_fails_every_night_is_not_told_anew_while_the_next_run_goes_on(estate: Estate) -> None:
    """Feature C18, feature C6: the alert of the run before stays the one; a success in a later run ends the matter."""
    with session():
        sick, fresh, well = (estate.volume(f"vol-{name}") for name in ("sick", "fresh", "well"))
        estate.run(AT, {sick: "failed", fresh: "done", well: "done"})
        run = estate.run(AT + HOUR, {sick: "failed", fresh: "failed", well: "done"}, state="open")
        estate.clock.advance(HOUR)
        evaluate(estate.clock)
        told = {"target-failing:web/prod/us-east-1/vol-sick", "targets-given-up:web/denied"}
        assert open_keys() == told
        assert Alert.get(Alert.open_key == "targets-given-up:web/denied").detail["resources"] == ["vol-fresh"]
        Run.update(state="partial", error_code="denied").where(Run.id == run.id).execute()
        evaluate(estate.clock)
        assert open_keys() == {f"target-failing:web/prod/us-east-1/vol-{name}" for name in ("sick", "fresh")}
        estate.run(AT + 2 * HOUR, {sick: "done", fresh: "done"}, only=["vol-sick", "vol-fresh"])
        evaluate(estate.clock)
    assert open_keys() == set()


def test_a_copy_that_goes_by_two_hops_is_no_failure_of_its_target(estate: Estate) -> None:
    """Feature 38, feature 42: what the cloud would not do in one step two other jobs do, and their failure is told."""
    with session():
        far, lost = estate.volume("vol-far"), estate.volume("vol-lost")
        run = estate.run(AT, {far: "done", lost: "done"}, state="partial")
        for one in (far, lost):
            estate.job(one, run, "failed", kind="copy", error_code="two-hops")
        estate.job(far, run, "done", kind="copy")
        estate.job(lost, run, "failed", kind="copy")
        evaluate(estate.clock)
    assert open_keys() == {"target-failing:web/prod/us-east-1/vol-lost"}
    with session():
        again = estate.run(AT + HOUR, {lost: "done"}, only=["vol-lost"])
        estate.job(lost, again, "failed", kind="copy", error_code="two-hops")
        evaluate(estate.clock)
    assert open_keys() == set()


def test_a_partial_run_clears_its_own_target_only(estate: Estate) -> None:
    """Feature C6: a manual run of one resource says nothing about the others."""
    with session():
        one, two = estate.volume("vol-one"), estate.volume("vol-two")
        well = estate.volume("vol-well")
        estate.run(AT, {one: "failed", two: "failed", well: "done"})
        evaluate(estate.clock)
        assert len(open_keys()) == 2
        estate.run(AT + MINUTE, {one: "done"}, trigger="manual", only=["vol-one"])
        evaluate(estate.clock)
    assert open_keys() == {"target-failing:web/prod/us-east-1/vol-two"}


def test_a_resource_that_is_gone_fails_no_longer(estate: Estate) -> None:
    """Feature C6: nobody can repair what does not exist."""
    with session():
        gone, well = estate.volume("vol-gone"), estate.volume("vol-well")
        estate.run(AT, {gone: "failed", well: "done"})
        evaluate(estate.clock)
        assert open_keys()
        Resource.update(gone_at=AT).where(Resource.id == gone.id).execute()
        evaluate(estate.clock)
    assert open_keys() == set()


def test_a_run_that_failed_for_all_targets_is_an_alert_of_its_own(estate: Estate) -> None:
    """Feature C6: the policy protects nothing."""
    with session():
        estate.run(AT, {estate.volume("vol-a"): "failed"})
        evaluate(estate.clock)
        assert "run-failed:web" in open_keys()
        Policy.update(enabled=False).execute()
        evaluate(estate.clock)
    assert open_keys() == set()


def test_what_concerns_the_installation_is_told_and_cleared(estate: Estate) -> None:
    """Feature C6, feature 39: missed slots, an account, dead letters, a lane without a worker."""
    with session():
        MissedSlots.create(
            policy=estate.policy, first_at=AT - HOUR, last_at=AT, count=7, recorded_at=AT, reason="Nobody was there."
        )
        Account.update(state="unreachable", state_text="The role is gone.").execute()
        letter = DeadLetter.create(lane="poll", reason="bad-signature", received_at=AT)
        job = estate.job(estate.volume("vol-a"), None, "pending")
        Outbox.create(job=job, lane="snapshot", account_id=estate.account.id, ready_at=AT - HOUR, created_at=AT)
        evaluate(estate.clock)
        assert open_keys() == {
            "slots-missed:web",
            "account-unreachable:prod",
            "dead-letters:all",
            "no-worker:snapshot",
            "outbox-stuck:snapshot",
        }
        Account.update(state="reachable").execute()
        letter.state = "dropped"
        letter.save()
        Outbox.delete().execute()
        estate.clock.advance(timedelta(hours=25))
        evaluate(estate.clock)
    assert open_keys() == set()


def test_copies_that_wait_for_their_slot_are_not_a_stuck_outbox(estate: Estate) -> None:
    """Feature C6: admission holds them back on purpose, for hours."""
    with session():
        Process.create(name="w", role="worker", lanes=["copy"], started_at=AT, seen_at=AT)
        job = estate.job(estate.volume("vol-a"), None, "pending", lane="copy", kind="copy", slots=1)
        Outbox.create(job=job, lane="copy", account_id=estate.account.id, ready_at=AT - HOUR, created_at=AT)
        evaluate(estate.clock)
    assert open_keys() == set()


def test_points_are_too_old_when_two_slots_came_without_a_new_one(estate: Estate) -> None:
    """Feature C6: the age is judged by the policy's own slots, with the coordinator dead as well as alive."""
    with session():
        a, b = estate.volume("vol-a"), estate.volume("vol-b")
        estate.run(AT, {a: "done", b: "done"})
        for minutes, expected in ((59, set()), (119, set()), (121, {"points-too-old:web"})):
            estate.clock = FixedClock(AT + timedelta(minutes=minutes))
            evaluate(estate.clock)
            assert open_keys() == expected
        estate.run(AT + 2 * HOUR, {a: "done", b: "done"})
        estate.clock = FixedClock(AT + timedelta(minutes=123))
        evaluate(estate.clock)
    assert open_keys() == set()


def test_what_a_wrong_clock_dated_in_the_future_is_neither_fresh_nor_the_newest(estate: Estate) -> None:
    """Feature C6: it would hide for a month that nothing succeeds."""
    with session():
        a = estate.volume("vol-a")
        estate.run(AT, {a: "done"})
        estate.run(AT + timedelta(days=30), {a: "done"})
        estate.run(AT + HOUR, {a: "failed"})
        estate.clock = FixedClock(AT + timedelta(minutes=121))
        evaluate(estate.clock)
    assert open_keys() == {"points-too-old:web", "target-failing:web/prod/us-east-1/vol-a", "run-failed:web"}


def lane(**changed: Any) -> LaneFact:
    facts = {"lane": "copy", "due_at": None, "unsent_at": None, "moved_at": None, "has_room": True, "workers": 1}
    return LaneFact(**{**facts, **changed})


def failed(number: int, policy: str = "web") -> FailedTarget:
    return FailedTarget(policy, "prod", "us-east-1", f"vol-{number}", 9, "denied", "May not.")


def test_places_that_nobody_rebuilt_a_day_after_a_lost_catalog_was_taken_over_are_told(estate: Estate) -> None:
    """feature C11: only what was looked at, and is of the estate still; a rebuilding ends it."""
    with transaction():
        Account.update(regions=["us-east-1"]).execute()
        for region, service in (("us-east-1", "ec2"), ("us-east-1", "efs"), ("left", "ec2")):
            Scan.create(account=estate.account, region=region, service=service, finished_at=AT)
        Scan.create(account=estate.account, region="us-east-1", service="rds")
        take_over(AT, AT)
        mark_rebuilt(place_of(estate.account.id, "us-east-1", "efs"), AT)
    estate.clock.advance(24 * HOUR)
    evaluate(estate.clock)
    assert open_keys() == set()
    estate.clock.advance(2 * MINUTE)
    evaluate(estate.clock)
    with session():
        (alert,) = Alert.select()
    assert (alert.key, alert.text.split(":")[0]) == ("rebuild-missing:catalog", "prod us-east-1 ec2")
    with transaction():
        mark_rebuilt(place_of(estate.account.id, "us-east-1", "ec2"), AT)
    estate.clock.advance(2 * MINUTE)
    evaluate(estate.clock)
    assert open_keys() == set()


LONG_AGO = AT - HOUR


@pytest.mark.unit
def test_what_waits_for_a_standstill_is_not_put_down_to_the_broker() -> None:
    still = Standstill("ada@cli", AT - HOUR)
    (found,) = conditions(Facts(lanes=[lane(unsent_at=LONG_AGO)], still=still), AT)
    assert (found.key, found.severity) == ("outbox-stuck:copy", "warning")
    assert "ada@cli let the fleet stand still" in found.text
    assert "snapfleet resume" in found.text


@pytest.mark.unit
@pytest.mark.parametrize(
    ("facts", "keys"),
    [
        (Facts(), []),
        (Facts(lanes=[lane(due_at=LONG_AGO, workers=0)]), ["no-worker:copy"]),
        (Facts(lanes=[lane(due_at=LONG_AGO)]), []),
        (Facts(lanes=[lane(due_at=AT - timedelta(seconds=59), workers=0)]), []),
        (Facts(lanes=[lane(unsent_at=LONG_AGO)]), ["outbox-stuck:copy"]),
        (Facts(lanes=[lane(unsent_at=LONG_AGO, moved_at=LONG_AGO)]), ["outbox-stuck:copy"]),
        (Facts(lanes=[lane(unsent_at=LONG_AGO, moved_at=AT - MINUTE)]), []),
        (Facts(lanes=[lane(unsent_at=LONG_AGO, has_room=False)]), []),
        (Facts(lanes=[lane(unsent_at=AT - MINUTE)]), []),
        (Facts(runs=[("web", 9, 3)]), ["run-failed:web"]),
        (Facts(undos=[FailedUndo(3, "It broke.", ("i-1",), ())]), ["restore-left-over:restore-3"]),
        (Facts(lost=[LostPoints("web", [(7, "vol-1")], "Gone.")]), ["points-lost:web"]),
        (Facts(drifted=[DriftedPlace("prod", "r", "ec2", 1, [Drifted("snap", 7, {})])]), ["tags-drifted:prod/r/ec2"]),
        (Facts(unrebuilt=["prod us-east-1 ec2"]), ["rebuild-missing:catalog"]),
        (Facts(letters={"copy": 2, "poll": 1}), ["dead-letters:all"]),
        (Facts(accounts=[("prod", "")]), ["account-unreachable:prod"]),
        (Facts(missed=[("web", 3, LONG_AGO, AT)]), ["slots-missed:web"]),
        (Facts(stale=[StalePolicy("web", LONG_AGO, AT, 4)]), ["points-too-old:web"]),
        (
            Facts(given_up=[failed(1), failed(2), failed(3, "db")]),
            ["targets-given-up:web/denied", "targets-given-up:db/denied"],
        ),
        (Facts(targets=[failed(1)], given_up=[failed(1)]), ["target-failing:web/prod/us-east-1/vol-1"]),
        (Facts(targets=[failed(1)]), ["target-failing:web/prod/us-east-1/vol-1"]),
        (Facts(targets=[failed(number) for number in range(TARGETS_ONE_BY_ONE + 1)]), ["targets-failing:web"]),
    ],
)
def test_each_rule_fires_on_its_facts_and_only_on_them(facts: Facts, keys: list[str]) -> None:
    """Feature C6: a table of facts and the keys of what they mean."""
    found = conditions(facts, AT)
    assert [condition.key for condition in found] == keys
    assert all(condition.severity in {"info", "warning", "critical"} for condition in found)
    assert all(condition.text.endswith(".") for condition in found)


@pytest.mark.unit
def test_a_key_comes_out_once_though_facts_repeat() -> None:
    """Feature C6: two failed jobs of one target are one condition."""
    assert len(conditions(Facts(targets=[failed(1), failed(1)]), AT)) == 1

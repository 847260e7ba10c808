"""Why anything is as it is: each answer has reasons with a code and a sentence, from what is recorded and decided."""

from datetime import timedelta
from typing import Any

import pytest

from admin.queries import Row, show_run
from admin.why import Asking, explain
from admin.why_policy import explain_slot
from tasks.catalog import (
    Account,
    Job,
    Membership,
    MissedSlots,
    Outbox,
    Point,
    Policy,
    PolicySchedule,
    Resource,
    Restore,
    Run,
    session,
    transaction,
)
from tasks.catalog.transitions import add_job
from tasks.clock import host_time
from tasks.errors import Invalid
from tasks.lanes import Lane
from tasks.states import JobState, PointState, RestoreState, RunState
from tests.admin.catalogue import AT, heartbeat, seed, seed_rest

SLOT = AT.replace(hour=1, minute=30)  # of the schedule that `seed` writes, on the same day
WEEK = timedelta(days=7)


def asked(thing: str, **more: Any) -> Row:
    found = explain(thing, Asking(AT, host_time(), **more))
    assert found["reasons"], thing
    assert all(one["code"] and one["text"] for one in found["reasons"])
    return found


def codes(thing: str, **more: Any) -> list[str]:
    return [one["code"] for one in asked(thing, **more)["reasons"]]


def test_everything_that_is_there_has_a_reason_in_every_state(catalog: str) -> None:
    """feature C23: whatever somebody asks about, and whatever state it is in."""
    seed(("a", "b"))
    seed_rest("me")
    keys = {
        "run": (Run, RunState),
        "job": (Job, JobState),
        "restore": (Restore, RestoreState),
        "rp": (Point, PointState),
    }
    for prefix, (model, states) in keys.items():
        for state in states:
            why = {"error_code": "denied", **({"expire_code": "outlived"} if model is Point else {})}
            with transaction():
                model.update(state=state, **why).where(model.id == 1).execute()
            assert asked(f"{prefix}-1")["state"] == state


def test_a_resource_tells_which_policy_covers_it_and_why_another_does_not(catalog: str) -> None:
    """feature C23: why covered, why not, the last good point, the next slot, and the state of its RPO."""
    found = seed(("web-1",))
    with transaction():
        for name, targets in (
            ("silver", [{"tag": {"backup": "silver"}}]),
            ("named", [{"account": "prod", "region": "us-east-1", "type": "instance", "id": "i-other"}]),
            ("off", [{"tag": {"Name": "*"}}]),
            ("odd", [{"tag": 5}]),
        ):
            columns = {"spec": {"targets": targets}, "enabled": name != "off"}
            Policy.create(name=name, created_at=AT, changed_at=AT, **columns)
        resource, policy = found["rows"][0][0], found["policy"].id
        Membership.create(policy=policy, resource=resource, joined_at=AT, left_at=AT)
    shown = asked("web-1")
    assert (shown["thing"], shown["kind"]) == ("i-00000000000000000", "instance")
    said = [(one.get("policy", ""), one["code"]) for one in shown["reasons"]]
    assert said == [
        ("off", "covered"), ("off", "policy-disabled"), ("off", "rpo-waiting"),
        ("web", "covered"), ("web", "rpo-waiting"),
        ("", "left"), ("odd", "malformed"), ("silver", "tag"), ("", "not-named"),
    ]  # fmt: skip
    assert "last good point rp-1 of 2026-11-10 12:00 UTC; next slot 2026-11-11 01:30 UTC" in str(shown)
    assert "has backup=gold, and backup=silver is asked for" in str(shown)
    with transaction():
        Job.update(state=JobState.FAILED, error_code="denied", error_text="May not.").execute()
        Account.update(state="unreachable", state_text="No role.").execute()
    again = asked("resource:i-00000000000000000")["reasons"]
    assert [one["code"] for one in again if one["code"] in ("denied", "account-unreachable")] == [
        "account-unreachable",
        "denied",
    ]


def test_a_policy_tells_why_it_is_late_and_what_was_missed(catalog: str) -> None:
    """feature C23: by the decision that starts slots."""
    seed()
    assert codes("web")[0] == "not_due"
    with transaction():
        PolicySchedule.update(last_slot_at=AT - WEEK).execute()
        row = {"policy": 1, "first_at": SLOT - WEEK, "last_at": SLOT - timedelta(days=6), "recorded_at": AT}
        MissedSlots.create(count=2, reason="the slot is late", **row)
    found = codes("web")
    assert found[:2] == ["catch_up", "no-coordinator"]
    assert "missed-coalesced" in found
    heartbeat()
    assert codes("policy:web")[1] == "next-round"
    with transaction():
        Policy.update(enabled=False).execute()
    assert codes("web")[0] == "policy-disabled"
    with transaction():
        PolicySchedule.delete().execute()
    assert "no-schedule" in codes("web")


def test_each_slot_has_an_end_that_is_told(catalog: str) -> None:
    """feature C23: run, missed, late, passed over, to come, or none at all."""
    seed()
    day = timedelta(days=1)
    with transaction():
        Run.update(slot_at=SLOT - day).execute()
        PolicySchedule.update(last_slot_at=SLOT - day).execute()
        row = {"policy": 1, "first_at": SLOT - 3 * day, "last_at": SLOT - 3 * day, "recorded_at": AT}
        MissedSlots.create(count=1, reason="the slot is late", **row)
    told = {
        SLOT: ("late", "no-coordinator"),
        SLOT - day: ("partial", "run"),
        SLOT - 2 * day: ("passed", "passed-over"),
        SLOT - 3 * day: ("missed", "missed-coalesced"),
        SLOT + day: ("waiting", "not_due"),
        SLOT + day / 2: ("none", "no-slot"),
    }
    for slot, wanted in told.items():
        found = explain_slot("web", slot, Asking(AT, host_time()))
        assert (found["state"], found["reasons"][0]["code"]) == wanted
    with pytest.raises(Invalid, match="no policy"):
        explain_slot("wbe", SLOT, Asking(AT, host_time()))


def test_a_run_tells_what_its_jobs_wait_for_alike_ones_together(catalog: str) -> None:
    """feature C23: a run in line behind another names it, in its jobs' reasons too."""
    found = seed(("a", "b", "c"))
    known = {"account": found["account"], "region": "us-east-1", "service": "ec2", "kind": "snapshot"}
    with transaction():
        later = Run.create(policy=found["policy"], slot_at=AT + WEEK, created_at=AT, state=RunState.OPEN)
        for resource, _ in found["rows"][:2]:
            chain = {"chain": f"snapshot:{resource.id}", "resource": resource.id, "lane": Lane.SNAPSHOT}
            add_job(at=AT, run=found["run"], **chain, **known)
            add_job(at=AT, run=later, **chain, **known)
    reasons = {one["code"]: one["text"] for one in asked(f"run-{later.id}")["reasons"]}
    assert reasons["in-line"].startswith("2 pending (job-5, job-7): behind job-4 of run-1, which is pending")
    jobs = show_run(f"run-{later.id}")["jobs"]
    assert [row["reason"].split(",")[0] for row in jobs] == ["behind job-4 of run-1", "behind job-6 of run-1"]
    assert codes("run-1")[:2] == ["schedule", "cloud-failed"]
    assert codes("job-5") == ["in-line"]


def test_a_run_without_jobs_tells_which_look_it_waits_for(catalog: str) -> None:
    """feature C23: as long as planning would wait for it."""
    seed()
    at = host_time()
    with transaction():
        run = Run.create(policy=1, slot_at=AT + WEEK, created_at=at)
        Policy.update(spec={"targets": [{"tag": {"a": "b"}, "types": ["volume"]}]}).execute()
    assert codes(f"run-{run.id}") == ["schedule", "stale-look"]
    with transaction():
        Run.update(created_at=at - timedelta(hours=1)).where(Run.id == run.id).execute()
    assert codes(f"run-{run.id}") == ["schedule", "next-round"]


def test_a_marked_point_tells_how_long_it_is_still_there_and_a_failed_one_why(catalog: str) -> None:
    """feature C23: beside what retention says."""
    found = seed()
    at = host_time()
    with transaction():
        Point.update(state=PointState.EXPIRING, expire_code="outlived", expire_text="old", marked_at=at).execute()
    assert codes("rp-1", quarantine=WEEK)[-2:] == ["outlived", "quarantine"]
    assert "quarantine" not in codes("1")
    with transaction():
        Point.update(state=PointState.CREATING, expire_code="", error_code="", completed_at=None).execute()
        Job.update(state=JobState.PENDING, error_text="").execute()
        Outbox.delete().execute()
    assert codes("rp-1") == ["creating", "no-message"]
    assert found


@pytest.mark.parametrize(
    ("thing", "advice"),
    [
        ("rp-99", "snapfleet points"), ("99", "snapfleet points"), ("run-99", "snapfleet runs"),
        ("job-99", "snapfleet why run-N"), ("restore-99", "snapfleet restores"),
        ("wbe", "Did you mean web"), ("zzzzzzz", "Name a policy"), ("policy:nothing", "Name a policy"),
        ("rp-" + "9" * 30, "snapfleet points"), ("job-" + "9" * 30, "snapfleet why run-N"),
    ],
)  # fmt: skip
def test_what_is_not_there_is_said_with_the_next_step(catalog: str, thing: str, advice: str) -> None:
    seed()
    with pytest.raises(Invalid) as refused:
        explain(thing, Asking(AT, host_time()))
    assert advice in str(refused.value)


def test_a_name_that_several_resources_have_is_not_guessed(catalog: str) -> None:
    seed(("same", "same"))
    with pytest.raises(Invalid, match="i-00000000000000000 in prod/us-east-1, i-00000000000000001"):
        explain("same", Asking(AT, host_time()))
    with session():
        assert Resource.select().count() == 2

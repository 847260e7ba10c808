"""Rows for tests of what is asked: an account, resources, a policy, points, a run with jobs."""

from datetime import UTC, datetime, timedelta
from typing import Any

from tasks.catalog import (
    Account,
    Alert,
    Creation,
    DeadLetter,
    Job,
    Part,
    Point,
    Policy,
    PolicySchedule,
    Process,
    Resource,
    Restore,
    RestoreStep,
    Run,
    Schedule,
    session,
    transaction,
)
from tasks.clock import host_time
from tasks.states import JobState, PointState, RestoreState, RunState

AT = datetime(2026, 11, 10, 12, tzinfo=UTC)

# What somebody who may tag a resource can write: markup, a colour, a cleared screen, a window title, the clipboard, a
# hyperlink, C1 controls, a forged row, reversed text, invisible characters, a lone surrogate's place, a formula.
HOSTILE = (
    "[/red]",
    "[bold red]x[/]",
    "\x1b[31mred\x1b[0m",
    "\x1b[2J\x1b[H",
    "\x1b]0;title\x07",
    "\x1b]52;c;cm0gLXJm\x07",
    "\x1b]8;;http://evil\x1b\\link",
    "\x9b31mcsi",
    "one\nrp-9 forged good",
    "a\rb\tc\x00d\x7f",
    "invoice\u202egpj.exe",
    "\u2066\u2067\u2069\u200b\u2028\u2029\ufeff",
    "=cmd|' /C calc'!A0",
    "{name}%s${HOME}`id`",
)


def heartbeat(role: str = "coordinator", **columns: Any) -> None:
    """A process that reports itself now."""
    with transaction():
        Process.insert(
            name=f"host:1:{role}", role=role, started_at=host_time(), seen_at=host_time(), **columns
        ).on_conflict(conflict_target=[Process.name], update={Process.seen_at: host_time()}).execute()


def seed(names: tuple[str, ...] = ("web-1",)) -> dict[str, Any]:
    """One policy whose run made a good point of each resource; resources are called `names`."""
    with transaction():
        account = Account.create(name="prod", regions=["us-east-1"], number="111111111111")
        schedule = Schedule.create(
            name="nightly", spec={"every": "1d", "starts_at": "2026-11-02T01:30"}, created_at=AT, changed_at=AT
        )
        spec = {"targets": [{"tag": {"backup": "gold"}}], "generations": 2}
        policy = Policy.create(name="web", spec=spec, created_at=AT, changed_at=AT)
        PolicySchedule.create(
            policy=policy.id, schedule=schedule.id, next_slot_at=AT, next_start_at=AT, last_slot_at=AT
        )
        ended = {"state": RunState.PARTIAL, "error_code": "cloud-failed", "finished_at": AT}
        run = Run.create(policy=policy.id, slot_at=AT, targets=len(names), created_at=AT, **ended)
        rows = [_resource(account, policy, run, index, name) for index, name in enumerate(names)]
        return {"account": account, "policy": policy, "run": run, "rows": rows, "schedule": schedule}


def _resource(account: Account, policy: Policy, run: Run, index: int, name: str) -> tuple[Resource, Point]:
    resource = Resource.create(
        account=account.id,
        region="us-east-1",
        type="instance",
        external_id=f"i-{index:017x}",
        name=name,
        tags={"backup": "gold", "Name": name},
        attributes={"zone": "us-east-1a", "instance_type": "t3.micro", "root_device": "/dev/xvda", "volumes": []},
        found_at=AT,
        seen_at=AT,
    )
    point = add_point(resource, policy, AT, run=run.id)
    Job.create(
        kind="snapshot",
        lane="snapshot",
        key=f"job-{index}",
        run=run.id,
        account=account.id,
        region="us-east-1",
        service="ec2",
        resource=resource.id,
        point_id=point.id,
        settled=True,
        state=JobState.FAILED if index % 2 else JobState.DONE,
        error_code="cloud-failed",
        error_text=f"broken: {name}",
        not_before_at=AT,
        created_at=AT,
    )
    return resource, point


def add_point(resource: Resource, policy: Policy, taken_at: datetime, **columns: Any) -> Point:
    """A point of one volume; good unless `columns` say otherwise."""
    values = {"state": PointState.GOOD, "completed_at": taken_at, "size_gib": 8, **columns}
    point = Point.create(
        resource=resource.id,
        policy=policy.id,
        account=resource.account_id,
        region=resource.region,
        taken_at=taken_at,
        attributes=resource.attributes,
        **values,
    )
    Part.create(
        point=point.id,
        external_id=f"snap-{point.id:017x}",
        source_id="vol-1",
        device="/dev/xvda",
        size_gib=8,
        state=PointState.GOOD,
        attributes={"type": "gp3"},
    )
    return point


def seed_rest(name: str) -> None:
    """An alert, a dead letter, a process and a restore that carry a name."""
    with transaction():
        point = Point.select().order_by(Point.id).first()
        Alert.create(key=name, open_key=name, severity="critical", title=name, text=name, raised_at=AT, seen_at=AT)
        DeadLetter.create(lane="snapshot", reason="bad-signature", body=name, received_at=AT)
        Process.create(name=name, role="worker", lanes=["poll"], started_at=AT, seen_at=AT)
        restore = Restore.create(
            point=point.id,
            state=RestoreState.FAILED,
            request={"kind": "volume"},
            plan={},
            requested_by=name,
            created_at=AT,
            error_code="cloud-failed",
            error_text=name,
        )
        RestoreStep.create(
            restore=restore.id, number=0, name="create", kind="create-volume", params={}, outputs={"volume_id": name}
        )
        Creation.create(restore=restore.id, step="create", kind="volume", external_id=name, created_at=AT)
        Point.update(error_text=name, held=name).where(Point.id == point.id).execute()
        Run.update(problems=[{"target": name, "code": "gone", "text": name}]).execute()


def aged(days: int) -> list[Point]:
    """One more point of the first resource for each of the last days, newest last."""
    with session():
        resource, policy = Resource.select().first(), Policy.select().first()
    with transaction():
        return [add_point(resource, policy, AT + timedelta(days=day + 1)) for day in range(days)]

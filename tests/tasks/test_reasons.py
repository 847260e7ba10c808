"""Nothing ends otherwise than wanted without saying why: the database itself takes no such row, whoever writes it."""

from enum import StrEnum
from typing import Any

import pytest
from peewee import IntegrityError

from tasks.catalog import (
    MODELS,
    Account,
    Job,
    MissedSlots,
    Operation,
    Point,
    Policy,
    Request,
    Resource,
    Restore,
    Run,
    transaction,
)
from tasks.catalog.database import CatalogModel
from tasks.catalog.fields import StateField
from tasks.states import (
    JobState,
    OperationState,
    PointState,
    RequestState,
    RestoreState,
    RunState,
)
from tests.admin.catalogue import AT

# What every state is: under way, as it should be, or an end that has a reason, in which column.
FINE: dict[type[StrEnum], set[str]] = {
    RunState: {"resolving", "open", "done"},
    JobState: {"pending", "queued", "running", "waiting", "done"},
    PointState: {"creating", "good"},
    OperationState: {"running", "done"},
    RestoreState: {"requested", "running", "done"},
    RequestState: {"new", "accepted"},
}
LEAVING = {"expiring", "outdated", "deleted"}  # of points, by our own decision
# A part ends with its point and a step with its job, whose reasons are theirs; an account's state is no end.
TOLD_ELSEWHERE = {"part", "restore_step", "account"}


def rows() -> dict[str, CatalogModel]:
    """One row of everything that has states."""
    place: dict[str, Any] = {"region": "r"}
    account = Account.create(name="prod")
    policy = Policy.create(name="p", spec={}, created_at=AT, changed_at=AT)
    known = {"account": account, "region": "r"}
    resource = Resource.create(**known, type="volume", external_id="v", found_at=AT, seen_at=AT)
    job = Job.create(kind="snapshot", lane="snapshot", key="k", **known, not_before_at=AT, created_at=AT)
    point = Point.create(resource=resource, policy=policy, account=account, taken_at=AT, **place)
    cloud = {"service": "ec2", "kind": "snapshot", "external_id": "s", "next_poll_at": AT, "started_at": AT}
    return {
        "run": Run.create(policy=policy, slot_at=AT, created_at=AT),
        "job": job,
        "operation": Operation.create(job=job, **known, **cloud),
        "point": point,
        "restore": Restore.create(point=point, request={}, plan={}, requested_by="me", created_at=AT),
        "request": Request.create(kind="run", requested_by="me", created_at=AT),
    }


def test_every_terminal_state_has_a_reason_code(catalog: str) -> None:
    """feature C23: a state that is not fine cannot be written without a code, and can with one."""
    stated = {one._meta.table_name: one for one in MODELS if isinstance(getattr(one, "state", None), StateField)}
    with transaction():
        made = rows()
    assert set(made) == set(stated) - TOLD_ELSEWHERE
    for name, row in made.items():
        model, states = stated[name], stated[name]._meta.fields["state"].states
        assert set(map(str, states)) > FINE[states]
        mine = model.update
        for state in states:
            code = "expire_code" if state in LEAVING else "error_code"
            silent = {"state": state, "error_code": "", **({"expire_code": ""} if name == "point" else {})}
            if state in FINE[states]:
                with transaction():
                    assert mine(**silent).where(model.id == row.id).execute() == 1
                continue
            with pytest.raises(IntegrityError), transaction():
                mine(**silent).where(model.id == row.id).execute()
            with transaction():
                assert mine(**{**silent, code: "told"}).where(model.id == row.id).execute() == 1


def test_slots_that_were_missed_have_a_reason_code(catalog: str) -> None:
    """feature C23"""
    with transaction():
        policy = Policy.create(name="p", spec={}, created_at=AT, changed_at=AT)
        known = {"policy": policy, "first_at": AT, "last_at": AT, "count": 1, "recorded_at": AT, "reason": ""}
        assert MissedSlots.create(**known).code == "missed-coalesced"
    with pytest.raises(IntegrityError), transaction():
        MissedSlots.create(**known, code="")

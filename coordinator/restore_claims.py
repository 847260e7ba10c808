"""What exists already and is written into by a restore: one restore at a time has it, until it has ended or is undone.

A restore that makes new things only claims nothing. What is attached beside everything else (`--attach-to`) is no
claim either: the device is free or the cloud refuses it.
"""

from collections.abc import Iterator
from datetime import datetime

from coordinator.looks import ask_for_looks, read_looks
from coordinator.restore_plan import PlannedStep, RestorePlan
from tasks.catalog import Resource, Restore, set_meta
from tasks.errors import Refused
from tasks.resources import TYPES
from tasks.states import RestoreState

# Which param of which step names what is written into; a reference there is to something that the restore makes.
_CLAIMS = {
    "check-volumes": "instance_id",
    "stop-instance": "instance_id",
    "replace-root": "instance_id",
    "azure-deallocate": "vm_id",
    "restore-file-system": "into",
    "restore-namespace": "namespace",
    "restore-bucket": "bucket",
}
_LOCK = "restores:claims"
_UNDER_WAY = (RestoreState.RUNNING, RestoreState.UNDOING)


def claims_of(plan: RestorePlan) -> set[str]:
    """What a plan writes into: for each thing a path that ends with '/', in a bucket with the prefix of its keys."""
    return {claim for step in plan.steps for claim in _claims(plan, step)}


def _claims(plan: RestorePlan, step: PlannedStep) -> Iterator[str]:
    name = step.params.get(_CLAIMS.get(step.kind, ""))
    if not isinstance(name, str):
        return
    if step.kind == "restore-bucket":  # buckets have one name in all accounts
        yield f"s3/{name}/{step.params.get('prefix', '')}"
    else:
        yield f"{plan.account}/{plan.region}/{name}/"


def refuse_second(plan: RestorePlan, at: datetime) -> None:
    """Raise Refused when a restore that is under way, or being undone, writes into what this one would write into.

    Call inside the transaction that writes the restore: until its end, no other one is decided.
    """
    wanted = claims_of(plan)
    if not wanted:
        return
    set_meta(_LOCK, at.isoformat())  # the row is ours until the transaction ends
    for other in Restore.select(Restore.id, Restore.plan).where(Restore.state.in_(_UNDER_WAY)).order_by(Restore.id):
        for theirs in claims_of(RestorePlan.from_json(other.plan)):
            mine = next((one for one in wanted if one.startswith(theirs) or theirs.startswith(one)), None)
            if mine is not None:
                raise _refusal(int(other.id), mine)


def _refusal(restore: int, claim: str) -> Refused:
    what = claim.split("/", 1 if claim.startswith("s3/") else 2)[-1].rstrip("/")
    text = f"restore-{restore} writes into {what}, and has not ended or is being undone."
    advice = f"Wait for it (`snapfleet restores show restore-{restore}`), then ask again: the plan will be another."
    return Refused(text, code="restore-under-way", advice=advice)


def look_again(restore: Restore, resource: Resource, at: datetime) -> None:
    """Ask for a look at what a restore has written into, so that the next plan sees what is there now.

    Asked for even if one was asked for a moment ago: that one may have looked before the end.
    """
    plan = RestorePlan.from_json(restore.plan)
    looks = read_looks() if claims_of(plan) else None
    if looks is not None and plan.account in looks.accounts:
        ask_for_looks(looks, [(plan.account, plan.region, TYPES[resource.type].service)], at, again=True)

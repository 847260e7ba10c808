"""Restores as the coordinator plans them, done by the driver step by step."""

from typing import Any

from coordinator.restore import RestoreRequest, plan_restore, resolve
from coordinator.restore_facts import PartFacts, PointFacts
from tests.contract.rig import HOME, TAGS
from tests.contract.service_rig import ServiceRig
from workers.driver import Point, RestoreStep


def restore_by_plan(rig: ServiceRig, point: Point, word: str, **settings: str) -> dict[str, Any]:
    """Every step of the plan through the driver; what the last one made known."""
    facts = PointFacts(
        id="rp-1",
        type=rig.type,
        resource_id=point.resource.external_id,
        account=point.account.name,
        region=point.region,
        parts=tuple(PartFacts(part.external_id, size_gib=part.size_gib) for part in point.parts),
        resource_name=point.resource.name,
        home_account="production",
        home_region=HOME,
        attributes=point.resource.attributes,
        tags=point.resource.attributes["tags"],
    )
    outputs: dict[str, dict[str, Any]] = {}
    last: dict[str, Any] = {}
    for number, step in enumerate(plan_restore(facts, RestoreRequest(word, settings=settings)).steps):
        params = resolve(step.params, outputs)
        started = rig.driver.start_restore(point, RestoreStep(step.kind, params), f"restore-{number}", TAGS)
        last = outputs[step.name] = {**started.outputs, **rig.followed(started)}
    return last

"""Restores from a repository: the plan for a point of snapshots, with these made first and removed last. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from coordinator.restore_draft import Draft
from coordinator.restore_facts import PartFacts, PointFacts, RestoreRequest, option
from coordinator.restore_plan import PlannedStep, RestorePlan, ref
from coordinator.restore_steps import slug
from tasks.errors import Invalid


def from_repository(
    plan: RestorePlan, point: PointFacts, parts: Sequence[PartFacts], request: RestoreRequest
) -> RestorePlan:
    """The same plan, in which each generation that it names as a snapshot is first written into a new one.

    The snapshots are deleted at the end: volumes keep all that they were made from.
    """
    named = {part.snapshot_id: ref(_fetch(part), "snapshot_id") for part in parts}
    sealed = {part.snapshot_id for part in parts if part.encrypted}
    steps = [_fetched(part, point, request) for part in parts]
    steps += [replace(step, params=_params(step, named, sealed)) for step in plan.steps]
    steps += [
        PlannedStep(
            f"drop-{slug(part)}",
            "delete-snapshot",
            {"snapshot_id": named[part.snapshot_id]},
            "Delete the temporary snapshot.",
        )
        for part in parts
    ]
    note = f"All blocks are read from the repository {point.repository} first, so this takes as long as that."
    return replace(plan, steps=tuple(steps), notes=(*plan.notes, note, *_losses(parts)))


def into_disks(plan: RestorePlan, point: PointFacts) -> RestorePlan:
    """The same plan for a cloud that takes a disk's bytes: each disk that was to be made from a generation is made
    empty, and filled from the repository."""
    sizes = {part.snapshot_id: part for part in point.parts}
    steps = tuple(_filled(step, sizes, point) for step in plan.steps)
    note = f"All blocks are read from the repository {point.repository} first, so this takes as long as that."
    return replace(plan, steps=steps, notes=(*plan.notes, note, *_losses(point.parts)))


def into_files(draft: Draft, parts: Sequence[PartFacts]) -> RestorePlan:
    """Each part as an image of its volume in a file, in the folder that the operator gave to workers for that.

    Raises Invalid for a point that is no archive, and for options of what is made in a cloud.
    """
    point, kept = draft.point, draft.request.to_json().keys() - {"kind", "volumes"}
    if not point.repository:
        advice = "`snapfleet repository archive` archives a point, whatever turn its policy is at."
        raise Invalid(f"Only an archive is restored to files, and point {point.id} is none.", advice=advice)
    if kept:
        raise Invalid(f"{option(min(kept))} is not for files; --volume chooses volumes.", code="option-value")
    draft.title = f"to {len(parts)} file(s) in the folder SNAPFLEET_RESTORE_FOLDER of a worker"
    for part in parts:
        params = _archived(part, point)
        source = part.source_id or part.device
        why = f"Write {part.size_gib} GiB of {source} from the repository {point.repository} into a sparse raw file."
        draft.add(f"write-{slug(part)}", "restore-file", params, why, ("file",))
    draft.notes += _losses(parts)
    draft.notes.append("The worker that begins a file goes on with it; `restores show` names its host and path.")
    draft.notes.append("What is read out of the repository's region is billed as transfer by its cloud, too.")
    return draft.plan(parts)


def _losses(parts: Sequence[PartFacts]) -> list[str]:
    """What a repair gave up of these archives, before somebody relies on it."""
    return [
        f"{part.lost_blocks} blocks of {part.source_id or part.device} were lost, and come back as zeros."
        for part in parts
        if part.lost_blocks
    ]


def _filled(step: PlannedStep, parts: Mapping[str, PartFacts], point: PointFacts) -> PlannedStep:
    part = parts.get(str(step.params.get("snapshot_id", "")))
    if part is None:
        return step
    params = {
        **_archived(part, point),
        "disk": {name: value for name, value in step.params.items() if name not in ("snapshot_id", "size_gib")},
    }
    why = f"Write {part.size_gib} GiB from the repository {point.repository} into a new disk {step.params['name']}."
    return replace(step, kind="restore-disk", params=params, why=why)


def _archived(part: PartFacts, point: PointFacts) -> dict[str, Any]:
    """Which volume's bytes a step reads, and out of which repository."""
    return {
        "repository": point.repository,
        "generation": part.snapshot_id,
        "volume": part.source_id,
        "size_gib": part.size_gib,
    }


def _fetch(part: PartFacts) -> str:
    return f"fetch-{slug(part)}"


def _fetched(part: PartFacts, point: PointFacts, request: RestoreRequest) -> PlannedStep:
    key = request.kms_key or (part.kms_key_id if part.encrypted and point.here else "")
    params = {
        **_archived(part, point),
        **({"kms_key_id": key} if key else {}),
    }
    source = part.source_id or part.device
    why = f"Write {part.size_gib} GiB of {source} from the repository {point.repository} into a new snapshot."
    return PlannedStep(_fetch(part), "restore-snapshot", params, why, ("snapshot",))


def _params(step: PlannedStep, named: Mapping[str, Any], sealed: set[str]) -> dict[str, Any]:
    params = {name: _replaced(value, named) for name, value in step.params.items()}
    if step.kind == "create-volume" and step.params.get("snapshot_id") in sealed:
        params["encrypted"] = True  # what was encrypted never comes back readable, whatever the account's default is
    return params


def _replaced(value: Any, named: Mapping[str, Any]) -> Any:
    if isinstance(value, str):
        return named.get(value, value)
    if isinstance(value, Mapping):
        return {name: _replaced(item, named) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_replaced(item, named) for item in value]
    return value

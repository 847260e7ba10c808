"""A restore plan as a value: ordered steps that a person can read, the catalog can keep and a worker can do. Pure.

Binding words. Step kinds and what their `params` hold:
create-volume {snapshot_id, zone, size_gib, volume_type, iops, throughput, encrypted, kms_key_id, tags} -> volume_id
attach-volume, detach-volume {volume_id, instance_id, device}
check-volumes {instance_id, volumes: {device: volume id, '' for none}}: fails when the machine holds others
stop-instance, start-instance {instance_id}
register-image {root_device, architecture, boot_mode, ..., platform_details, volumes} -> image_id
run-instance {image_id, instance_type, subnet_id, ..., volumes, skip_devices, tags}
    -> instance_id, zone, volumes by device
deregister-image {image_id}
replace-root {instance_id, snapshot_id, tags} -> task_id
tag-resources {instance_id, volumes: {device: tags}, delete_on_termination: [device]}
delete-volume {volume_id}: only one that the restore itself made and detached
restore-snapshot {repository, generation, volume, size_gib, kms_key_id} -> snapshot_id
restore-disk {repository, generation, volume, size_gib, disk: what azure-create-disk takes} -> disk_id
restore-file {repository, generation, volume, size_gib} -> file (HOST:PATH), bytes
delete-snapshot {snapshot_id}: only one that the restore itself made
Other types have steps of their own: restore-KIND {backup_id, tags, options} and what their planners add
(coordinator/restore_types.py); their drivers know them.
A value may be {'$ref': 'STEP.OUTPUT'} or {'$ref': 'STEP.OUTPUT.KEY'}: what an earlier step made known, put in by
`resolve` before the step starts.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from tasks.errors import Internal

STEP_KINDS = frozenset(
    {
        "create-volume",
        "attach-volume",
        "detach-volume",
        "check-volumes",
        "stop-instance",
        "start-instance",
        "register-image",
        "run-instance",
        "deregister-image",
        "delete-volume",
        "restore-snapshot",
        "restore-disk",
        "restore-file",
        "delete-snapshot",
        "replace-root",
        "tag-resources",
    }
)
REF = "$ref"


@dataclass(frozen=True)
class PlannedStep:
    """One step. `why` is its sentence in a dry run; `creates` names the kinds of things that an undo removes."""

    name: str
    kind: str
    params: Mapping[str, Any]
    why: str
    creates: tuple[str, ...] = ()


@dataclass(frozen=True)
class RestorePlan:
    """What will be done, in this order, and what the operator should know before saying yes.

    `estimate`: volumes and size_gib that are created, `interrupts` when the machine in use stops or reboots.
    """

    point_id: str
    kind: str
    account: str
    region: str
    title: str
    steps: tuple[PlannedStep, ...]
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    estimate: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON, as the catalog keeps it."""
        value: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return value

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "RestorePlan":
        """Read what `to_json` wrote."""
        steps = tuple(PlannedStep(**{**step, "creates": tuple(step["creates"])}) for step in value["steps"])
        lists = {name: tuple(value[name]) for name in ("notes", "warnings")}
        return cls(**{**value, **lists, "steps": steps})


def ref(step: str, output: str) -> dict[str, str]:
    """A reference to what an earlier step makes known."""
    return {REF: f"{step}.{output}"}


def references(value: Any) -> Iterator[tuple[str, str]]:
    """Every (step, output) that a value refers to, however deep."""
    if isinstance(value, Mapping):
        if set(value) == {REF}:
            step, _, output = str(value[REF]).partition(".")
            yield step, output
            return
        value = list(value.values())
    if isinstance(value, list | tuple):
        for item in value:
            yield from references(item)


def resolve(params: Any, outputs: Mapping[str, Mapping[str, Any]]) -> Any:
    """The params with every reference replaced. `outputs` maps step name to outputs; Internal when one is missing."""
    if isinstance(params, Mapping):
        if set(params) == {REF}:
            step, _, output = str(params[REF]).partition(".")
            output, _, inner = output.partition(".")
            try:
                return outputs[step][output][inner] if inner else outputs[step][output]
            except KeyError:
                raise Internal(
                    f"The restore step {step!r} has not made {output!r} known.", code="unresolved-reference"
                ) from None
        return {name: resolve(value, outputs) for name, value in params.items()}
    if isinstance(params, list | tuple):
        return [resolve(value, outputs) for value in params]
    return params


def render(plan: RestorePlan) -> list[str]:
    """The plan as lines for a dry run. Names and tags come from a cloud: control characters are escaped."""
    lines = [_plain(plan.title)]
    for number, step in enumerate(plan.steps, 1):
        lines.append(f"{number:3}. {step.kind:<16} {_plain(step.why)}")
        lines += [f"       {name}: {_value(value)}" for name, value in step.params.items()]
    lines += [f"note: {_plain(note)}" for note in plan.notes]
    lines += [f"warning: {_plain(warning)}" for warning in plan.warnings]
    size, count = plan.estimate.get("size_gib", 0), plan.estimate.get("volumes", 0)
    volumes = f"{count} volumes, " if count else ""
    interrupts = "interrupts the machine in use" if plan.estimate.get("interrupts") else "interrupts nothing"
    lines.append(f"in all: {len(plan.steps)} steps, {volumes}{size} GiB, {interrupts}")
    return lines


def _value(value: Any) -> str:
    if isinstance(value, Mapping) and set(value) == {REF}:
        return f"<{_plain(str(value[REF]))}>"
    return json.dumps(value, ensure_ascii=True, sort_keys=True) if not isinstance(value, str) else _plain(value)


def _plain(text: str) -> str:
    return "".join(char if char.isprintable() else f"\\x{ord(char):02x}" for char in text)

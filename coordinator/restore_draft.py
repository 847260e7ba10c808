"""A restore plan while it is being drawn up."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from coordinator.restore_facts import PartFacts, PointFacts, RestoreRequest
from coordinator.restore_plan import PlannedStep, RestorePlan


@dataclass
class Draft:
    """The steps so far, and what the operator is to be told."""

    point: PointFacts
    request: RestoreRequest
    title: str = ""
    steps: list[PlannedStep] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    interrupts: bool = False

    def __post_init__(self) -> None:
        if self.point.lost:
            self.warnings.append(f"{self.point.lost} Unless it is back, only the rest can be restored, as by --volume.")

    def add(self, name: str, kind: str, params: Mapping[str, Any], why: str, creates: tuple[str, ...] = ()) -> str:
        """Append a step without its empty params; returns its name, for references."""
        kept = {key: value for key, value in params.items() if value not in ("", None, {}, [])}
        self.steps.append(PlannedStep(name, kind, kept, why, creates))
        return name

    def plan(self, parts: Sequence[PartFacts]) -> RestorePlan:
        """The finished plan; `parts` are those that become volumes, () for what has none."""
        return RestorePlan(
            point_id=self.point.id,
            kind=self.request.kind,
            account=self.point.account,
            region=self.point.region,
            title=f"Restore point {self.point.id} of {named(self.point)} {self.title}",
            steps=tuple(self.steps),
            notes=tuple(self.notes),
            warnings=tuple(self.warnings),
            estimate={
                "volumes": len(parts),
                "size_gib": sum(part.size_gib for part in parts or self.point.parts),
                "interrupts": self.interrupts,
            },
        )


def named(point: PointFacts) -> str:
    name = f" {point.resource_name!r}" if point.resource_name else ""
    return f"{point.type} {point.resource_id}{name}"

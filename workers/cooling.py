"""Exports moved to a cold storage class, as the handler needs it; a driver may offer it.

Moving again is harmless: what lies there already is left alone, so whoever goes on after a kill just goes on.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from workers.driver import Part, Point


@dataclass(frozen=True)
class Cooled:
    """What one slice moved. `ended` is False while there is more; `kept` could not be moved, and `note` says why."""

    moved: int = 0
    moved_bytes: int = 0
    kept: int = 0
    note: str = ""
    ended: bool = True


@runtime_checkable
class CoolsExports(Protocol):
    """A driver whose exports lie in object storage."""

    def cool_export(
        self, point: Point, part: Part, storage_class: str, late: Callable[[], bool], proceed: Callable[[], None]
    ) -> Cooled:
        """Move an export's objects to a class, until it is late. Raises the family, and what `proceed` raises."""

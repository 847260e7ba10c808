"""A coordinator beside another one that has the sweep lease, as all but one of a fleet are."""

from datetime import datetime

from coordinator.main import Coordinator


class Unswept(Coordinator):
    """The production coordinator, except that somebody else sweeps."""

    def _sweep(self, now: datetime, at: datetime) -> None:
        """Never its turn."""

"""How patient the drivers of AWS are: as all drivers."""

from workers.pace import Pace

__all__ = ["Pace"]

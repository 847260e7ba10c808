"""Azure: how a subscription is entered, how its errors are read, and one driver for each service."""

from collections.abc import Callable, Mapping

from workers.azure.clients import Subscriptions
from workers.azure.compute import ComputeDriver
from workers.azure.sql import SqlDriver
from workers.driver import Driver
from workers.pace import Pace

# Type name -> the driver of its service. The one place where a new service is added (ARCHITECTURE.md).
DRIVERS: Mapping[str, Callable[[Subscriptions, Pace], Driver]] = {
    "azure-disk": ComputeDriver,
    "azure-vm": ComputeDriver,
    "azure-sql": SqlDriver,
}


def build_drivers(subscriptions: Subscriptions, pace: Pace | None = None) -> dict[str, Driver]:
    """The drivers by type name; types of one service share theirs. `pace` says how patient they are."""
    chosen = pace or Pace()
    built = {make: make(subscriptions, chosen) for make in set(DRIVERS.values())}
    return {name: built[make] for name, make in DRIVERS.items()}

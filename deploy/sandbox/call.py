"""One request on its way through an operation, and the registry of operations that this package answers itself."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from deploy.sandbox.faults import RESULT, Fault, Faults
from deploy.sandbox.world import Region, World


@dataclass
class Principal:
    """Who calls: an account, the role's ARN or root, and what the role may not do."""

    account: str
    arn: str
    user_id: str
    role: Any = None
    chained: bool = False

    def allows(self, action: str) -> bool:
        return self.role is None or self.role.allows(action)


@dataclass
class Call:
    """What an operation needs to know; `here` is the caller's account in the region that was called."""

    world: World
    faults: Faults
    principal: Principal
    operation: str
    account: str
    region: str
    now: datetime
    stale: Fault | None = None

    @property
    def here(self) -> Region:
        return self.world.region(self.account, self.region)

    @property
    def config(self):
        return self.world.config

    def spoiled(self, *identifiers: str) -> Fault | None:
        """The fault, if any, that will strike what is being made from these ids."""
        return self.faults.take(RESULT, self.operation, self.account, self.region, " ".join(identifiers))


Operation = Callable[[Call, dict[str, Any]], dict[str, Any]]
OPERATIONS: dict[tuple[str, str], Operation] = {}


def operation(service: str, name: str) -> Callable[[Operation], Operation]:
    """Register a function as the answer to one operation."""

    def register(function: Operation) -> Operation:
        OPERATIONS[service, name] = function
        return function

    return register

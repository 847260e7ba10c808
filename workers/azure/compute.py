"""The driver of Azure compute: disks and virtual machines. Each method binds a subscription and translates errors."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from azure.core.exceptions import AzureError

from tasks.errors import Invalid
from tasks.states import OperationState
from workers.azure import access, backup, delete, describe, instants, interfaces, lro, restore, scripts, snapshots
from workers.azure.blocks import AzureBlocks
from workers.azure.clients import Subscriptions
from workers.azure.entered import Entered, Work
from workers.azure.errors import translate, translated
from workers.azure.ids import normal
from workers.driver import (
    Account,
    Check,
    Deleted,
    Found,
    Operation,
    Part,
    Point,
    Presence,
    Progress,
    Resource,
    Script,
    Tagged,
)
from workers.pace import Pace

_SNAPSHOT_KINDS = frozenset({"azure-snapshot", "azure-copy"})
# What is asked about one by one: how an operation of each kind is followed.
_FOLLOWED: Mapping[str, Callable[..., Progress]] = {
    instants.KIND: instants.progress,
    scripts.KIND: scripts.progress,
    interfaces.KIND: interfaces.progress,
    **dict.fromkeys(restore.OPERATION_KINDS, restore.progress),
}
_STATES: Mapping[str, OperationState] = {
    "Succeeded": OperationState.DONE,
    "Failed": OperationState.FAILED,
    "Canceled": OperationState.FAILED,
}


class ComputeDriver(Entered):
    """Implements workers.driver.Driver for 'azure-disk' and 'azure-vm'; safe to be shared by threads."""

    types: tuple[str, ...] = ("azure-disk", "azure-vm")

    work = Work(
        discover=describe.discover,
        start_backup=backup.start_backup,
        plan_copy_problem=backup.plan_copy_problem,
        start_copy=backup.start_copy,
        start_step=restore.start_step,
        undo=delete.undo,
    )

    def __init__(self, subscriptions: Subscriptions, pace: Pace) -> None:
        super().__init__(subscriptions, pace)
        self.blocks = AzureBlocks(subscriptions)

    def check(self, account: Account, region: str) -> list[Check]:  # noqa: ARG002 - entered as a whole
        try:
            self._at(account).contact()
        except AzureError as error:
            return [Check("contact", "missing", str(translate(error, "the subscription")))]
        return [
            Check("contact", "ok", f"subscription {account.number}"),
            Check("Microsoft.Compute/disks/read", "ok", "disks are listed"),
        ]

    def progress(self, operations: Sequence[Operation]) -> list[Progress]:
        if not operations:
            return []
        clients = self._at(operations[0].account)
        with translated("progress"):
            of_snapshots = [one for one in operations if one.kind in _SNAPSHOT_KINDS]
            answers = snapshots.progress(clients, of_snapshots, self._pace) if of_snapshots else {}
            for one in operations:
                if one.kind in _FOLLOWED:
                    follow = partial(_FOLLOWED[one.kind], clients, pace=self._pace)
                    answers[one.external_id] = lro.patient(one, self._pace, follow)
        return [answers.get(one.external_id, _unknown(one)) for one in operations]

    def start_script(self, machine: Resource, script: Script, key: str, tags: Mapping[str, str]) -> Operation:
        """Begin a script in a machine's guest, or adopt what this key began. Raises the family."""
        with translated("a script"):
            return scripts.start(self._at(machine.account), machine, script, key, tags, self._pace)

    def end_script(self, operation: Operation) -> bool:
        """Take a script's run command off its machine; whether it is gone. Raises the family."""
        with translated("the end of a script"):
            return scripts.end(self._at(operation.account), operation)

    def find(self, account: Account, region: str, key: str) -> list[Found]:
        with translated("a look-up"):
            models = snapshots.with_key(self._at(account), key)
            here = [one for one in models if describe.region_of(one) == region]
            of_machines = instants.find(self._at(account), region, key)
        return [*(Found("snapshot", normal(one["id"]), _state(one)) for one in here), *of_machines]

    def tagged(self, account: Account, region: str, installation: str) -> list[Tagged]:
        """Every snapshot there that carries this installation's tag. Raises the family."""
        with translated("a look-up"):
            return snapshots.tagged(self._at(account), region, installation)

    def part_again(self, one: Tagged, resource: Resource) -> Part:
        """The part as a backup of the resource would have recorded it. No call."""
        return backup.part_again(one, resource)

    def present(self, account: Account, region: str, parts: Sequence[Part]) -> Presence:  # noqa: ARG002 - the shape
        """Those snapshots that are there, in whichever region. Raises the family."""
        with translated("a look for recovery points"):
            return snapshots.present(self._at(account), parts)

    def shut_forgotten(self, account: Account, region: str, in_use: frozenset[str]) -> list[str]:
        """Revoke access to blocks that no work needs any more; the ids of what was open. Raises the family."""
        return access.shut_forgotten(self._at(account), region, in_use, describe.region_of)

    def delete(self, points: Sequence[Point]) -> list[Deleted]:
        answers: list[Deleted] = []
        for point in points:
            with translated("a deletion"):
                way = instants if instants.is_restore_point(point.image_id) else delete
                answers += way.delete(self._at(point.account), point)
        return answers


def _state(model: Mapping[str, object]) -> OperationState:
    properties = model.get("properties")
    state = properties.get("provisioningState", "") if isinstance(properties, Mapping) else ""
    return _STATES.get(str(state), OperationState.RUNNING)


def _unknown(operation: Operation) -> Progress:
    """A kind that another version began: it must not keep the other operations of its place from being followed."""
    error = Invalid(f"This version follows no operation of kind {operation.kind!r}.")
    return Progress(operation.external_id, OperationState.FAILED, error=error)

"""Resource ids of Azure Resource Manager: their parts, and the one form in which they are kept and compared."""

import hashlib
from dataclasses import dataclass

from tasks.errors import Invalid


@dataclass(frozen=True)
class ArmId:
    """The parts of an id such as /subscriptions/S/resourceGroups/G/providers/Microsoft.Compute/disks/D."""

    subscription: str
    group: str
    kind: str
    name: str


def normal(resource_id: str) -> str:
    """In lower case: ARM takes ids in any case and gives them back in another than they were sent in."""
    return resource_id.strip().lower()


def read_id(resource_id: str) -> ArmId:
    """The parts of a resource's id. Raises Invalid for anything else."""
    words = resource_id.strip("/").split("/")
    if len(words) != 8 or words[0].lower() != "subscriptions" or words[2].lower() != "resourcegroups":
        raise Invalid(f"{resource_id[:200]!r} is not the id of an Azure resource.")
    return ArmId(words[1], words[3], words[6], words[7])


def id_of(subscription: str, group: str, kind: str, name: str) -> str:
    """The normal form of a compute resource's id; `kind` is 'disks', 'snapshots' or 'virtualMachines'."""
    return normal(f"/subscriptions/{subscription}/resourceGroups/{group}/providers/Microsoft.Compute/{kind}/{name}")


def name_for(key: str) -> str:
    """The name of what a key makes: the same for ever, unlike any other key's, and valid for every compute resource
    (80 letters, digits, hyphens). A PUT on a name in use takes no new snapshot and still succeeds (azure-cli 28879), so
    a name is never used for two wishes."""
    return "snapfleet-" + hashlib.sha256(key.encode()).hexdigest()[:40]


def part_key(key: str, part: str) -> str:
    """The key of one part of a wish that takes several calls, so that a broken-off attempt resumes exactly."""
    return f"{key}/{hashlib.sha256(normal(part).encode()).hexdigest()[:16]}"

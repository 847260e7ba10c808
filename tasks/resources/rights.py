"""What a role must be allowed, as IAM policies: made from what the resource types declare, for three duties.

`snapshot` backs up, copies, archives and follows; `cleanup` deletes what has aged and takes back failed restores;
`restore` makes things from recovery points. No duty both creates and deletes. A type declares its actions by feature
(tasks.resources.kind); where an action is confined to some resources or to what carries our tag, tasks.resources.limits
says so. A policy has at most 6,144 characters (IAM quotas, managed policies), so that a duty may take several.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tasks.resources.kind import ResourceType
from tasks.resources.limits import CONDITIONS, LIMITS, Limit

DUTIES = ("snapshot", "cleanup", "restore")
# Feature -> the duty whose role needs its actions; in the words of `snapfleet account check`.
FEATURES: Mapping[str, str] = {
    "back up": "snapshot",
    "copy": "snapshot",
    "archive": "snapshot",
    "move exports to a cold class": "snapshot",
    "use customer-managed keys": "snapshot",
    "restore": "restore",
    "restore from an archive": "restore",
    "delete what has aged": "cleanup",
    "take back a failed restore": "cleanup",
}
# So that `snapfleet account check` can ask what a role may do without trying it.
CHECK_ACTIONS = ("iam:GetRole", "iam:SimulatePrincipalPolicy")
_WORDS = {"snapshot": "back up and copy", "cleanup": "delete what has aged", "restore": "restore"}
_READS = ("Describe", "List", "Get")
_FOLLOWS = ("Describe", "List")  # questions about what goes on; GetItem and GetObject read content
_DELETIONS = ("Delete", "Deregister", "Terminate", "BatchDelete")
_MOST_CHARACTERS = 6_144
_VERSION = "2012-10-17"


@dataclass(frozen=True)
class Place:
    """What stands in the policies' names: '*' where a policy is for any account or installation."""

    partition: str = "aws"
    account: str = "*"
    installation: str = "*"


def actions_of(kind: ResourceType, feature: str) -> tuple[str, ...]:
    """The actions of one feature of a type, those of FEATURES. Raises KeyError for another word."""
    return {
        "back up": kind.backup_actions,
        "copy": kind.copy_actions,
        "archive": kind.archive_actions,
        "move exports to a cold class": kind.cooling_actions,
        "use customer-managed keys": kind.key_actions,
        "restore": kind.restore_actions,
        "restore from an archive": kind.fetch_actions,
        "delete what has aged": kind.delete_actions,
        "take back a failed restore": kind.undo_actions,
    }[feature]


def is_read(action: str) -> bool:
    """Whether an action only looks."""
    service, _, name = action.partition(":")
    return name.startswith(_READS) or (not name and service.endswith("/read"))


def is_deletion(action: str) -> bool:
    """Whether an action takes something away."""
    return action.rsplit(":", maxsplit=1)[-1].startswith(_DELETIONS)


def granted(kinds: Iterable[ResourceType], duty: str, features: Iterable[str] = tuple(FEATURES)) -> tuple[str, ...]:
    """The actions that a duty needs for these features of these types, sorted.

    Restores are followed by the same polls as snapshots, so that `snapshot` has their reads; and what is restored lies
    under customers' keys, so that `restore` uses keys.
    """
    found: set[str] = set()
    wanted = {feature: FEATURES[feature] for feature in features}
    for kind in kinds:
        for feature, of in wanted.items():
            actions = actions_of(kind, feature)
            if of == duty or (duty == "restore" and feature == "use customer-managed keys"):
                found |= set(actions)
            elif duty == "snapshot" and of == "restore":
                found |= {action for action in actions if action.split(":")[-1].startswith(_FOLLOWS)}
    asks = any(":" in action for action in found)  # of AWS; Azure's are paths
    return tuple(sorted(found | set(CHECK_ACTIONS if asks else ())))


def limits_of(action: str, duty: str) -> tuple[Limit, ...]:
    """What confines an action in the role of a duty; one limit without anything for most."""
    return LIMITS.get(f"{duty}/{action}") or LIMITS.get(action) or (Limit(),)


def statements(actions: Sequence[str], duty: str, place: Place) -> list[dict[str, Any]]:
    """The actions as statements of a policy: those with the same resources and condition together."""
    groups: dict[Limit, list[str]] = {}
    for action in actions:
        for limit in limits_of(action, duty):
            groups.setdefault(limit, []).append(action)
    made = []
    for limit, members in groups.items():
        statement: dict[str, Any] = {"Effect": "Allow", "Action": members, "Resource": _resources(limit, place)}
        if limit.condition:
            statement["Condition"] = json.loads(
                json.dumps(CONDITIONS[limit.condition]).replace("{installation}", place.installation)
            )
        made.append(statement)
    return made


def exportable(kind: ResourceType) -> bool:
    """Whether the cloud exports backups of this type to object storage."""
    return "rds:StartExportTask" in kind.archive_actions


def looks(kinds: Iterable[ResourceType]) -> tuple[str, ...]:
    """The questions by which these types are discovered: the fleet looks at everything that an account has."""
    return tuple(sorted({one for kind in kinds for one in kind.look_actions or _questions(kind)}))


def _questions(kind: ResourceType) -> list[str]:
    return [one for one in kind.backup_actions if _name(one).startswith(_FOLLOWS)]


def _name(action: str) -> str:
    return action.rsplit(":", maxsplit=1)[-1]


def azure_role(actions: Sequence[str], duty: str, subscription: str) -> dict[str, Any]:
    """A custom role of Azure with these actions, as `az role definition create` takes it."""
    return {
        "Name": f"Snapfleet {duty}",
        "Description": f"What Snapfleet needs to {_WORDS[duty]}",
        "IsCustom": True,
        "Actions": list(actions),
        "NotActions": [],
        "AssignableScopes": [f"/subscriptions/{subscription}"],
    }


def _resources(limit: Limit, place: Place) -> list[str]:
    return [one.format(partition=place.partition, account=place.account) for one in limit.resources]


def documents(actions: Sequence[str], duty: str, place: Place) -> list[dict[str, Any]]:
    """The statements as policies, each small enough to be one of IAM's."""
    return packed(statements(actions, duty, place))


def packed(wanted: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Statements as policies, each small enough to be one of IAM's."""
    made: list[list[dict[str, Any]]] = []
    for statement in (part for whole in wanted for part in _small(whole)):
        if not made or _length([*made[-1], statement]) > _MOST_CHARACTERS:
            made.append([])
        made[-1].append(statement)
    return [_document(some) for some in made]


def _small(statement: dict[str, Any]) -> Iterable[dict[str, Any]]:
    """A statement in halves until each fits into a policy of its own."""
    actions = statement["Action"]
    if len(actions) == 1 or _length([statement]) <= _MOST_CHARACTERS:
        yield statement
        return
    middle = len(actions) // 2
    for some in (actions[:middle], actions[middle:]):
        yield from _small({**statement, "Action": some})


def _document(some: list[dict[str, Any]]) -> dict[str, Any]:
    return {"Version": _VERSION, "Statement": some}


def _length(some: list[dict[str, Any]]) -> int:
    """Characters as IAM counts them: without white space."""
    return len(json.dumps(_document(some), separators=(",", ":")).replace(" ", ""))

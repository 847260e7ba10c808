"""Which resources a policy means just now. Pure: the policy's targets and what was discovered in, matches out.

A resource that several targets match is taken once; exclusions of volumes add up and win. A volume that only a tag
matched is left to its instance when that is taken too, so that one volume is not snapshotted twice in a run; a
volume named by id is always taken, attached or not.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tasks.resources import TYPES

ANY = "*"  # as a tag's value: any value
ResourceKey = tuple[str, str, str, str]  # account's name, region, type, id
# The type of what is taken with its machine, and the type of that machine.
_HOLDERS: Mapping[str, str] = {"volume": "instance", "azure-disk": "azure-vm"}
MACHINES = frozenset(_HOLDERS.values())
"""Types of which a backup holds disks, some of which a target may exclude."""


@dataclass
class ResourceFact:
    """A resource as last discovered. `gone` means that the last look did not find it any more.

    Nobody changes one; to make one of a frozen class takes three times as long.
    """

    id: int
    account: str
    region: str
    type: str
    external_id: str
    parent_id: str = ""
    name: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    gone: bool = False


@dataclass
class Target:
    """A resource to back up in this run, the volumes to leave out, and options of its type. Nobody changes one."""

    resource: ResourceFact
    exclude: tuple[str, ...] = ()
    options: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Problem:
    """A target that cannot become a job, with a code and a sentence."""

    target: str
    code: str
    text: str

    def to_json(self) -> dict[str, str]:
        """As the catalog keeps it."""
        return {"target": self.target, "code": self.code, "text": self.text}


@dataclass
class Resolved:
    """What a policy means: targets in a stable order, and what it names in vain. Nobody changes one."""

    targets: tuple[Target, ...]
    problems: tuple[Problem, ...]


def scopes_of(targets: Iterable[Mapping[str, Any]], regions: Mapping[str, Sequence[str]]) -> set[tuple[str, str, str]]:
    """(account, region, service) triples that must have been looked at to resolve these targets.

    `regions` maps the name of each usable account to its regions.
    """
    wanted: set[tuple[str, str, str]] = set()
    for target in targets:
        if "id" in target:
            if target["type"] in TYPES and target["account"] in regions:
                wanted.add((target["account"], target["region"], TYPES[target["type"]].service))
            continue
        types = target.get("types") or types_meant(target)
        accounts = target.get("accounts") or list(regions)
        for account in accounts:
            only = target.get("regions") or regions.get(account, ())
            wanted |= {(account, region, TYPES[name].service) for region in only for name in types if name in TYPES}
    return {scope for scope in wanted if scope[0] in regions}


def types_meant(target: Mapping[str, Any]) -> list[str]:
    """The types that a tag alone means: not those that need an option which the target does not give."""
    given = target.get("options") or {}
    needed = {name: [one.name for one in kind.backup_options if one.required] for name, kind in TYPES.items()}
    return [name for name in TYPES if all(option in given for option in needed[name])]


def resolve(targets: Sequence[Mapping[str, Any]], resources: Sequence[ResourceFact]) -> Resolved:
    """The resources that `targets` (the policy's list, estate file shape) mean among `resources`."""
    return resolve_among(
        targets, {(fact.account, fact.region, fact.type, fact.external_id): fact for fact in resources}
    )


def resolve_among(targets: Sequence[Mapping[str, Any]], by_id: Mapping[ResourceKey, ResourceFact]) -> Resolved:
    """The same among resources by account, region, type and id."""
    if len(targets) == 1 and "id" in targets[0]:
        return _one(targets[0], by_id)
    resources = by_id.values()
    chosen: dict[int, ResourceFact] = {}
    excluded: dict[int, set[str]] = {}
    options: dict[int, dict[str, str]] = {}
    named: set[int] = set()
    problems: list[Problem] = []
    for target in targets:
        matches = _by_id(target, by_id, problems) if "id" in target else _by_tag(target, resources)
        for fact in matches:
            chosen[fact.id] = fact
            excluded.setdefault(fact.id, set()).update(_excluded(target, fact))
            options.setdefault(fact.id, {}).update(target.get("options") or {})
            if "id" in target:
                named.add(fact.id)
    machines = {(fact.type, fact.external_id): fact.id for fact in chosen.values() if fact.type in MACHINES}
    taken = [
        Target(fact, tuple(sorted(excluded[fact.id])), options[fact.id])
        for fact in chosen.values()
        if fact.id in named or not _covered(fact, machines, excluded)
    ]
    taken.sort(key=lambda item: (item.resource.account, item.resource.region, item.resource.external_id))
    return Resolved(tuple(taken), tuple(problems))


def _one(target: Mapping[str, Any], by_id: Mapping[ResourceKey, ResourceFact]) -> Resolved:
    """The same where one resource is named and nothing else: what most policies of a large estate do."""
    problems: list[Problem] = []
    found = _by_id(target, by_id, problems)
    options = dict(target.get("options") or {})
    return Resolved(tuple([Target(fact, _sorted(_excluded(target, fact)), options) for fact in found]), tuple(problems))


def _sorted(excluded: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(set(excluded))) if excluded else ()


def _by_id(
    target: Mapping[str, Any],
    by_id: Mapping[ResourceKey, ResourceFact],
    problems: list[Problem],
) -> list[ResourceFact]:
    fact = by_id.get((target["account"], target["region"], target["type"], target["id"]))
    if fact is None or fact.gone:
        place = f"{target['account']}/{target['region']}"
        text = f"{target['type']} {target['id']} " + (
            f"is not there any more in {place}." if fact else f"was not found in {place}."
        )
        problems.append(Problem(target["id"], "gone", text))
        return []
    return [fact]


def kept_id(text: str) -> str:
    """An id as the catalog has it: in lower case for Azure, which shows the same id in any case."""
    return text.lower() if text.lower().startswith("/subscriptions/") else text


def may_choose(target: Mapping[str, Any], account: str, region: str, kind: str) -> bool:
    """Whether a target would choose something of this type there by its tags, whatever those are."""
    accounts, regions = (target.get(name) for name in ("accounts", "regions"))
    return (
        "tag" in target
        and kind in (target.get("types") or types_meant(target))
        and (not accounts or account in accounts)
        and (not regions or region in regions)
    )


def _by_tag(target: Mapping[str, Any], resources: Iterable[ResourceFact]) -> list[ResourceFact]:
    wanted = target["tag"]
    accounts, regions = (target.get(name) for name in ("accounts", "regions"))
    types = target.get("types") or types_meant(target)
    return [
        fact
        for fact in resources
        if not fact.gone
        and fact.type in types
        and (not accounts or fact.account in accounts)
        and (not regions or fact.region in regions)
        and all(key in fact.tags and value in (ANY, fact.tags[key]) for key, value in wanted.items())
    ]


def _excluded(target: Mapping[str, Any], fact: ResourceFact) -> Iterable[str]:
    volumes = target.get("volumes") or {}
    return volumes.get("exclude", ()) if fact.type in MACHINES else ()


def _covered(fact: ResourceFact, machines: Mapping[tuple[str, str], int], excluded: Mapping[int, set[str]]) -> bool:
    """Whether a disk is in the backup of its machine, which is chosen too."""
    holder = _HOLDERS.get(fact.type)
    machine = machines.get((holder, fact.parent_id)) if holder else None
    return machine is not None and fact.external_id not in excluded[machine]

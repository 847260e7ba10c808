"""What a policy asks for and would not be carried out for what its targets mean just now, with the cloud's reason.

A type that a target names is refused when the file is read, where the table says no whatever the resource is like. A
tag means whatever carries it: of that, and of what only the resource itself tells (a key, a deployment type), this says
before anything runs what a run would only refuse one by one. Pure.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from coordinator.routes import Refusal, SourceFacts, plan_route
from coordinator.targets import ResourceFact, resolve, types_meant
from tasks.resources import ResourceType
from tasks.resources.rds import EXPORT_ENGINES
from tasks.resources.rights import exportable


@dataclass(frozen=True)
class Reached:
    """A discovered resource, with the attributes that were found of it."""

    fact: ResourceFact
    attributes: Mapping[str, Any] = field(default_factory=dict)


def meant(spec: Mapping[str, Any], facts: Sequence[ResourceFact]) -> list[ResourceFact]:
    """The resources that a policy's targets mean."""
    return [one.resource for one in resolve(spec.get("targets", ()), facts).targets]


def unmet(
    spec: Mapping[str, Any],
    found: Sequence[Reached],
    types: Mapping[str, ResourceType],
    clouds: Mapping[str, str],
) -> list[dict[str, Any]]:
    """What would not be carried out: {what, type, count, example, text}, each reason once.

    `found` is what the policy means; `clouds` tells the cloud of each account.
    """
    counted: dict[tuple[str, str, str], list[str]] = {}
    for one in found:
        kind = types.get(one.fact.type)
        if kind is None:
            continue
        for what, text in [*_copies(spec, one, kind, clouds), *_keeping(spec, one, kind)]:
            counted.setdefault((what, kind.name, text), []).append(one.fact.external_id)
    return [_row(what, name, ids, text) for (what, name, text), ids in sorted(counted.items())]


def left_out(
    spec: Mapping[str, Any], facts: Sequence[ResourceFact], types: Mapping[str, ResourceType]
) -> list[dict[str, Any]]:
    """What carries the tag of a target without types and is not meant by it, because its type needs an option."""
    rows: dict[str, tuple[str, list[str]]] = {}
    for target in spec.get("targets", ()):
        if "tag" not in target or target.get("types"):
            continue
        unmeant = sorted(set(types) - set(types_meant(target)))
        for fact in meant({"targets": [{**target, "types": unmeant}]}, facts) if unmeant else ():
            needed = ", ".join(f"options.{one.name}" for one in types[fact.type].backup_options if one.required)
            text = (
                f"{fact.type} needs {needed} in its target, so that a tag alone means none: nothing protects them here"
            )
            rows.setdefault(fact.type, (text, []))[1].append(fact.external_id)
    return [_row("targets", name, ids, text) for name, (text, ids) in sorted(rows.items())]


def _row(what: str, name: str, ids: Sequence[str], text: str) -> dict[str, Any]:
    return {"what": what, "type": name, "count": len(ids), "example": ids[0], "text": text}


def _copies(
    spec: Mapping[str, Any], one: Reached, kind: ResourceType, clouds: Mapping[str, str]
) -> Iterator[tuple[str, str]]:
    fact, facts = one.fact, one.attributes
    source = SourceFacts(
        0, fact.id, fact.type, fact.account, fact.region, 1,
        default_key=bool(facts.get("default_key")), encrypted=bool(facts.get("encrypted")), found=facts,
    )  # fmt: skip
    for entry in spec.get("dr") or ():
        account = entry.get("account") or fact.account
        place = f"{account}/{entry['region']}"
        if clouds.get(account, kind.cloud) != kind.cloud:
            yield f"dr {place}", f"{kind.name} is of {kind.cloud}, and {account} is not"
            continue
        route = plan_route(kind, source, place, entry)
        if isinstance(route, Refusal):
            yield f"dr {place}", route.text
        elif kind.carried and account == fact.account and entry.get("every", 1) != 1:
            yield f"dr {place}", f"{kind.name} copies every backup to the other region, not each {entry['every']}th"


def _keeping(spec: Mapping[str, Any], one: Reached, kind: ResourceType) -> Iterator[tuple[str, str]]:
    repository = spec.get("repository") or {}
    if repository and not kind.repository:
        why = next((f": {note}" for note in kind.notes if "repository" in note), "")
        yield f"repository {repository.get('name', '')}", f"{kind.name} cannot be kept in a repository{why}"
    elif "archive" in repository and not kind.cold:
        yield f"repository {repository.get('name', '')}", f"{kind.name} cannot be kept in cold storage"
    if spec.get("export"):
        why = _unexported(one, kind)
        if why:
            yield f"export {spec['export'].get('bucket', '')}", why


def _unexported(one: Reached, kind: ResourceType) -> str:
    """'' or why no backup of it is exported."""
    if not exportable(kind):
        return f"the cloud exports no backups of {kind.name} to object storage"
    engine = str(one.attributes.get("engine", ""))
    if engine and not engine.startswith(EXPORT_ENGINES):
        return f"RDS exports snapshots of MySQL, MariaDB and PostgreSQL, not of {engine} (StartExportTask)"
    return ""

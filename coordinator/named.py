"""Resources that policies name by where they are and their ids: found one by one, however large the estate is."""

from collections.abc import Mapping, Sequence
from typing import Any

from coordinator.targets import ResourceFact, ResourceKey
from tasks.catalog import Resource
from tasks.catalog.bulk import find_rows


def is_named(target: object) -> bool:
    """Whether a target of a policy names one resource by where it is and its id."""
    if not isinstance(target, Mapping):
        return False
    place, kind, name = (target.get("account"), target.get("region")), target.get("type"), target.get("id")
    return isinstance(place[0], str) and isinstance(place[1], str) and isinstance(kind, str) and isinstance(name, str)


def named_facts(targets: Sequence[Mapping[str, Any]], accounts: Mapping[str, int]) -> dict[ResourceKey, ResourceFact]:
    """Discovered resources that targets name, by (account, region, type, id): an index lookup for each, however large
    the estate. What a target names in vain is left out, as are tags, which nobody asks of a named resource."""
    names = {number: name for name, number in accounts.items()}
    keys = {
        (accounts[target["account"]], target["region"], target["type"], target["id"])
        for target in targets
        if target["account"] in accounts
    }
    columns = ["id", "account", "region", "type", "external_id", "parent_id", "name", "gone_at"]
    found = find_rows(Resource, ["account", "region", "type", "external_id"], sorted(keys), columns)
    return {
        (names[account], region, kind, external_id): ResourceFact(
            number, names[account], region, kind, external_id, parent, name, {}, gone_at is not None
        )
        for number, account, region, kind, external_id, parent, name, gone_at in found
    }

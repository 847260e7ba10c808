"""Which snapshots of warehouses are there: those that carry our tag, and those that somebody asks for by name."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from typing import Any

from tasks.errors import Gone
from workers.aws import redshift_clusters, redshift_serverless
from workers.aws.errors import translated
from workers.aws.redshift_backup import Tools, house_of, part_under
from workers.aws.redshift_copying import CLUSTER
from workers.aws.redshift_delete import houses
from workers.aws.redshift_serverless import NAMESPACE, arn_of
from workers.aws.redshift_snap import House, Snap
from workers.aws.session import Clients
from workers.aws.tags import OUR_NAME, TAG_SOURCE_SNAPSHOT
from workers.driver import TAG_INSTALLATION, Part, Presence, Tagged, untold


def tagged(tools: Tools, clients: Clients, installation: str) -> list[Tagged]:
    """Snapshots of clusters that carry this installation's tag and a name of ours; Serverless tells tags one by one
    only. Never clusters: restored ones carry it too."""
    every = [one for name, one in redshift_clusters.snapshots(clients).items() if OUR_NAME.fullmatch(name)]
    return _ours(tools, clients, every, installation, serverless=False)


def tagged_one_by_one(tools: Tools, clients: Clients, installation: str) -> list[Tagged]:
    """The same of Serverless, where the region has it: a question for each name of ours."""
    if redshift_serverless not in houses(clients):
        return []
    every: list[Snap] = []
    for name, one in redshift_serverless.snapshots(clients).items():
        if OUR_NAME.fullmatch(name) and one.state != "gone":
            with suppress(Gone), translated("a look for tags"):  # deleted meanwhile
                every.append(replace(one, tags=redshift_serverless.tags_of(clients, one)))
    return _ours(tools, clients, every, installation, serverless=True)


def _ours(
    tools: Tools, clients: Clients, every: Sequence[Snap], installation: str, *, serverless: bool
) -> list[Tagged]:
    mine = [one for one in every if one.created_at and (one.tags or {}).get(TAG_INSTALLATION) == installation]
    default = tools.keys.of(clients) if any(one.encrypted for one in mine) else None
    return [_tagged(one, one.tags or {}, default, serverless=serverless) for one in mine]


def _tagged(snap: Snap, tags: Mapping[str, str], default: str | None, *, serverless: bool) -> Tagged:
    """A snapshot; one of a temporary warehouse does not tell of what that was made."""
    more: dict[str, Any] = {"carried": True, "source_snapshot": snap.name} if snap.carried else {}
    made_of = "" if snap.carried else tags.get(TAG_SOURCE_SNAPSHOT, "")
    more |= {"source_snapshot": made_of} if made_of else {}
    part = part_under(snap, default, serverless=serverless, **more)
    return Tagged(
        "snapshot",
        snap.name,
        datetime.fromisoformat(snap.created_at),
        tags,
        "" if made_of else snap.source,
        snap.size_gib,
        complete=snap.state == "available",
        encrypted=snap.encrypted,
        kms_key_id=snap.kms_key_id,
        attributes=part.attributes,
        type="redshift",
    )


def present(clients: Clients, parts: Sequence[Part]) -> Presence:
    """Those that are there: snapshots, and the clusters and namespaces that are on the way to another account. Of loans
    nothing is told: they lie in their owners' accounts."""
    mine = {part.external_id: part for part in parts if OUR_NAME.fullmatch(part.external_id) and not _is_lent(part)}
    there = untold(part for part in parts if part.external_id not in mine)
    asked = {house.SERVERLESS: _of(house, list(mine.values())) for house in (redshift_clusters, redshift_serverless)}
    offered = {house.SERVERLESS: house for house in houses(clients)}
    for serverless, names in asked.items():
        if serverless not in offered:
            there |= dict.fromkeys(names)
        elif names:
            found = offered[serverless].snapshots(clients)
            there |= {name: _told(found[name]) for name in names & found.keys() if found[name].state != "gone"}
    left = [part for name, part in mine.items() if name not in there]
    return {**there, **untold(part for part in left if _is_temporary(clients, part))}


def _is_lent(part: Part) -> bool:
    return bool(part.attributes.get("lent"))


def _of(house: House, parts: Sequence[Part]) -> set[str]:
    """What may be a snapshot in this service; a part that was found again knows only its name."""
    known = (part for part in parts if not part.attributes.get(CLUSTER) and not part.attributes.get(NAMESPACE))
    return {
        part.external_id
        for part in known
        if "serverless" not in part.attributes or house_of(part.attributes).SERVERLESS == house.SERVERLESS
    }


def _told(snap: Snap) -> Mapping[str, str] | None:
    """What the cluster carried here by itself has come without our tags, and goes without them."""
    return None if snap.carried else snap.tags


def _is_temporary(clients: Clients, part: Part) -> bool:
    """Whether it is a temporary cluster or namespace that is there."""
    if part.attributes.get(CLUSTER):
        return redshift_clusters.cluster(clients, part.external_id) is not None
    return bool(part.attributes.get(NAMESPACE)) and arn_of(clients, NAMESPACE, part.external_id) is not None

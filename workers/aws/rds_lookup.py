"""Which database snapshots are there: those that carry our tag, and those that somebody asks for by name."""

import re
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime

from tasks.errors import Gone
from workers.aws.errors import translated
from workers.aws.rds_backup import Tools, is_encrypted, part_under
from workers.aws.rds_calls import Answer, Family, describe_named, manual
from workers.aws.rds_export import is_export
from workers.aws.rds_progress import GOING
from workers.aws.session import Clients
from workers.aws.tags import OUR_NAME, TAG_SOURCE_SNAPSHOT, read_tags
from workers.driver import TAG_INSTALLATION, Part, Presence, Tagged, untold

_NAME = re.compile(r"[a-z][a-z0-9-]*")  # "Constraints for identifiers"; a shared snapshot goes by its ARN
_OTHERS = frozenset({"docdb", "neptune"})  # engines that share RDS's control plane, and have drivers of their own


def tagged(tools: Tools, clients: Clients, installation: str) -> list[Tagged]:
    """Snapshots of a family that carry an installation's tag and a name of ours: what people take of a restored
    database gets its tags along (CopyTagsToSnapshot). Not for DocumentDB, whose lists tell no tags."""
    named = manual(tools.family, tools.family.read(clients))
    rows = [row for row in named if OUR_NAME.fullmatch(row[tools.family.identifier])]
    return _ours(tools, clients, [row for row in rows if row.get("Engine") not in _OTHERS], installation)


def tagged_one_by_one(tools: Tools, clients: Clients, installation: str) -> list[Tagged]:
    """The same of DocumentDB, whose list has the snapshots of its siblings too: a question for each name of ours."""
    client = tools.family.read(clients)
    named = (row for row in manual(tools.family, client) if OUR_NAME.fullmatch(row[tools.family.identifier]))
    rows: list[Answer] = []
    for row in (one for one in named if one.get("Engine") == tools.family.client):
        with suppress(Gone), translated("a look for tags"):  # deleted meanwhile
            told = client.list_tags_for_resource(ResourceName=row[tools.family.arn])["TagList"]
            rows.append({**row, "TagList": told})
    return _ours(tools, clients, rows, installation)


def _ours(tools: Tools, clients: Clients, rows: Sequence[Answer], installation: str) -> list[Tagged]:
    mine = [row for row in rows if read_tags(row.get("TagList")).get(TAG_INSTALLATION) == installation]
    default = tools.keys.of(clients) if any(is_encrypted(row) for row in mine) else None
    return [_tagged(tools, row, default) for row in mine]


def _tagged(tools: Tools, row: Answer, default: str | None) -> Tagged:
    """A snapshot being made has no time yet: it is as young as can be."""
    tags, part = read_tags(row.get("TagList")), part_under(tools.family, row, default)
    source = tags.get(TAG_SOURCE_SNAPSHOT, "")
    began_at: datetime = row.get("SnapshotCreateTime") or tools.pace.clock.timer()
    return Tagged(
        "snapshot",
        part.external_id,
        began_at,
        tags,
        part.source_id,
        part.size_gib,
        complete=row["Status"] == "available",
        encrypted=part.encrypted,
        kms_key_id=part.kms_key_id,
        attributes={**part.attributes, **({"source_snapshot": source} if source else {})},
        type=tools.family.type,
    )


def present(family: Family, clients: Clients, parts: Sequence[Part]) -> Presence:
    """Those snapshots that are there; of exports, which are objects in a bucket, nothing is told."""
    names = [one.external_id for one in parts if _NAME.fullmatch(one.external_id) and not is_export(one)]
    found = describe_named(family, family.read(clients), names)
    there = {name: row for name, row in found.items() if row["Status"] not in GOING}
    others = untold(one for one in parts if one.external_id not in set(names))
    return {**others, **{name: read_tags(row["TagList"]) if "TagList" in row else None for name, row in there.items()}}

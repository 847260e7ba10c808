"""Archives of recovery points in a repository: which runs get one, and what holds the snapshots they build on.

The snapshot that the newest generation was read from stays until the next generation is good, because only the
difference to it makes the next one cheap. Pure but for `repositories` and `held_bases`, which read.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from coordinator.interval import Interval
from coordinator.plan import PolicyFacts, derived_key
from coordinator.routes import Refusal, SourceFacts
from tasks.catalog import Point, Policy, Repository
from tasks.catalog.archives import bases_in_use, read_by_archives
from tasks.lanes import Lane
from tasks.resources import TYPES

# How often locks are extended: a request for each object, $0.06 a TiB (S3 price list, 2026-11).
LOCK_EVERY = timedelta(days=7)


@dataclass(frozen=True)
class Place:
    """A repository as planning needs it."""

    name: str
    account: str
    region: str
    lock_days: int = 0  # for how long nobody can delete what is written or still needed; 0 without Object Lock


def lock_days_of(spec: Mapping[str, Any]) -> int:
    """Days that objects of a repository are locked for when they are written or looked after; 0 for never.

    The time in between is added, so that they are always locked for as long as the estate says.
    """
    if not spec.get("lock"):
        return 0
    return math.ceil((Interval.parse(spec["lock"], "lock").duration + LOCK_EVERY) / timedelta(days=1))


def repositories() -> dict[str, Place]:
    """The estate's repositories by name."""
    found: Any = Repository.select()
    return {row.name: Place(row.name, row.spec["account"], row.spec["region"], lock_days_of(row.spec)) for row in found}


def archive_due(policy: PolicyFacts, ordinal: int) -> str:
    """The repository whose turn it is on the policy's `ordinal`-th successful run (the first one is); '' for none."""
    wanted = policy.spec.get("repository") or {}
    if not wanted or (ordinal - 1) % int(wanted.get("every", 1)):
        return ""
    return str(wanted["name"])


def plan_archive(
    policy: PolicyFacts,
    run_id: int | None,
    source: SourceFacts,
    name: str,
    known: Mapping[str, Place],
    accounts: Mapping[str, int],
    priority: int,
) -> dict[str, Any] | Refusal:
    """The job that archives one point. Generations of a resource in a repository are made one after the other."""
    place, kind = known.get(name), TYPES[source.resource_type]
    if not kind.repository:
        text = f"{kind.name} cannot be kept in a repository."
        return Refusal(f"{source.account}/{source.region}", "not-archivable", text)
    if place is None:
        return Refusal(f"{source.account}/{source.region}", "unknown-repository", f"There is no repository {name!r}.")
    if place.account not in accounts:
        text = f"The account {place.account!r} of the repository {name!r} was removed."
        return Refusal(f"{source.account}/{source.region}", "unknown-account", text)
    attempts, wait = policy.retries
    lock = {"lock_days": place.lock_days} if place.lock_days else {}
    return {
        "kind": "archive",
        "lane": str(Lane.REPOSITORY),
        "key": derived_key(policy.installation, "archive", source.point_id, name),
        "run": run_id,
        "account": accounts[source.account],
        "region": source.region,
        "service": kind.service,
        "resource": source.resource_id,
        "priority": priority,
        "max_attempts": attempts,
        "retry_wait_s": wait,
        "chain": f"archive:{source.resource_id}:{name}",
        "spec": {"point": source.point_id, "repository": name, **class_of(policy.spec, name), **lock},
    }


def class_of(spec: Mapping[str, Any], name: str) -> dict[str, str]:
    """The storage class that a policy wants its archives in a repository written to, as S3 calls it; nothing for the
    usual one."""
    wanted = spec.get("repository") or {}
    given = str(wanted.get("class", "standard")) if wanted.get("name") == name else "standard"
    return {} if given == "standard" else {"class": given.upper().replace("-", "_")}


def held_bases(policy: Policy) -> dict[int, set[str]]:
    """By point id, what an archive needs it for: it is being read, or the next one is what changed since it."""
    used: dict[int, set[str]] = {}
    for point, job in read_by_archives().items():
        used.setdefault(point, set()).add(f"archive:{job}")
    for point, newest in bases_in_use(Point.policy == policy.id).items():
        used.setdefault(point, set()).add(f"the archive after rp-{newest}")
    return used

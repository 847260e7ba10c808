"""Which jobs a run has, and which follow from a finished one. Pure: facts in, rows to write out.

The key of a follow-up is derived from what it follows, so that planning twice (a crash between two lines, two
coordinators) writes one row.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from coordinator.interval import Interval
from coordinator.routes import Hop, Refusal, SourceFacts, plan_route
from coordinator.targets import Target
from tasks.chains import copy_chain
from tasks.lanes import Lane
from tasks.resources import TYPES

# Retries where a policy does not say: three attempts five minutes apart, the guide's own defaults.
DEFAULT_ATTEMPTS = 3
DEFAULT_WAIT_S = 300
# What was asked for just now goes before what a schedule started, whatever the policy's priority (1 to 100).
MANUAL_PRIORITY = 1000


@dataclass
class PolicyFacts:
    """A policy as planning needs it; `spec` is its estate file shape. Nobody changes one."""

    id: int
    name: str
    priority: int
    spec: Mapping[str, Any]
    installation: str = ""

    @property
    def retries(self) -> tuple[int, int]:
        """Attempts, and seconds between two of them."""
        given = self.spec.get("retries") or {}
        wait = given.get("wait")
        seconds = int(Interval.parse(wait, "retries.wait").duration.total_seconds()) if wait else DEFAULT_WAIT_S
        return int(given.get("attempts", DEFAULT_ATTEMPTS)), seconds


def derived_key(*parts: object) -> str:
    """A job key that is the same whenever it is derived from the same things: 32 hex digits."""
    return hashlib.sha256("\x1f".join(map(str, parts)).encode()).hexdigest()[:32]


def _place(target: Target) -> tuple[str, ...]:
    """What a resource is called whichever row it has: the key must be the same when the catalog was put back."""
    found = target.resource
    return found.account, found.region, found.type, found.external_id


def plan_snapshots(
    policy: PolicyFacts,
    run_id: int,
    slot: str,
    manual: bool,
    targets: Sequence[Target],
    accounts: Mapping[str, int],
    imaged: frozenset[int],
) -> list[dict[str, Any]]:
    """One snapshot job per target. `accounts` maps names to ids; `imaged` holds resources that have an image point.

    `slot` is the run's slot as text: with the policy it names the run for ever, so that no target is planned twice.
    """
    attempts, wait = policy.retries
    priority = MANUAL_PRIORITY if manual else policy.priority
    reboot = bool(policy.spec.get("reboot", False))
    return [
        {
            "kind": "snapshot",
            "lane": _lane(target.resource.type),
            "key": derived_key(policy.installation, policy.name, slot, *_place(target)),
            "run": run_id,
            "account": accounts[target.resource.account],
            "region": target.resource.region,
            "service": TYPES[target.resource.type].service,
            "resource": target.resource.id,
            "priority": priority,
            "max_attempts": attempts,
            "retry_wait_s": wait,
            # One chain per resource: a run that overlaps the one before waits for it, resource by resource.
            "chain": f"snapshot:{target.resource.id}",
            "spec": {
                "mode": _mode(policy, target, imaged),
                "exclude": list(target.exclude),
                "reboot": reboot,
                **({"options": options} if (options := _options(policy, target)) else {}),
            },
        }
        for target in targets
    ]


def _options(policy: PolicyFacts, target: Target) -> dict[str, str]:
    """The target's own, and for types whose copies the cloud makes itself, where it shall carry this backup to.

    The policy's first entry in another region of the same account is that place: such a type has only one.
    """
    found, kind = dict(target.options), TYPES[target.resource.type]
    if found.get("retention") == "keep":  # the cloud's own retention follows this policy's
        found["retention"] = ",".join(f"{period}={count}" for period, count in (policy.spec.get("keep") or {}).items())
    if not kind.carried:
        return found
    for entry in policy.spec.get("dr") or ():
        own = entry.get("account") in (None, target.resource.account)
        allowed = kind.broken(region=True, account=False, entry=entry) is None
        if own and allowed and entry["region"] != target.resource.region:
            return {**found, "copy_region": entry["region"], "copy_key": str(entry.get("kms_key") or "")}
    return found


def _lane(kind: str) -> str:
    """Buckets have no snapshot: their backups move data."""
    return str(Lane.REPOSITORY if kind == "s3" else Lane.SNAPSHOT)


def _mode(policy: PolicyFacts, target: Target, imaged: frozenset[int]) -> str:
    """How this target is backed up: the policy's mode is for instances, and some types go through AWS Backup."""
    kind = TYPES[target.resource.type]
    if kind.vault:
        entries = policy.spec.get("dr") or ()
        crossing = [entry for entry in entries if entry.get("account") not in (None, target.resource.account)]
        wanted = {"always": True, "any": bool(entries), "cross": bool(crossing)}[kind.vault]
        return "vault" if wanted else "snapshots"
    mode = str(policy.spec.get("mode", "snapshots"))
    if target.resource.type != "instance":
        return "snapshots"
    if mode == "image-once":
        return "snapshots" if target.resource.id in imaged else "image"
    return mode


def destinations_due(policy: PolicyFacts, ordinal: int) -> list[Mapping[str, Any]]:
    """The policy's DR entries whose turn it is on its `ordinal`-th successful run (the first one copies)."""
    return [entry for entry in policy.spec.get("dr") or () if (ordinal - 1) % int(entry.get("every", 1)) == 0]


def destination_of(entry: Mapping[str, Any], source: SourceFacts) -> str:
    """'ACCOUNT/REGION' of a DR entry; an entry without an account stays in the source's."""
    return f"{entry.get('account') or source.account}/{entry['region']}"


def plan_copy(
    policy: PolicyFacts,
    run_id: int | None,
    source: SourceFacts,
    entry: Mapping[str, Any],
    accounts: Mapping[str, int],
    priority: int,
    *,
    apart: bool = False,
) -> dict[str, Any] | Refusal:
    """The next copy job towards one DR entry: the first hop of the route from where the source lies.

    `apart`: the cloud has refused to cross account and region in one step.
    """
    destination = destination_of(entry, source)
    account = destination.split("/", 1)[0]
    if account not in accounts:
        return Refusal(destination, "unknown-account", f"There is no account {account!r}.")
    route = plan_route(TYPES[source.resource_type], source, destination, entry, apart=apart)
    if isinstance(route, Refusal):
        return route
    return _copy_row(policy, run_id, source, route, entry, accounts, priority)


def _copy_row(
    policy: PolicyFacts,
    run_id: int | None,
    source: SourceFacts,
    route: Sequence[Hop],
    entry: Mapping[str, Any],
    accounts: Mapping[str, int],
    priority: int,
) -> dict[str, Any]:
    hop, onward = route[0], route[-1].place if len(route) > 1 else ""
    attempts, wait = policy.retries
    options = dict(entry.get("options") or {})
    return {
        "kind": "copy",
        "lane": str(Lane.COPY),
        "key": derived_key(policy.installation, "copy", source.point_id, hop.role, onward or hop.place),
        "run": run_id,
        "account": accounts[hop.account],
        "region": hop.region,
        "service": TYPES[source.resource_type].service,
        "resource": source.resource_id,
        "priority": priority,
        "max_attempts": attempts,
        "retry_wait_s": wait,
        "chain": copy_chain(source.resource_id, hop.place, in_order=TYPES[source.resource_type].copies_in_order),
        "slots": max(1, source.parts),
        "spec": {
            "point": source.point_id,
            "destination": hop.place,
            "kms_key": hop.kms_key,
            "role": hop.role,
            **({"onward": onward} if onward else {}),
            **({"options": options} if options else {}),
        },
    }

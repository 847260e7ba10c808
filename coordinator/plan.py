"""Which jobs a run has, and which follow from a finished one. Pure: facts in, rows to write out.

The key of a follow-up is derived from what it follows, so that planning twice (a crash between two lines, two
coordinators) writes one row.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from coordinator.interval import Interval
from coordinator.targets import Target
from tasks.lanes import Lane
from tasks.resources import TYPES

# Retries where a policy does not say: three attempts five minutes apart, the guide's own defaults.
DEFAULT_ATTEMPTS = 3
DEFAULT_WAIT_S = 300
# What was asked for just now goes before what a schedule started, whatever the policy's priority (1 to 100).
MANUAL_PRIORITY = 1000


@dataclass(frozen=True)
class PolicyFacts:
    """A policy as planning needs it; `spec` is its estate file shape."""

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
    mode = policy.spec.get("mode", "snapshots")
    return [
        {
            "kind": "snapshot",
            "lane": str(Lane.SNAPSHOT),
            "key": derived_key(policy.installation, policy.id, slot, target.resource.id),
            "run": run_id,
            "account": accounts[target.resource.account],
            "region": target.resource.region,
            "service": TYPES[target.resource.type].service,
            "resource": target.resource.id,
            "priority": MANUAL_PRIORITY if manual else policy.priority,
            "max_attempts": attempts,
            "retry_wait_s": wait,
            "spec": {
                "mode": _mode(mode, target, imaged),
                "exclude": list(target.exclude),
                "reboot": bool(policy.spec.get("reboot", False)),
            },
        }
        for target in targets
    ]


def _mode(mode: str, target: Target, imaged: frozenset[int]) -> str:
    if target.resource.type != "instance":
        return "snapshots"
    if mode == "image-once":
        return "snapshots" if target.resource.id in imaged else "image"
    return mode


@dataclass(frozen=True)
class SourceFacts:
    """A point that may be copied: where it lies and what it consists of. `default_key` as the driver found it."""

    point_id: int
    resource_id: int
    resource_type: str
    account: str
    region: str
    parts: int
    default_key: bool = False
    intermediate_for: str = ""


@dataclass(frozen=True)
class Refusal:
    """A copy that cannot work, with the cloud's reason."""

    destination: str
    code: str
    text: str


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
) -> dict[str, Any] | Refusal:
    """The next copy job towards one DR entry: the copy itself, or first a re-encryption under a shareable key."""
    destination = destination_of(entry, source)
    account = destination.split("/", 1)[0]
    if account not in accounts:
        return Refusal(destination, "unknown-account", f"There is no account {account!r}.")
    if destination == f"{source.account}/{source.region}":
        return Refusal(destination, "same-place", "The copy would lie where the original is.")
    crosses = account != source.account
    key = str(entry.get("kms_key") or "")
    if crosses and source.default_key:
        reencrypt = entry.get("reencrypt_key")
        if not reencrypt:
            text = (
                "A snapshot under the default aws/ebs key cannot be shared with another account; "
                "set reencrypt_key in this DR entry to a customer-managed key, or encrypt the volume with one."
            )
            return Refusal(destination, "default-key", text)
        place = f"{source.account}/{source.region}"
        return _copy_row(policy, run_id, source, place, str(reencrypt), accounts, priority, destination)
    return _copy_row(policy, run_id, source, destination, key, accounts, priority)


def _copy_row(
    policy: PolicyFacts,
    run_id: int | None,
    source: SourceFacts,
    place: str,
    kms_key: str,
    accounts: Mapping[str, int],
    priority: int,
    onward: str = "",
) -> dict[str, Any]:
    account, region = place.split("/", 1)
    attempts, wait = policy.retries
    role = "intermediate" if onward else "copy"
    return {
        "kind": "copy",
        "lane": str(Lane.COPY),
        "key": derived_key(policy.installation, "copy", source.point_id, role, onward or place),
        "run": run_id,
        "account": accounts[account],
        "region": region,
        "service": TYPES[source.resource_type].service,
        "resource": source.resource_id,
        "priority": priority,
        "max_attempts": attempts,
        "retry_wait_s": wait,
        "chain": f"copy:{source.resource_id}:{place}",
        "slots": max(1, source.parts),
        "spec": {
            "point": source.point_id,
            "destination": place,
            "kms_key": kms_key,
            "role": role,
            **({"onward": onward} if onward else {}),
        },
    }

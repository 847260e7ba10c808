"""The way of a copy: one hop, or two where the cloud crosses accounts, regions and keys one at a time. Pure.

A route is planned anew from wherever the data lies: after the first of two hops the rest is a route of one. What is
made on the way is an intermediate point, recorded like every other and removed when the copy from it is good.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tasks.resources import ResourceType

COPY, INTERMEDIATE = "copy", "intermediate"
TWO_HOPS = "two-hops"
"""The code with which a driver says that the cloud refused to cross account and region in one step."""


@dataclass(frozen=True)
class SourceFacts:
    """A point that may be copied: where it lies and what it consists of. `default_key` as the driver found it.

    `found` are the attributes that were captured with it. `halfway`: it was only made to be copied on.
    """

    point_id: int
    resource_id: int
    resource_type: str
    account: str
    region: str
    parts: int
    default_key: bool = False
    encrypted: bool = False
    found: Mapping[str, Any] = field(default_factory=dict)
    halfway: bool = False


@dataclass(frozen=True)
class Refusal:
    """A copy that cannot work, with the cloud's reason."""

    destination: str
    code: str
    text: str


@dataclass(frozen=True)
class Hop:
    """One copy: where it arrives, as what, and under which key ('' for the cloud's own choice)."""

    account: str
    region: str
    role: str = COPY
    kms_key: str = ""

    @property
    def place(self) -> str:
        """'ACCOUNT/REGION'."""
        return f"{self.account}/{self.region}"


def plan_route(
    kind: ResourceType, source: SourceFacts, destination: str, entry: Mapping[str, Any], *, apart: bool = False
) -> tuple[Hop, ...] | Refusal:
    """The hops from where `source` lies to `destination` ('ACCOUNT/REGION'), or why there are none.

    `apart`: account and region are crossed one after the other, even if this type does not always need it.
    """
    account, region = destination.split("/", 1)
    across, away = account != source.account, region != source.region
    if not across and not away:
        if source.halfway:
            return (Hop(account, region, COPY, str(entry.get("kms_key") or "")),)
        return Refusal(destination, "same-place", "The copy would lie where the original is.")
    if (across and not kind.cross_account) or (away and not kind.cross_region):
        border = "account" if across and not kind.cross_account else "region"
        return Refusal(destination, "no-such-copy", f"{kind.name} cannot be copied to another {border}.")
    found = {**source.found, "default_key": source.default_key, "encrypted": source.encrypted}
    rule = kind.broken(region=away, account=across, entry=entry, found=found)
    if rule:
        return Refusal(destination, rule.code, f"{rule.text} ({rule.source}.)")
    last = Hop(account, region, COPY, str(entry.get("kms_key") or ""))
    if across and kind.is_temporary(entry):
        return Hop(account, region, INTERMEDIATE, last.kms_key), last
    if not across or kind.vault:
        return (last,)
    halfway = region if (apart or kind.apart) and away else source.region
    if not source.default_key and halfway == source.region:
        return (last,)
    key = str(entry.get("reencrypt_key") or "")
    if not key and (source.default_key or source.encrypted):
        return _keyless(kind, source, destination, halfway)
    return Hop(source.account, halfway, INTERMEDIATE, key), last


def _keyless(kind: ResourceType, source: SourceFacts, destination: str, halfway: str) -> Refusal:
    """Nothing under an account's default key is ever shared, so the first hop needs another one."""
    if source.default_key:
        text = (
            f"A snapshot under the default aws/{'ebs' if kind.service == 'ec2' else 'rds'} key cannot be shared with "
            "another account; set reencrypt_key in this DR entry to a customer-managed key, or encrypt the source "
            "with one."
        )
        return Refusal(destination, "default-key", text)
    text = (
        f"To another account and region {kind.name} takes two hops: set reencrypt_key in this DR entry to a "
        f"customer-managed key of {source.account} in {halfway}, under which the first one can be shared."
    )
    return Refusal(destination, "halfway-key", text)

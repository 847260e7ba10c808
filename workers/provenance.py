"""What a generation's manifest tells of where it came from: enough to write a catalog anew from the bucket alone.

It is sealed with the rest of the manifest. What is missing in an older one has its default, so that a generation
without any of it is still restored, as a volume of unknown origin.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

# Bytes of JSON about the resource as it was. An instance with 40 volumes and its tags has some 12 KiB; what is larger
# would be written again with each renewal of a job's lease.
MOST_CAPTURED = 64 << 10


@dataclass(frozen=True)
class Origin:
    """Where a generation came from: the volume and its snapshot, the resource, and the recovery point it is a part of.

    `account` is the estate's name of it. Generations with the same `installation` and `point` are one recovery point
    of `parts` parts. `captured` is the resource as it was, `disk` what was known of the volume.
    """

    account: str
    region: str
    volume: str
    snapshot: str
    resource: str
    installation: str = ""
    point: str = ""
    parts: int = 1
    type: str = "volume"
    policy: str = ""
    device: str = ""
    encrypted: bool = False
    kms_key_id: str = ""
    consistency: str = "crash"
    captured: Mapping[str, Any] = field(default_factory=dict)
    disk: Mapping[str, Any] = field(default_factory=dict)

    def to_source(self) -> dict[str, str]:
        """As a manifest holds it: text by name, without what is as usual."""
        found = {
            "account": self.account,
            "region": self.region,
            "volume": self.volume,
            "snapshot": self.snapshot,
            "device": self.device,
            "point": self.point,
            "parts": str(self.parts),
            "type": self.type,
            "resource": self.resource,
            "policy": self.policy,
            "installation": self.installation,
            "encrypted": "yes" if self.encrypted else "",
            "kms_key_id": self.kms_key_id,
            "consistency": self.consistency,
            "captured": _text(self.captured),
            "disk": _text(self.disk),
        }
        return {name: value for name, value in found.items() if value}

    @classmethod
    def of(cls, source: Mapping[str, str]) -> "Origin | None":
        """What `to_source` wrote; None when it does not say which volume it is of, or cannot be read."""
        try:
            plain = ("installation", "point", "policy", "device", "kms_key_id")
            return cls(
                account=source["account"],
                region=source["region"],
                volume=source["volume"],
                snapshot=source.get("snapshot", ""),
                resource=source.get("resource") or source["volume"],
                type=source.get("type", "volume"),
                parts=int(source.get("parts", 1)),
                encrypted=bool(source.get("encrypted")),
                consistency=source.get("consistency", "crash"),
                captured=_mapping(source.get("captured")),
                disk=_mapping(source.get("disk")),
                **{name: source.get(name, "") for name in plain},
            )
        except (KeyError, ValueError):
            return None


def _text(value: Mapping[str, Any]) -> str:
    text = json.dumps(dict(value), sort_keys=True) if value else ""
    return text if len(text) <= MOST_CAPTURED else ""


def _mapping(text: str | None) -> Mapping[str, Any]:
    found = json.loads(text) if text else {}
    if not isinstance(found, dict):
        raise ValueError("no mapping")
    return found

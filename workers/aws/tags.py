"""Tags between AWS's lists and ours: what fits on a created object, and the keys by which we find it again.

Tag values are other people's text: they are passed on as data and never interpreted here.
"""

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from workers.driver import TAG_INSTALLATION, TAG_JOB

TAG_SOURCE_SNAPSHOT = "snapfleet:source-snapshot"  # on a copy: its own VolumeId is arbitrary (CopySnapshot reference)
OURS = "snapfleet:"
# EC2 user guide, tag restrictions: 50 tags on a resource, keys to 128 and values to 256 characters, `aws:` reserved.
MOST_TAGS = 50
_KEY_LENGTH, _VALUE_LENGTH = 128, 256


def read_tags(answer: Iterable[Mapping[str, str]] | None) -> dict[str, str]:
    """AWS's list of Key and Value as a mapping."""
    return {str(tag["Key"]): str(tag.get("Value", "")) for tag in answer or ()}


def write_tags(tags: Mapping[str, str]) -> list[dict[str, str]]:
    """A mapping as AWS's list."""
    return [{"Key": key, "Value": value} for key, value in tags.items()]


def fit_tags(
    key: str, ours: Mapping[str, str], users: Mapping[str, str], *, beside: int = 0
) -> tuple[dict[str, str], list[str]]:
    """The tags for what a call with this key creates, and a warning for each loss.

    `ours` always goes; of `users` (the resource's own) goes what AWS takes and the limit leaves room for, in order
    of name. A user's tags never look like ours: a volume that was restored from a snapshot still carries some.
    `beside`: so many tags AWS itself puts there.
    """
    fitted = {name: value[:_VALUE_LENGTH] for name, value in {**ours, TAG_JOB: key}.items() if _allowed(name)}
    wanted = sorted(name for name in users if _allowed(name) and not name.startswith(OURS) and name not in fitted)
    room = max(0, MOST_TAGS - len(fitted) - beside)
    fitted |= {name: users[name][:_VALUE_LENGTH] for name in wanted[:room]}
    left = len(wanted) - room
    return fitted, [f"{left} tags of the resource were left out: AWS allows {MOST_TAGS}."] if left > 0 else []


def _allowed(name: str) -> bool:
    return 0 < len(name) <= _KEY_LENGTH and not name.lower().startswith("aws:")


def specify(tags: Mapping[str, str], *types: str) -> list[dict[str, Any]]:
    """TagSpecifications for the kinds of object that a call creates."""
    return [{"ResourceType": type_, "Tags": write_tags(tags)} for type_ in types]


def is_ours(tags: Mapping[str, str], installation: str = "") -> bool:
    """Whether an object carries the tag of this installation ('' for any): nothing else is ever deleted, and nothing of
    another installation that works in the same account."""
    owner = tags.get(TAG_INSTALLATION, "")
    return bool(owner) and installation in ("", owner)


def part_key(key: str, part: str) -> str:
    """The key of one part of a wish that takes several calls, so that a broken-off attempt resumes exactly."""
    return f"{key}/{part}"


def name_for(key: str) -> str:
    """A name for a key, where AWS has names instead of tokens: the same for ever, and valid for an image."""
    return "snapfleet-" + hashlib.sha256(key.encode()).hexdigest()[:40]


# What `name_for` makes: things of other names got our tags from what they were made of, which a restore had tagged.
OUR_NAME = re.compile(r"snapfleet-[0-9a-f]{40}")


def token_for(key: str) -> str:
    """A client token for a key: 64 ASCII characters, which every EC2 call takes."""
    return hashlib.sha256(key.encode()).hexdigest()


def key_filter(keys: Sequence[str]) -> dict[str, Any]:
    """An EC2 filter for what carries one of these keys; a `*` in a key matches any text."""
    return {"Name": f"tag:{TAG_JOB}", "Values": list(keys)}

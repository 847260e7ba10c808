"""Tags as Azure takes them: 50 on a resource, names to 512 and values to 256 characters, some characters not in names
(Azure Resource Manager documentation, "Use tags to organize your Azure resources", limitations)."""

from collections.abc import Mapping, Sequence

from workers.driver import TAG_INSTALLATION, TAG_JOB

OURS = "snapfleet:"
MOST_TAGS = 50
_NAME_LENGTH, _VALUE_LENGTH = 512, 256
_FORBIDDEN = frozenset("<>%&\\?/")
_RESERVED = ("microsoft", "azure", "windows")


def fit_tags(key: str, ours: Mapping[str, str], users: Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
    """The tags for what a call with this key creates, and a warning for each loss; `ours` always go."""
    fitted = {name: value[:_VALUE_LENGTH] for name, value in {**ours, TAG_JOB: key}.items()}
    wanted = sorted(name for name in users if _allowed(name) and not name.startswith(OURS) and name not in fitted)
    room = max(0, MOST_TAGS - len(fitted))
    fitted |= {name: str(users[name])[:_VALUE_LENGTH] for name in wanted[:room]}
    left = len(wanted) - room
    return fitted, [f"{left} tags of the resource were left out: Azure allows {MOST_TAGS}."] if left > 0 else []


def _allowed(name: str) -> bool:
    return 0 < len(name) <= _NAME_LENGTH and not _FORBIDDEN & set(name) and not name.lower().startswith(_RESERVED)


def is_ours(tags: Mapping[str, str] | None, installation: str = "") -> bool:
    """Whether an object carries the tag of this installation ('' for any): nothing else is ever deleted."""
    owner = (tags or {}).get(TAG_INSTALLATION, "")
    return bool(owner) and installation in ("", owner)


def is_made_by(tags: Mapping[str, str] | None, installation: str, keys: Sequence[str]) -> bool:
    """Whether it is ours, and of one of these jobs (() for any): a name may be another thing's by now. A job's tag is
    its key and the attempt's epoch (workers.context.token)."""
    job = (tags or {}).get(TAG_JOB, "")
    return is_ours(tags, installation) and (not keys or any(job.startswith(f"{key}-") for key in keys))

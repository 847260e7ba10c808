"""What a value of an estate file may be: small readers that report a wrong value at its line and go on.

A reader takes (file, path, value) and returns the value as the catalog keeps it, or WRONG after it reported why.
`record` puts readers together into one mapping with known fields.
"""

import difflib
import json
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final

from admin.estate_yaml import Located, Path
from coordinator.interval import UNITS, Interval

Reader = Callable[[Located, Path, Any], Any]
WRONG: Final = object()

# Names stand in paths, labels and ACCOUNT/REGION, hence neither slash, colon nor space.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_REGION = re.compile(r"[a-z][a-z0-9-]{1,31}")
# KMS developer guide, "Key identifiers": the ARN of a key or of an alias.
_KMS = re.compile(r"arn:aws[a-z-]*:kms:[a-z0-9-]+:\d{12}:(key|alias)/[A-Za-z0-9/_-]+")
_SECRET = re.compile(r"env:[A-Za-z_][A-Za-z0-9_]*|file:.+")


@dataclass(frozen=True)
class Field:
    """One field of a record: its reader, whether it must be there, and the value that stands for its absence."""

    read: Reader
    required: bool = False
    default: Any = None


def plain(check: Callable[[Any], Any]) -> Reader:
    """A reader out of a function of the value alone that raises ValueError with the sentence to report."""

    def read(file: Located, path: Path, value: Any) -> Any:
        try:
            return check(value)
        except ValueError as error:
            file.report(path, str(error))
            return WRONG

    return read


def text(value: Any) -> str:
    """Any text on one line."""
    if not isinstance(value, str):
        raise ValueError(f"{_shown(value)} is not a text; put it in quotes")
    if not value or len(value) > 1024 or not value.isprintable():
        raise ValueError(f"{_shown(value)} is not a text of 1 to 1024 printable characters")
    return value


def name(value: Any) -> str:
    """The name of an account, schedule, repository or policy."""
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        raise ValueError(f"{_shown(value)} is not a name: 1 to 64 letters, digits, '.', '_' or '-'")
    return value


def region(value: Any) -> str:
    """A region of a cloud, such as eu-west-1 or westeurope."""
    if not isinstance(value, str) or not _REGION.fullmatch(value):
        raise ValueError(f"{_shown(value)} is not a region such as eu-west-1")
    return value


def secret(value: Any) -> str:
    """Where a secret is read: never the secret itself, which is not repeated in the error either."""
    if not isinstance(value, str) or not _SECRET.fullmatch(value):
        raise ValueError("a secret is never written here; name where it is read: env:NAME or file:PATH")
    return value


def kms_key(value: Any) -> str:
    """The ARN of a key or an alias in AWS KMS."""
    if not isinstance(value, str) or not _KMS.fullmatch(value):
        raise ValueError("wants a key's ARN, as arn:aws:kms:us-east-1:111111111111:key/ID")
    return value


def flag(value: Any) -> bool:
    """true or false."""
    if not isinstance(value, bool):
        raise ValueError(f"{_shown(value)} is not one of true, false")
    return value


def choice(*allowed: str) -> Reader:
    """One of a few words."""

    def check(value: Any) -> str:
        if value not in allowed or not isinstance(value, str):
            near = did_you_mean(value, allowed)
            raise ValueError(f"{_shown(value)} is not one of {', '.join(allowed)}{near}")
        return value

    return plain(check)


def whole(least: int, most: int) -> Reader:
    """A whole number within limits."""

    def check(value: Any) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            raise ValueError(f"{_shown(value)} is not a whole number from {least} to {most}")
        return value

    return plain(check)


def matching(pattern: str, what: str) -> Reader:
    """A text of a form that `what` describes."""

    def check(value: Any) -> str:
        if not isinstance(value, str) or not re.fullmatch(pattern, value):
            raise ValueError(f"{_shown(value)} is not {what}")
        return value

    return plain(check)


def duration(value: Any) -> str:
    """A span such as 90d, kept as it is written."""
    if not isinstance(value, str):
        raise ValueError(f"{_shown(value)} is not a whole number followed by one of {', '.join(UNITS)} (such as 4h)")
    try:
        return str(Interval.parse(value, ""))
    except ValueError as error:
        raise ValueError(str(error).removeprefix(": ")) from None


def duration_up_to(most: str) -> Reader:
    """A span that is no longer than another one."""

    def check(value: Any) -> str:
        taken = duration(value)
        if Interval.parse(taken, "").duration > Interval.parse(most, "").duration:
            raise ValueError(f"{_shown(value)} is longer than {most}")
        return taken

    return plain(check)


def list_of(read: Reader, *, least: int = 0, unique: bool = True) -> Reader:
    """A list whose entries one reader takes; a repeated entry is reported, since it is a slip."""

    def check(file: Located, path: Path, value: Any) -> Any:
        if not isinstance(value, list):
            file.report(path, f"{_shown(value)} is not a list")
            return WRONG
        if len(value) < least:
            file.report(path, f"needs at least {least} entr{'ies' if least > 1 else 'y'}")
            return WRONG
        found: list[Any] = []
        seen: set[str] = set()
        for index, item in enumerate(value):
            taken = read(file, (*path, index), item)
            if taken is WRONG:
                continue
            same = same_as(taken) if unique else ""
            if unique and same in seen:
                file.report((*path, index), f"{_shown(taken)} is listed twice")
                continue
            seen.add(same)
            found.append(taken)
        return found

    return check


def same_as(value: Any) -> str:
    """A text that equal values share, so that entries of long lists are compared in one look."""
    return json.dumps(value, sort_keys=True)


def tags(file: Located, path: Path, value: Any) -> Any:
    """Tags to match: names to values, both texts. A value `*` matches any."""
    if not isinstance(value, dict) or not value:
        file.report(path, "is not a mapping of tag names to values, such as {backup: gold}")
        return WRONG
    wrong = False
    for key, wanted in value.items():
        if not isinstance(wanted, str):
            file.report((*path, key), f"{_shown(wanted)} is not a text; put it in quotes")
            wrong = True
        elif len(key) + len(wanted) > 1024 or not (key + wanted).isprintable():
            file.report(path, f"{_shown(key)}: {_shown(wanted)} are not texts of at most 1024 printable characters")
            wrong = True
    return WRONG if wrong else dict(value)


def record(fields: Mapping[str, Field]) -> Reader:
    """A mapping with these fields and no others. Absent ones (and empty lists) get their default, or stay absent."""

    def read(file: Located, path: Path, value: Any) -> Any:
        if not isinstance(value, dict):
            file.report(path, f"{_shown(value)} is not a mapping with {', '.join(fields)}")
            return WRONG
        for key in value:
            if key not in fields:
                near = did_you_mean(key, fields)
                file.report((*path, key), f"unknown field; allowed are {', '.join(fields)}{near}")
        found: dict[str, Any] = {}
        for key, item in fields.items():
            if value.get(key) is None:
                if item.required:
                    file.report(path, f"{key} is missing")
                if item.default is not None:
                    found[key] = item.default
                continue
            taken = item.read(file, (*path, key), value[key])
            if taken is not WRONG and taken != []:
                found[key] = taken
        return found

    return read


def did_you_mean(given: Any, known: Collection[str]) -> str:
    """`; did you mean X?` when something known is close, else nothing."""
    near = difflib.get_close_matches(str(given), [str(item) for item in known], n=1)
    return f"; did you mean {near[0]}?" if near else ""


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    words = repr(value)
    return words if len(words) <= 80 else f"{words[:77]}…"

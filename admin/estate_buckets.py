"""Buckets that policies keep in step: what of it can never work is refused when the estate is applied.

A bucket kept in itself, in a circle, or where another one is kept already would be written over for ever; versions need
a bucket that keeps them; deletions need an account that may delete.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from admin.estate_checks import did_you_mean
from admin.estate_yaml import Located, Path

NAME = "{bucket}"
_PERCENT = range(1, 101)


@dataclass(frozen=True)
class _Kept:
    """One target of a policy that keeps buckets; `source` is '' where a tag names them."""

    policy: str
    source: str
    bucket: str
    prefix: str
    options: Mapping[str, Any]

    @property
    def place(self) -> str:
        """What its keys begin with, as far as it is known."""
        prefix = self.prefix.replace(NAME, self.source) if self.source else self.prefix.partition(NAME)[0]
        return f"{self.bucket}/{prefix}"


def check_buckets(
    file: Located, policies: Mapping[str, Mapping[str, Any]], accounts: Mapping[str, Any], versioning: Mapping[str, str]
) -> None:
    """Report what is wrong with the file's targets of type s3, beside all `policies` that there will be.

    `versioning` is what is known of buckets: 'Enabled', or another word where they keep no versions.
    """
    every = [kept for name, spec in policies.items() for kept in _kept(name, spec)]
    written = file.data.get("policies") if isinstance(file.data, dict) else None
    for index, policy in enumerate(written if isinstance(written, list) else ()):
        targets = policy.get("targets") if isinstance(policy, dict) else None
        for number, target in enumerate(targets if isinstance(targets, list) else ()):
            if isinstance(target, dict) and _is_bucket(target):
                _check(file, ("policies", index, "targets", number), str(policy.get("name", "")), target, every)
                _check_place(file, ("policies", index, "targets", number), target, accounts, versioning)


def _is_bucket(target: Mapping[str, Any]) -> bool:
    return target.get("type") == "s3" or "s3" in (target.get("types") or ())


def _kept(name: str, spec: Mapping[str, Any]) -> Iterator[_Kept]:
    for target in spec.get("targets") or ():
        options = target.get("options") or {}
        if _is_bucket(target) and options.get("bucket"):
            yield _of(name, target)


def _of(policy: str, target: Mapping[str, Any]) -> _Kept:
    options = target.get("options") or {}
    return _Kept(
        policy, str(target.get("id", "")), str(options.get("bucket", "")), str(options.get("prefix", "")), options
    )


def _check(file: Located, at: Path, policy: str, target: Mapping[str, Any], every: list[_Kept]) -> None:
    mine = _of(policy, target)
    if not mine.bucket:
        file.report(at, "says nothing about where the bucket is kept; give options: {bucket: NAME}")
        return
    if mine.source == mine.bucket:
        file.report((*at, "options", "bucket"), f"{mine.bucket} would be kept in itself")
        return
    if not mine.source and NAME not in mine.prefix:
        file.report((*at, "options"), f"a tag may name several buckets: give a prefix with {NAME}")
    circle = _circle(mine, every)
    if circle:
        file.report((*at, "options", "bucket"), f"the buckets would be kept in a circle: {' -> '.join(circle)}")
    for other in every:
        same = other.source == mine.source
        if other.bucket == mine.bucket and not same and _overlap(mine.place, other.place):
            whose = other.source or "buckets with a tag"
            file.report(
                (*at, "options", "bucket"), f"{whose} of policy {other.policy} would be mixed with it in {other.place}"
            )
            return


def _overlap(one: str, other: str) -> bool:
    return one.startswith(other) or other.startswith(one)


def _circle(mine: _Kept, every: list[_Kept]) -> list[str]:
    """The way from a bucket back to itself; empty when there is none."""
    way, seen, here = [mine.source, mine.bucket], {mine.bucket}, [mine.bucket]
    while here and mine.source:
        after = {kept.bucket for kept in every if kept.source in here}
        if mine.source in after:
            return [*way, mine.source]
        here = sorted(after - seen)
        seen |= after
    return []


def _check_place(
    file: Located, at: Path, target: Mapping[str, Any], accounts: Mapping[str, Any], versioning: Mapping[str, str]
) -> None:
    options = target.get("options") or {}
    name = options.get("account") or target.get("account")
    account = accounts.get(name) if isinstance(name, str) else None
    if options.get("account") and account is None:
        file.report((*at, "options", "account"), f"there is no account {name!r}{did_you_mean(name, accounts)}")
    if account is not None and account.get("cloud", "aws") != "aws":
        file.report((*at, "options", "account"), f"{name} is not of aws")
    if options.get("delete") == "yes" and account is not None and account.get("may_delete") is False:
        file.report((*at, "options", "delete"), f"{name} may not delete anything")
    most = str(options.get("delete_most", 1))
    if not (most.isascii() and most.isdigit() and int(most) in _PERCENT):
        file.report((*at, "options", "delete_most"), "is a percentage from 1 to 100")
    bucket = str(options.get("bucket", ""))
    if options.get("versions") == "yes" and versioning.get(bucket, "Enabled") != "Enabled":
        file.report((*at, "options", "versions"), f"{bucket} keeps no versions; enable versioning there first")

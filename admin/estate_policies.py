"""The policies of an estate file: their fields, and what they may ask of each type of resource."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any

from admin.estate_checks import (
    WRONG,
    Field,
    Reader,
    choice,
    did_you_mean,
    duration,
    duration_up_to,
    flag,
    list_of,
    matching,
    name,
    plain,
    record,
    region,
    tags,
    text,
    whole,
)
from admin.estate_yaml import Located, Path
from coordinator.interval import Interval
from coordinator.periods import KINDS
from coordinator.targets import MACHINES, kept_id
from tasks.resources import TABLE, Option, ResourceType
from tasks.resources.rds import EXPORT_CLASSES
from tasks.resources.rights import exportable

DEFAULT_PRIORITY = 50
MODES = ("snapshots", "image", "image-once")
# Numbers that a person could mean; more is a slip of the keyboard.
_MOST = 10_000
_keep = record({kind: Field(whole(1, _MOST)) for kind in KINDS})
_retries = record({"attempts": Field(whole(1, 20)), "wait": Field(duration_up_to("7d"))})
_dr_record = record(
    {
        "account": Field(plain(name)),
        "region": Field(plain(region), required=True),
        "every": Field(whole(1, _MOST)),
        "generations": Field(whole(1, _MOST)),
        "kms_key": Field(plain(text)),
        "reencrypt_key": Field(plain(text)),
        "options": Field(tags),
    }
)
# The warm classes that new archives may be written to: all are read at once, some bill a least time (S3 price list;
# "Access tiers for blob data" of Azure Blob).
S3_CLASSES = ("standard-ia", "onezone-ia", "intelligent-tiering", "glacier-ir")
AZURE_CLASSES = ("cool", "cold")
STORAGE_CLASSES = ("standard", *S3_CLASSES, *AZURE_CLASSES)
# Days that a cold class bills however early an object goes (the same, 2026-11), by the estate's word.
_BILLED_DAYS = {
    "standard-ia": 30, "onezone-ia": 30, "glacier-ir": 90, "glacier": 90, "deep-archive": 180, "archive": 180
}  # fmt: skip
_archive = record(
    {
        "after": Field(plain(duration)),
        "generations": Field(whole(1, _MOST)),
        "class": Field(choice("glacier", "deep-archive", "archive"), required=True),
        "keep": Field(plain(duration)),
    }
)


def _stay(file: Located, path: Path, value: Any) -> Any:
    """How long archives stay: a span, or counts of periods as in the policy's own `keep`."""
    return (_keep if isinstance(value, dict) else plain(duration))(file, path, value)


_repository = record(
    {
        "name": Field(plain(name), required=True),
        "every": Field(whole(1, _MOST)),
        "generations": Field(whole(1, _MOST)),
        "keep": Field(_stay),
        "class": Field(choice(*STORAGE_CLASSES)),
        "archive": Field(_archive),
    }
)


# Where RDS writes Parquet, as whom and under which key (StartExportTask needs a customer-managed one).
_export = record(
    {
        "bucket": Field(matching(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", "the name of a bucket"), required=True),
        "prefix": Field(plain(text)),
        "role_arn": Field(matching(r"arn:aws[a-z-]*:iam::\d{12}:role/.+", "the ARN of a role"), required=True),
        "kms_key": Field(plain(text), required=True),
        "class": Field(choice(*EXPORT_CLASSES)),
        "every": Field(whole(1, _MOST)),
        "generations": Field(whole(1, _MOST)),
        "keep": Field(plain(duration)),
    }
)
_volumes = record({"exclude": Field(list_of(plain(text), least=1), required=True)})


def policy_record(types: Mapping[str, ResourceType]) -> dict[str, Field]:
    """The fields of a policy, given the types that exist."""
    return {
        "name": Field(plain(name), required=True),
        "schedules": Field(_sorted(list_of(plain(name)))),
        "enabled": Field(plain(flag), default=True),
        "priority": Field(whole(1, 100), default=DEFAULT_PRIORITY),
        "targets": Field(list_of(_target(types), least=1), required=True),
        "mode": Field(choice(*MODES)),
        "reboot": Field(plain(flag)),
        "backup_on_add": Field(plain(flag)),
        "generations": Field(whole(1, _MOST)),
        "keep": Field(_keep),
        "retries": Field(_retries),
        "dr": Field(list_of(_dr_record)),
        "repository": Field(_repository),
        "export": Field(_export),
    }


def _sorted(read: Reader) -> Reader:
    """The same set of names in one order, since their order means nothing."""

    def ordered(file: Located, path: Path, value: Any) -> Any:
        taken = read(file, path, value)
        return taken if taken is WRONG else sorted(taken)

    return ordered


def _target(types: Mapping[str, ResourceType]) -> Reader:
    kind = _known_type(types)
    by_id = record(
        {
            "type": Field(kind, required=True),
            "id": Field(plain(text), required=True),
            "region": Field(plain(region), required=True),
            "account": Field(plain(name), required=True),
            "volumes": Field(_volumes),
            "options": Field(tags),
        }
    )
    by_tag = record(
        {
            "tag": Field(tags, required=True),
            "types": Field(list_of(kind, least=1)),
            "accounts": Field(list_of(plain(name), least=1)),
            "regions": Field(list_of(plain(region), least=1)),
            "volumes": Field(_volumes),
            "options": Field(tags),
        }
    )

    def read(file: Located, path: Path, value: Any) -> Any:
        if isinstance(value, dict) and ("id" in value) == ("tag" in value):
            file.report(path, "names either one resource (type, id, region, account) or many (tag, types, accounts)")
            return WRONG
        return _normal((by_tag if isinstance(value, dict) and "tag" in value else by_id)(file, path, value))

    return read


def _normal(target: Any) -> Any:
    """With ids as the catalog has them."""
    if not isinstance(target, dict):
        return target
    if isinstance(target.get("volumes"), dict):
        target["volumes"] = {"exclude": [kept_id(one) for one in target["volumes"].get("exclude", ())]}
    return {**target, "id": kept_id(target["id"])} if isinstance(target.get("id"), str) else target


def _known_type(types: Mapping[str, ResourceType]) -> Reader:
    """A type that this version protects; one that it only knows of is refused as that."""
    usual = choice(*sorted(types))

    def read(file: Located, path: Path, value: Any) -> Any:
        if isinstance(value, str) and value in TABLE and value not in types:
            file.report(path, f"this version cannot protect {value} yet; it can {', '.join(sorted(types))}")
            return WRONG
        return usual(file, path, value)

    return read


def check_policy(
    file: Located,
    path: Path,
    spec: Mapping[str, Any],
    known: Mapping[str, Mapping[str, Any]],
    types: Mapping[str, ResourceType],
) -> None:
    """What a policy says together with the rest: names that must exist, and the capability table."""
    written = file.data["policies"][path[1]].get("schedules", ())
    _check_names(file, (*path, "schedules"), written, known["schedules"], "schedule")
    if "generations" not in spec and "keep" not in spec:
        file.report(path, "says nothing about how long points stay; give generations or keep")
    _check_targets(file, path, known["accounts"], types)
    used = sorted(_types_of(spec, types))
    _check_dr(file, path, spec, known["accounts"], [types[item] for item in used])
    _check_restore_points(file, path, spec)
    for kind in (types[item] for item in used if "export" in spec):
        if not exportable(kind):
            file.report((*path, "export"), f"{kind.name} is not exported; only rds is, with MySQL or PostgreSQL")
    _check_export(file, (*path, "export"), spec.get("export") or {})
    repository = spec.get("repository")
    if repository:
        if repository.get("name") not in known["repositories"]:
            file.report((*path, "repository"), f"there is no repository {repository.get('name')!r}")
        for kind in (types[item] for item in used):
            if not kind.repository:
                file.report(
                    (*path, "repository"), f"{kind.name} cannot be kept in a repository by this version; leave it out"
                )
            elif "archive" in repository and not kind.cold:
                file.report((*path, "repository", "archive"), f"{kind.name} cannot be kept in cold storage")
        url = str(known["repositories"].get(str(repository.get("name")), {}).get("url", ""))
        if repository.get("class") in (S3_CLASSES if url.startswith("azure:") else AZURE_CLASSES):
            right = AZURE_CLASSES if url.startswith("azure:") else S3_CLASSES
            file.report((*path, "repository", "class"), f"is no class of {url}; it has standard, {', '.join(right)}")
        if isinstance(repository.get("archive"), dict):
            _check_cold(file, (*path, "repository", "archive"), repository, known["repositories"])


def _check_export(file: Located, at: Path, export: Mapping[str, Any]) -> None:
    """One rule for how long exports stay, and none that ends before the class is paid for."""
    if "keep" in export and "generations" in export:
        file.report((*at, "keep"), "goes without generations")
    billed = timedelta(days=_BILLED_DAYS.get(str(export.get("class")), 0))
    if isinstance(export.get("keep"), str) and Interval.parse(export["keep"], "keep").duration < billed:
        text = f"{export['class']} bills {billed.days} days at least, and exports would go before that"
        file.report((*at, "keep"), text)


def _check_restore_points(file: Located, path: Path, spec: Mapping[str, Any]) -> None:
    """Restore points of Azure's machines stay where they are."""
    elsewhere = " and ".join(name for name in ("dr", "repository") if spec.get(name))
    for index, target in enumerate(spec.get("targets", ())):
        if elsewhere and (target.get("options") or {}).get("consistency"):
            text = f"consistency makes restore points, which go nowhere else: leave it out, or {elsewhere}"
            file.report((*path, "targets", index, "options"), text)


def _check_cold(file: Located, at: Path, repository: Mapping[str, Any], known: Mapping[str, Any]) -> None:
    """When archives move, a class that their store has, and a stay that is not billed beyond its end."""
    cold = repository["archive"]
    if "after" not in cold and "generations" not in cold:
        file.report(at, "says nothing about when archives move; give after or generations")
    azure = str(known.get(str(repository.get("name")), {}).get("url", "")).startswith("azure:")
    if azure != (cold.get("class") == "archive"):
        file.report((*at, "class"), "archive is for azure:// repositories; s3:// ones have glacier and deep-archive")
    keep = cold.get("keep") or repository.get("keep")
    billed = timedelta(days=_BILLED_DAYS.get(cold.get("class"), 0))
    if isinstance(keep, str) and cold.get("after"):
        stay = Interval.parse(keep, "keep").duration - Interval.parse(cold["after"], "after").duration
        if stay < billed:
            file.report(
                at, f"{cold['class']} bills {billed.days} days at least, and archives would go after {stay.days}"
            )


def _check_names(file: Located, path: Path, names: Any, known: Mapping[str, Any], what: str) -> None:
    for index, given in enumerate(names if isinstance(names, list) else ()):
        if isinstance(given, str) and given not in known:
            near = did_you_mean(given, known)
            file.report((*path, index), f"there is no {what} {given!r}{near}")


def costs_of(spec: Mapping[str, Any], types: Mapping[str, ResourceType]) -> list[dict[str, Any]]:
    """What a policy's copies cost beyond their storage: {destination, full, text} for each DR entry and cost."""
    any_type = any("type" not in target and not target.get("types") for target in spec.get("targets", ()))
    kinds = [types[name] for name in sorted(types if any_type else _types_of(spec, types))]
    found = []
    for entry in spec.get("dr") or ():
        place = f"{entry['account']}/{entry['region']}" if entry.get("account") else entry["region"]
        costs = [cost for kind in kinds for cost in kind.costs_of(entry)]
        found += [{"destination": place, "full": cost.full, "text": cost.text} for cost in costs]
    return found


def _types_of(spec: Mapping[str, Any], types: Mapping[str, ResourceType]) -> set[str]:
    """The types that a policy's targets name. A target that names none is of whatever carries its tag: what cannot be
    copied there is refused by itself, with its reason, and keeps nothing else from being protected."""
    found: set[str] = set()
    for target in spec.get("targets", ()):
        found |= {target["type"]} if "type" in target else set(target.get("types", ()))
    return found & set(types)


def _check_targets(file: Located, path: Path, accounts: Mapping[str, Any], types: Mapping[str, ResourceType]) -> None:
    """Accounts that exist and hold what is protected; types of their cloud. Lines are found by the written entry."""
    written = file.data["policies"][path[1]].get("targets", ())
    for index, target in enumerate(written if isinstance(written, list) else ()):
        if not isinstance(target, dict):
            continue
        at = (*path, "targets", index)
        for place, account in _accounts_of(target, at):
            if account not in accounts:
                file.report(place, f"there is no account {account!r}{did_you_mean(account, accounts)}")
                continue
            if accounts[account].get("kind") == "dr":
                file.report(place, f"{account} is a dr account, which holds copies and is not backed up")
            _check_place(file, at, target, accounts[account], types)
        named = [target["type"]] if isinstance(target.get("type"), str) else target.get("types") or list(types)
        offered = [one for name in named if name in types for one in types[name].backup_options]
        _check_options(file, (*at, "options"), target.get("options"), offered)
        volumes = target.get("volumes")
        kinds = [target["type"]] if isinstance(target.get("type"), str) else target.get("types") or ["instance"]
        if volumes and not MACHINES & set(kinds):
            file.report((*at, "volumes"), f"is for {' and '.join(sorted(MACHINES))}")


def _accounts_of(target: Mapping[str, Any], at: Path) -> Iterator[tuple[Path, str]]:
    if isinstance(target.get("account"), str):
        yield (*at, "account"), target["account"]
    names = target.get("accounts")
    for index, account in enumerate(names if isinstance(names, list) else ()):
        if isinstance(account, str):
            yield (*at, "accounts", index), account


def _check_place(
    file: Located, at: Path, target: Mapping[str, Any], account: Mapping[str, Any], types: Mapping[str, ResourceType]
) -> None:
    kind = types.get(target["type"]) if isinstance(target.get("type"), str) else None
    if kind and kind.cloud != account.get("cloud"):
        file.report((*at, "type"), f"{kind.name} is of {kind.cloud}, and the account is of {account.get('cloud')}")
    where, regions = target.get("region"), account.get("regions")
    if isinstance(where, str) and regions and where not in regions:
        file.report((*at, "region"), f"the account does not list the region {where}; it has {', '.join(regions)}")


def _check_dr(
    file: Located, path: Path, spec: Mapping[str, Any], accounts: Mapping[str, Any], kinds: list[ResourceType]
) -> None:
    written = file.data["policies"][path[1]].get("dr")
    for index, entry in enumerate(written if isinstance(written, list) else ()):
        if not isinstance(entry, dict):
            continue
        at, account, where = (*path, "dr", index), entry.get("account"), entry.get("region")
        offered = [one for kind in kinds for one in kind.copy_options]
        _check_options(file, (*at, "options"), entry.get("options"), offered)
        for kind in kinds:
            elsewhere = any(target.get("region", where) != where for target in spec.get("targets", ()))
            rule = kind.broken(region=account is None or elsewhere, account=account is not None, entry=entry)
            if rule:
                file.report(at, f"{kind.name}: {rule.text} ({rule.source})")
            _check_borders(file, at, kind, entry)
        if account is None:
            if all(target.get("region") == where for target in spec.get("targets", ())):
                file.report((*at, "region"), "is where every target lies; a copy needs another region or account")
            continue
        if account not in accounts:
            file.report((*at, "account"), f"there is no account {account!r}{did_you_mean(account, accounts)}")
            continue
        for kind in kinds:
            if kind.cloud != accounts[account].get("cloud"):
                file.report((*at, "account"), f"{kind.name} is of {kind.cloud}, and {account} is not")
        regions = accounts[account].get("regions")
        if isinstance(where, str) and regions and where not in regions:
            file.report((*at, "region"), f"{account} does not list the region {where}; it has {', '.join(regions)}")


def _check_borders(file: Located, at: Path, kind: ResourceType, entry: Mapping[str, Any]) -> None:
    away = entry.get("account") is None
    if away and not kind.cross_region:
        file.report(at, f"{kind.name} cannot be copied to another region")
    if not away and not kind.cross_account:
        file.report(at, f"{kind.name} cannot be copied to another account")
    if away and kind.carried and entry.get("every", 1) != 1:
        file.report((*at, "every"), f"{kind.name} copies every backup to the other region; leave every out")


def _check_options(file: Located, at: Path, given: Any, offered: Sequence[Option]) -> None:
    """Options that some type of the policy takes, with values that it takes."""
    known = {one.name: one for one in offered}
    for word, value in (given if isinstance(given, dict) else {}).items():
        if word not in known:
            near = did_you_mean(word, known)
            none = "the types of this policy take none here"
            file.report((*at, word), f"unknown option; {'allowed are ' + ', '.join(known) if known else none}{near}")
        elif known[word].choices and value not in known[word].choices:
            file.report((*at, word), f"{value!r} is not one of {', '.join(known[word].choices)}")

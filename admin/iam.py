"""The rights that an account's roles need for what its policies do, as IAM policies; and a template with the roles.

Made from what the resource types declare (tasks.resources.rights): nothing here knows an action.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from admin.queries import near
from coordinator.targets import types_meant
from tasks.catalog import Account, Meta, Point, Policy, Repository, Resource, session
from tasks.errors import Invalid
from tasks.resources import TYPES, ResourceType
from tasks.resources.repository import rights_of, statements_of
from tasks.resources.rights import DUTIES, FEATURES, Place, azure_role, documents, granted, looks, packed
from tasks.states import PointState

_ARCHIVES = frozenset({"archive", "restore from an archive"})
_COOLING = "move exports to a cold class"
# IAM's ARNs name the partition; a role's own says which one its account is in.
_OTHER_PARTITIONS = ("aws-cn", "aws-us-gov", "aws-eusc", "aws-iso", "aws-iso-b", "aws-iso-e", "aws-iso-f")
# Bounds of an external id (AssumeRole, STS API reference).
_EXTERNAL_ID = {"MinLength": 2, "MaxLength": 1224, "AllowedPattern": r"[\w+=,.@:\/-]*"}


def iam_policies(account: str, duties: Iterable[str] = DUTIES, *, every_type: bool = False) -> list[dict[str, Any]]:
    """The policies of an account's roles: {role, name, policy}, where `role` is a duty; of Azure, role definitions.

    Raises Invalid for an account that is not there, or that neither a policy nor a repository uses.
    """
    with session():
        row = Account.get_or_none(Account.name == account, Account.enabled)
        if row is None:
            known = [one.name for one in Account.select(Account.name).where(Account.enabled)]
            advice = near(account, known) or "See `snapfleet accounts`."
            raise Invalid(f"There is no account {account!r}.", advice=advice)
        specs = [dict(one.spec) for one in Policy.select().where(Policy.deleted_at.is_null())]
        kept = _repositories(account)
    names, archives = (set(TYPES), True) if every_type else used_by(account, row.kind, specs)
    kinds = [kind for name, kind in sorted(TYPES.items()) if name in names and kind.cloud == row.cloud]
    if not kinds and not any(rights_of(spec) for spec in kept):
        raise Invalid(f"No policy uses the account {account}.", advice="Write one and apply it, or ask for --all.")
    features = _features(archives, every_type or _cools(specs))
    granting = {duty: granted(kinds, duty, features) for duty in duties}
    if "snapshot" in granting:  # discovery asks about every type
        every = looks(kind for kind in TYPES.values() if kind.cloud == row.cloud)
        granting["snapshot"] = tuple(sorted({*granting["snapshot"], *every}))
    if row.cloud == "azure":
        subscription = str(row.settings.get("subscription_id", ""))
        return [_named(duty, 1, azure_role(actions, duty, subscription)) for duty, actions in granting.items()]
    parts = row.role_arn.split(":")
    partition = parts[1] if row.role_arn and parts[1] in _OTHER_PARTITIONS else "aws"
    number = row.number or (parts[4] if row.role_arn else "") or "*"
    place = Place(partition, number, installation_id())
    made = {duty: documents(actions, duty, place) for duty, actions in granting.items()}
    keeping = packed(one for spec in kept for one in statements_of(spec, partition)) if "snapshot" in made else []
    return [
        *(_named(duty, part, one) for duty, some in made.items() for part, one in enumerate(some, start=1)),
        *(_named("snapshot", part, one, "repositories") for part, one in enumerate(keeping, start=1)),
    ]


def _repositories(account: str) -> list[dict[str, Any]]:
    """The repositories of the estate that lie in an account. Call inside a session."""
    return [dict(row.spec) for row in Repository.select().order_by(Repository.name) if row.spec["account"] == account]


def _named(duty: str, part: int, policy: dict[str, Any], about: str = "") -> dict[str, Any]:
    return {"role": duty, "name": f"snapfleet-{about or duty}{'' if part == 1 else f'-{part}'}", "policy": policy}


def needed_by(account: str) -> dict[str, set[str]]:
    """By duty, the actions that what policies do in an account needs of its roles; empty when nothing uses it."""
    with session():
        row = Account.get_or_none(Account.name == account)
        specs = [dict(one.spec) for one in Policy.select().where(Policy.deleted_at.is_null())]
        kept = {action for spec in _repositories(account) for some in rights_of(spec).values() for action in some}
    if row is None:
        return {}
    names, archives = used_by(account, row.kind, specs)
    features = _features(archives, _cools(specs))
    kinds = [TYPES[name] for name in names if TYPES[name].cloud == row.cloud]
    found = {duty: set(granted(kinds, duty, features)) for duty in DUTIES}
    found["snapshot"] |= kept
    return found if kinds or kept else {}


def _features(archives: bool, cools: bool) -> list[str]:
    """What the roles are for: no more than policies ask of them."""
    return [one for one in FEATURES if (archives or one not in _ARCHIVES) and (one != _COOLING or (archives and cools))]


def _cools(specs: Iterable[Mapping[str, Any]]) -> bool:
    return any((spec.get("export") or {}).get("class") for spec in specs)


def used_by(account: str, kind: str, specs: Iterable[Mapping[str, Any]]) -> tuple[set[str], bool]:
    """The types that policies back up in an account or copy into it, and whether any of them archives."""
    found: set[str] = set()
    archives = False
    for spec in specs:
        mine = {
            name
            for target in spec.get("targets", ())
            if (kind != "dr" and account in _accounts(target, account)) or _writer(target) == account
            for name in _types(target)
        }
        copied = any(entry.get("account") == account for entry in spec.get("dr", ()))
        if copied:
            mine |= {name for target in spec.get("targets", ()) for name in _types(target)}
        found |= mine
        archives = archives or (bool(mine) and bool({"repository", "export"} & set(spec)))
    return found, archives


def needs_look(account: Account, service: str, specs: Iterable[Mapping[str, Any]]) -> bool:
    """Whether anything depends on what a look at a service sees: a policy, or a recovery point that lies there (also of
    an import). Call inside a session."""
    names, _ = used_by(account.name, account.kind, specs)
    if any(TYPES[name].service == service for name in names):
        return True
    mine = [name for name, kind in TYPES.items() if kind.service == service]
    held = Point.select(Point.id).join(Resource).where(Point.account == account.id, Resource.type.in_(mine))
    return bool(held.where(Point.state == PointState.GOOD).exists())


def installation_id() -> str:
    """The id that everything of this installation is tagged with; '*' before there is one."""
    with session():
        row = Meta.get_or_none(Meta.key == "installation")
    return str(row.value) if row else "*"


def _accounts(target: Mapping[str, Any], default: str) -> list[str]:
    """A target that names no account is found in every one that is backed up."""
    if "account" in target:
        return [str(target["account"])]
    return list(target.get("accounts") or [default])


def _writer(target: Mapping[str, Any]) -> str:
    """The account whose role copies objects into a bucket of its own."""
    return str((target.get("options") or {}).get("account", ""))


def _types(target: Mapping[str, Any]) -> set[str]:
    named = {str(target["type"])} if "type" in target else set(target.get("types") or types_meant(target))
    return named & set(TYPES)


def _of_aws() -> dict[str, ResourceType]:
    return {name: kind for name, kind in TYPES.items() if kind.cloud == "aws"}


def template(installation: str = "*") -> dict[str, Any]:
    """A CloudFormation template with the three roles, for every type; for any installation what
    deploy/cloud/roles.yaml holds."""
    resources: dict[str, Any] = {}
    place = Place("${AWS::Partition}", "${AWS::AccountId}", "${Installation}")
    for duty in DUTIES:
        role = f"{duty.title()}Role"
        resources[role] = _role(duty)
        actions = granted(_of_aws().values(), duty)
        for number, policy in enumerate(documents(actions, duty, place), start=1):
            about = f"What Snapfleet's {duty} role may do, part {number}"
            resources[f"{duty.title()}Policy{number}"] = {
                "Type": "AWS::IAM::ManagedPolicy",
                "Properties": {
                    "Description": about,
                    "PolicyDocument": _substituted(policy),
                    "Roles": [{"Ref": role}],
                },
            }
    return {
        "AWSTemplateFormatVersion": "2010-09-09",
        "Description": "Roles by which Snapfleet enters this account: to back up, to clean up and to restore.",
        "Parameters": _parameters(installation),
        "Resources": resources,
        "Outputs": {
            f"{duty.title()}RoleArn": {
                "Description": f"For {'role_arn' if duty == 'snapshot' else f'{duty}_role_arn'} of the account's entry",
                "Value": {"Fn::GetAtt": [f"{duty.title()}Role", "Arn"]},
            }
            for duty in DUTIES
        },
    }


def _parameters(installation: str) -> dict[str, Any]:
    return {
        "BaseIdentity": {
            "Type": "String",
            "Description": "ARN of the role that Snapfleet's workers run as",
            "AllowedPattern": r"arn:aws[a-z-]*:iam::\d{12}:(role|user)/.+",
        },
        "ExternalId": {
            "Type": "String",
            "NoEcho": True,
            "Description": "The external id that this account's entry in the estate file names",
            **_EXTERNAL_ID,
        },
        "Installation": {
            "Type": "String",
            "Default": installation,
            "Description": "The installation's id, so that the backups of another are out of reach; * for any",
        },
        "RolePrefix": {
            "Type": "String",
            "Default": "snapfleet",
            "AllowedPattern": r"[\w+=,.@-]{1,50}",
            "Description": "The roles are called PREFIX-snapshot, PREFIX-cleanup and PREFIX-restore",
        },
    }


def _role(duty: str) -> dict[str, Any]:
    trust = {
        "Effect": "Allow",
        "Principal": {"AWS": {"Ref": "BaseIdentity"}},
        "Action": "sts:AssumeRole",
        "Condition": {"StringEquals": {"sts:ExternalId": {"Ref": "ExternalId"}}},
    }
    return {
        "Type": "AWS::IAM::Role",
        "Properties": {
            "RoleName": {"Fn::Sub": f"${{RolePrefix}}-{duty}"},
            "Description": f"Snapfleet: {duty}",
            "AssumeRolePolicyDocument": {"Version": "2012-10-17", "Statement": [trust]},
        },
    }


def _substituted(value: Any) -> Any:
    """Texts with pseudo parameters as CloudFormation's Sub."""
    if isinstance(value, dict):
        return {key: _substituted(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_substituted(one) for one in value]
    if isinstance(value, str) and "${" in value:
        return {"Ref": "Installation"} if value == "${Installation}" else {"Fn::Sub": value}
    return value

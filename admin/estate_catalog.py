"""The estate as the catalog keeps it: read as a value, and written change by change.

`apply_estate` is one transaction under a lock, so that two at once do one after the other: the second compares with
what the first has left. Removed accounts are switched off and removed policies marked, because points outlive both.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from peewee import fn

from admin.estate import DEFAULTS, Estate, Spec, read_estate
from admin.estate_plan import Change, EstatePlan, plan_changes
from admin.estate_policies import costs_of
from admin.estate_reach import Reached, left_out, meant, unmet
from admin.estate_schedules import join_schedules, reset_schedules
from admin.estate_secrets import FIELDS, Place, Secrets, collect_secrets
from admin.estate_sections import AZURE_ONLY, SECRETS
from coordinator.facts import resource_facts
from coordinator.rules import let_go, remember_rules
from tasks.catalog import (
    Account,
    Audit,
    Point,
    Policy,
    PolicySchedule,
    Repository,
    Request,
    Resource,
    Schedule,
    database,
    rows,
    session,
    transaction,
)
from tasks.catalog.archives import repository_destination
from tasks.catalog.fields import is_postgres
from tasks.clock import Clock
from tasks.errors import Refused
from tasks.resources import TYPES
from tasks.secrets import KeyWrapper
from tasks.states import PointState

# Any number that nothing else uses (tasks.catalog.migrate has ..001): the advisory lock of `apply`.
LOCK = 7_300_519_002
_BATCH = 500  # ids in one statement: parameters are limited (SQLite: 32,766)
_POLICY_COLUMNS = ("schedules", "enabled", "priority")
_SEALED_SETTINGS = ("client_secret", "storage_secret")
_SETTINGS = (
    "backup_vault",
    "backup_role_arn",
    "cleanup_role_arn",
    "restore_role_arn",
    "pool",
    "region_pools",
    "limits",
    *(key for key in AZURE_ONLY if key not in SECRETS),
)
# What decides as whom an account is entered, and where: a change of it asks for a new look.
_ENTRY = ("role_arn", "external_id", "profile", *AZURE_ONLY)


def current_estate() -> Estate:
    """The estate in the catalog, in the canonical form of `read_estate`."""
    with session():
        joined: dict[int, list[str]] = {}
        pairs: Any = PolicySchedule.select(PolicySchedule.policy, Schedule.name).join(Schedule)
        for policy_id, name in pairs.tuples():
            joined.setdefault(policy_id, []).append(name)
        policies = Policy.select().where(Policy.deleted_at.is_null())
        return Estate(
            accounts={row.name: _account_spec(row) for row in Account.select().where(Account.enabled)},
            schedules={row.name: dict(row.spec) for row in Schedule.select()},
            repositories={row.name: dict(row.spec) for row in Repository.select()},
            policies={row.name: _policy_spec(row, joined.get(row.id, [])) for row in policies},
        )


def _account_spec(row: Account) -> Spec:
    spec = {key: getattr(row, key) for key in ("cloud", "kind", "role_arn", "profile", "may_delete")}
    spec |= {key: row.settings.get(key, "") for key in _SETTINGS} | dict(row.secret_refs)
    return {**{key: value for key, value in spec.items() if value != ""}, "regions": list(row.regions)}


def _policy_spec(row: Policy, schedules: list[str]) -> Spec:
    columns: Spec = {"enabled": row.enabled, "priority": row.priority}
    return {**columns, **dict(row.spec), **({"schedules": sorted(schedules)} if schedules else {})}


def held_secrets() -> dict[Place, str]:
    """Every sealed secret of the estate, by place."""
    held: dict[Place, str] = {}
    with session():
        for account in Account.select():
            held[("accounts", account.name, "external_id")] = account.external_id_sealed
            for key in _SEALED_SETTINGS:
                held[("accounts", account.name, key)] = account.settings.get(f"{key}_sealed", "")
        for repository in Repository.select():
            field = "key_file" if repository.spec.get("key_file") else "key"
            held[("repositories", repository.name, field)] = repository.key_sealed
    return held


def apply_estate(
    text: str,
    *,
    name: str,
    key: KeyWrapper,
    clock: Clock,
    who: str,
    prune: bool = False,
    dry_run: bool = False,
    environment: Mapping[str, str] | None = None,
) -> EstatePlan:
    """Make the catalog as the file says, or (dry run) only say what that would be.

    Raises EstateRefused with every problem of the file; then, and when nothing differs, nothing is written.
    """
    env = os.environ if environment is None else environment
    if dry_run:
        return _plan(text, name, key, env, prune)[0]
    with transaction():
        if is_postgres(database):
            database.execute_sql("select pg_advisory_xact_lock(%s)", (LOCK,))
        plan, wanted, secrets = _plan(text, name, key, env, prune)
        writer = _Writer(wanted, secrets, clock.now(), clock.timer(), who)
        for change in plan.changes:
            writer.write(change)
        Audit.append(writer.told)
    return plan


def _versioning() -> dict[str, str]:
    """What the last looks found of buckets: 'Enabled' for those that keep versions."""
    with session():
        found: Any = Resource.select(Resource.external_id, Resource.attributes).where(
            Resource.type == "s3", Resource.gone_at.is_null()
        )
        return {name: str(attributes.get("versioning", "")) for name, attributes in found.tuples()}


def _plan(
    text: str, name: str, key: KeyWrapper, env: Mapping[str, str], prune: bool
) -> tuple[EstatePlan, Estate, Secrets]:
    current = current_estate()
    wanted = read_estate(text, name, None if prune else current, versioning=_versioning())
    secrets = collect_secrets(text, name, wanted=wanted, current=current, held=held_secrets(), key=key, environment=env)
    plan = plan_changes(current, wanted, prune=prune, rotated=secrets.rotated)
    touched = [change.name for change in plan.of("policies", "add", "change")]
    costs = [{"policy": name, **cost} for name in touched for cost in costs_of(wanted.policies[name], TYPES)]
    accounts = {**current.accounts, **wanted.accounts}
    missing = [{"policy": name, **one} for name in touched for one in _unmet(wanted.policies[name], accounts)]
    kept = [{"policy": name, **one} for name in touched for one in _kept(name, wanted.policies[name])]
    return replace(plan, costs=tuple(costs), unmet=tuple(missing), kept=tuple(kept)), wanted, secrets


def _kept(name: str, spec: Spec) -> list[dict[str, Any]]:
    """What lies in places that a policy stops naming, and how it goes on ageing there."""
    with session():
        policy = Policy.get_or_none(Policy.name == name)
        if policy is None:
            return []
        places = let_go(policy, spec)
        there = Point.state.in_([PointState.GOOD, PointState.CREATING])
        counted = Point.select(Point.destination, fn.COUNT(Point.id)).where(Point.policy == policy.id, there)
        counts = dict(rows(counted.group_by(Point.destination)))
    texts = {
        place: f"keep the rule they have: {rule.text}." if rule else "go on by the policy's own rule."
        for place, rule in places.items()
    }
    return [
        {"destination": place, "points": counts[place], "rule": rule.text if rule else "", "text": texts[place]}
        for place, rule in sorted(places.items(), key=lambda item: item[0])
        if place in counts
    ]


def _unmet(spec: Spec, accounts: Mapping[str, Spec]) -> list[dict[str, Any]]:
    """What a policy would not carry out for what was discovered; nothing while nothing was."""
    with session():
        numbers = {row.name: row.id for row in Account.select(Account.id, Account.name).where(Account.enabled)}
        facts = resource_facts(spec.get("targets", ()), numbers)
        mine = meant(spec, facts)
        known = _attributes([fact.id for fact in mine if TYPES[fact.type].service != "ec2"])
    clouds = {name: str(one.get("cloud", "aws")) for name, one in accounts.items()}
    reached = [Reached(fact, known.get(fact.id, {})) for fact in mine]
    return [*unmet(spec, reached, TYPES, clouds), *left_out(spec, facts, TYPES)]


def _attributes(ids: Sequence[int]) -> dict[int, dict[str, Any]]:
    """Of these resources; instances and volumes are many, and have nothing that decides before a snapshot is there."""
    found: dict[int, dict[str, Any]] = {}
    for start in range(0, len(ids), _BATCH):
        some = Resource.id.in_(list(ids[start : start + _BATCH]))
        found |= dict(rows(Resource.select(Resource.id, Resource.attributes).where(some)))
    return found


def points_left(account: str) -> int:
    """How many recovery points an account holds, which nobody cleans up once it is removed."""
    with session():
        there = (PointState.GOOD, PointState.EXPIRING, PointState.OUTDATED, PointState.CREATING)
        query = Point.select(fn.COUNT(Point.id)).join(Account, on=Point.account == Account.id)
        return int(query.where(Account.name == account, Point.state.in_(there)).scalar())


class _Writer:
    """Writes changes, one method a section, inside the caller's transaction. `told` are their audit rows, to append."""

    def __init__(self, wanted: Estate, secrets: Secrets, now: datetime, at: datetime, who: str) -> None:
        self.wanted, self.secrets, self.now, self.at, self.who = wanted, secrets, now, at, who
        self.told: list[dict[str, Any]] = []

    def write(self, change: Change) -> None:
        spec = self.wanted.section(change.section).get(change.name)
        {
            "accounts": self._account,
            "schedules": self._schedule,
            "repositories": self._repository,
            "policies": self._policy,
        }[change.section](change, spec)
        detail = change.to_json()
        told = {"action": f"estate.{change.action}", "subject": _subject(change), "detail": detail}
        self.told.append({"at": self.at, "who": self.who, **told})

    def _sealed(self, change: Change, key: str) -> str:
        return self.secrets.sealed.get((change.section, change.name, key), "")

    def _account(self, change: Change, spec: Spec | None) -> None:
        if spec is None:
            Account.update(enabled=False).where(Account.name == change.name).execute()
            return
        sealed = {f"{key}_sealed": self._sealed(change, key) for key in _SEALED_SETTINGS}
        settings = {key: spec[key] for key in _SETTINGS if key in spec}
        number = spec.get("subscription_id") or spec.get("role_arn", "::::").split(":")[4]
        columns = {
            **{key: spec.get(key, DEFAULTS["accounts"].get(key, "")) for key in ("cloud", "kind", "may_delete")},
            **{key: spec.get(key, "") for key in ("role_arn", "profile")},
            **({"number": number} if number else {}),
            "regions": spec["regions"],
            "external_id_sealed": self._sealed(change, "external_id"),
            "settings": {**settings, **{key: text for key, text in sealed.items() if text}},
            "secret_refs": {key: spec[key] for key in FIELDS["accounts"] if key in spec},
            "enabled": True,
        }
        _upsert(Account, change.name, columns)
        looked_at = {kind.cloud for kind in TYPES.values()}
        if columns["cloud"] in looked_at and _concerns(change, "regions", *_ENTRY):
            wish = {"account": change.name}
            Request.create(kind="discover", payload=wish, requested_by=self.who, created_at=self.at)

    def _schedule(self, change: Change, spec: Spec | None) -> None:
        if spec is None:
            Schedule.delete().where(Schedule.name == change.name).execute()
            return
        row = _upsert(Schedule, change.name, {"spec": spec, "changed_at": self.now}, created_at=self.now)
        if any(item.field != "description" for item in change.fields):
            reset_schedules(row, self.now)

    def _repository(self, change: Change, spec: Spec | None) -> None:
        if change.action != "add" and (spec is None or _concerns(change, "url")):
            _check_empty(change.name)
        if spec is None:
            Repository.delete().where(Repository.name == change.name).execute()
            return
        columns = {"spec": spec, "key_sealed": self._sealed(change, "key") or self._sealed(change, "key_file")}
        _upsert(Repository, change.name, columns, created_at=self.now)

    def _policy(self, change: Change, spec: Spec | None) -> None:
        if spec is None:
            row = Policy.get(Policy.name == change.name)
            PolicySchedule.delete().where(PolicySchedule.policy == row.id).execute()
            Policy.update(deleted_at=self.now, changed_at=self.now).where(Policy.id == row.id).execute()
            return
        kept = {key: value for key, value in spec.items() if key not in _POLICY_COLUMNS}
        columns = {"enabled": spec["enabled"], "priority": spec["priority"], "spec": kept}
        columns |= {"changed_at": self.now, "deleted_at": None}
        before = Policy.get_or_none(Policy.name == change.name)
        if before is not None:
            remember_rules(before, kept, self.now)
        row = _upsert(Policy, change.name, columns, created_at=self.now)
        if change.action == "change":
            Policy.update(version=Policy.version + 1).where(Policy.id == row.id).execute()
        join_schedules(row, spec.get("schedules", []), self.now)


def _check_empty(repository: str) -> None:
    """Archives are found by their repository's name and address. Raises Refused while there are any."""
    there = (PointState.GOOD, PointState.EXPIRING, PointState.CREATING)
    held = Point.select().where(Point.destination == repository_destination(repository), Point.state.in_(there)).count()
    if held:
        raise Refused(
            f"The repository {repository} holds {held} recovery points, which would be lost with its entry or address.",
            code="repository-in-use",
            advice="Keep it in the estate file as it is; give new archives another repository.",
        )


def _upsert(model: Any, name: str, columns: Mapping[str, Any], **at_creation: Any) -> Any:
    """The row of that name with these columns; it may exist from before it was removed."""
    if not model.update(**columns).where(model.name == name).execute():
        return model.create(name=name, **columns, **at_creation)
    return model.get(model.name == name)


def _concerns(change: Change, *fields: str) -> bool:
    return change.action == "add" or any(item.field.removesuffix("[]") in fields for item in change.fields)


def _subject(change: Change) -> str:
    singular = {"accounts": "account", "schedules": "schedule", "repositories": "repository", "policies": "policy"}
    return f"{singular[change.section]} {change.name}"

"""Imports: snapshots that others made become recovery points of a repository, by a look first and then a job for each.

The look is a worker's, as the coordinator never touches a cloud; what it found is planned here when it is settled.
Planning twice writes nothing twice: a snapshot's job is named by the snapshot and the repository.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import uuid4

from coordinator.archive import class_of, repositories
from coordinator.facts import installation
from coordinator.interval import Interval
from coordinator.plan import DEFAULT_ATTEMPTS, DEFAULT_WAIT_S, derived_key
from tasks.catalog import Account, Job, Policy, Repository, Resource
from tasks.catalog.archives import IMPORT
from tasks.catalog.transitions import add_jobs, requeue
from tasks.errors import Invalid
from tasks.lanes import Lane
from tasks.resources import TYPES
from tasks.states import JobState

# Below every schedule's priority: what others took years for waits for tonight's archives.
PRIORITY = 1
LOOK = "import-look"
_VOLUME = "volume"
FILTERS = ("tags", "since", "until", "volumes")


def ask_import(wish: Mapping[str, Any], at: datetime) -> int:
    """Have a worker look for what the wish chooses; the job's id. Call inside a transaction.

    `wish`: repository, account, region, the FILTERS, and `policy` or `keep` for how long it stays; `dry_run` plans
    nothing. Raises Invalid for names that do not exist.
    """
    name, region = str(wish["repository"]), str(wish["region"])
    if Repository.get_or_none(Repository.name == name) is None:
        raise Invalid(f"There is no repository {name!r}.", advice="See `snapfleet repository list`.")
    account = Account.get_or_none(Account.name == str(wish["account"]), Account.enabled)
    if account is None:
        raise Invalid(f"There is no account {wish['account']!r}.", advice="See `snapfleet accounts`.")
    if region not in account.regions:
        raise Invalid(f"The account {account.name} does not list the region {region}.")
    spec = {key: wish[key] for key in (*FILTERS, "policy", "keep", "dry_run") if wish.get(key)}
    _check_owner(spec)
    row = {
        "kind": LOOK,
        "lane": str(Lane.DISCOVER),
        "key": f"{LOOK}:{uuid4().hex}",
        "account": account.id,
        "region": region,
        "service": TYPES[_VOLUME].service,
        "spec": {"repository": name, **spec},
        "max_attempts": DEFAULT_ATTEMPTS,
        "retry_wait_s": 30,
    }
    return add_jobs([row], at)[0]


def plan_imports(look: Job, at: datetime) -> int:
    """The jobs for what a look found, oldest first; how many snapshots. Call inside the settling transaction.

    One that failed before is tried again. Those of one volume go one after the other, in order of their times.
    """
    spec, found = look.spec, look.result.get("found") or []
    if spec.get("dry_run") or not found:
        return 0
    policy = _owner(spec, at)
    resources = _resources(look, found, at)
    rows = [_row(look, policy, one, resources[one["volume"]]) for one in found]
    numbers = add_jobs(rows, at)
    for job in Job.select().where(Job.id.in_(numbers), Job.state == JobState.FAILED).order_by(Job.id):
        requeue(job, at, attempt=0, claims=0, settled=False, finished_at=None)
    return len(numbers)


def _check_owner(spec: Mapping[str, Any]) -> None:
    if spec.get("policy") and spec.get("keep"):
        raise Invalid("What is imported ages by a policy or by a time of its own, not by both.")
    if spec.get("policy"):
        _named(spec["policy"])
    if spec.get("keep"):
        try:
            Interval.parse(str(spec["keep"]), "keep")
        except ValueError as error:
            raise Invalid(f"{error}.") from None


def _named(name: str) -> Policy:
    found: Policy | None = Policy.get_or_none(Policy.name == name, Policy.deleted_at.is_null())
    if found is None:
        raise Invalid(f"There is no policy {name!r}.", advice="See `snapfleet policies`.")
    return found


def _owner(spec: Mapping[str, Any], at: datetime) -> Policy:
    """The policy by whose rule imported points age. Without one of the estate's it is a policy of their own, which no
    estate file names: `keep` is its rule, and without it nothing expires. Raises Invalid."""
    if spec.get("policy"):
        return _named(spec["policy"])
    repository, keep = spec["repository"], str(spec.get("keep") or "")
    return own_policy(f"import:{repository}" + (f":{keep}" if keep else ""), repository, keep, at)


def own_policy(name: str, repository: str, keep: str, at: datetime) -> Policy:
    """A policy that only holds points of a repository: no estate file can name it (names have no colon), it is marked
    as removed, so that it never runs, and its points age by `keep` alone."""
    rule = {"name": repository, **({"keep": keep} if keep else {})}
    columns = {"spec": {"targets": [], "repository": rule}, "enabled": False, "deleted_at": at}
    known: Policy | None = Policy.get_or_none(Policy.name == name)
    return known or Policy.create(name=name, **columns, created_at=at, changed_at=at)


def _resources(look: Job, found: Sequence[Mapping[str, Any]], at: datetime) -> dict[str, int]:
    """The volumes of the snapshots by external id; those that discovery never saw are written as gone."""
    volumes = sorted({one["volume"] for one in found})
    columns = {"account": look.account_id, "region": look.region, "type": _VOLUME}
    rows = [{**columns, "external_id": name, "found_at": at, "seen_at": at, "gone_at": at} for name in volumes]
    Resource.insert_many(rows).on_conflict_ignore().execute()
    here = (Resource.account == look.account_id) & (Resource.region == look.region) & (Resource.type == _VOLUME)
    known = Resource.select(Resource.id, Resource.external_id).where(here, Resource.external_id.in_(volumes))
    return {row.external_id: row.id for row in known}


def _row(look: Job, policy: Policy, one: Mapping[str, Any], resource: int) -> dict[str, Any]:
    repository = look.spec["repository"]
    lock = repositories()[repository].lock_days
    owner = {"policy": policy.id, "policy_name": look.spec.get("policy", ""), **class_of(policy.spec, repository)}
    return {
        "kind": IMPORT,
        "lane": str(Lane.REPOSITORY),
        "key": derived_key(installation(), IMPORT, one["snapshot"], repository),
        "account": look.account_id,
        "region": look.region,
        "service": look.service,
        "resource": resource,
        "priority": PRIORITY,
        "max_attempts": DEFAULT_ATTEMPTS,
        "retry_wait_s": DEFAULT_WAIT_S,
        "chain": f"archive:{resource}:{repository}",
        "spec": {"repository": repository, **owner, **one, **({"lock_days": lock} if lock else {})},
    }

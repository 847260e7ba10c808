"""Repositories as standing work: asked for by people, and every day by itself where a policy archives.

One row per repository and verb, used again and again, so that no verification or prune ever runs twice at once.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

from coordinator.archive import LOCK_EVERY, lock_days_of
from coordinator.tiering import moves_of
from tasks.catalog import Account, Job, Point, Repository, rows, transaction
from tasks.catalog.archives import repository_destination
from tasks.catalog.transitions import add_jobs, requeue_idle
from tasks.errors import Invalid, Refused
from tasks.lanes import Lane
from tasks.states import JobState, PointState

VERBS = ("create", "stats", "verify", "prune", "tier", "lock", "compact", "repair")
# What is done by itself, and how often. A prune finds what has waited for its grace; the share of the verification
# goes on by one a day, so that every byte is read once in SHARES days.
EVERY = timedelta(days=1)
DAILY = ("prune", "verify", "stats")
SHARES = 30
# How often sparse packs are looked for: what a week's prunes leave half empty is worth moving, a day's is not.
COMPACT_EVERY = timedelta(days=7)
# What a wish that brings a key says of it: the kind, the sealed key or its name in KMS, and the estate's words for it.
KEY_FIELDS = ("how", "kms_key", "key_sealed", "reference")

# What is in a job's spec beside the options that were asked for.
_OURS = ("repository", "verb", "lock_days", "going")


def ask_repository(name: str, verb: str, options: Mapping[str, Any], at: datetime) -> int:
    """Have a worker do something with a repository; the job's id. Call inside a transaction.

    Raises Invalid for a repository, an account or a verb that there is not, Refused while the same verb is under way
    with other options.
    """
    if verb not in VERBS:
        raise Invalid(f"A repository cannot be asked to {verb!r}.", advice=f"It takes {', '.join(VERBS)}.")
    row = Repository.get_or_none(Repository.name == name)
    if row is None:
        raise Invalid(f"There is no repository {name!r}.", advice="See `snapfleet repository list`.")
    account = Account.get_or_none(Account.name == row.spec["account"], Account.enabled)
    if account is None:
        raise Invalid(f"The account {row.spec['account']!r} of the repository {name!r} was removed.")
    days = lock_days_of(row.spec)
    spec = {"repository": name, "verb": verb, **options, **({"lock_days": days} if days else {})}
    key = f"repository-{verb}:{row.id}"
    known = Job.get_or_none(Job.key == key)
    if known is None:
        new = {
            "kind": "repository",
            "lane": str(Lane.REPOSITORY),
            "key": key,
            "account": account.id,
            "region": row.spec["region"],
            "spec": spec,
            "settled": True,
            "max_attempts": 3,
        }
        return add_jobs([new], at)[0]
    if not requeue_idle([known.id], at, spec=spec, account=account.id, region=row.spec["region"]):
        under_way = {key: value for key, value in known.spec.items() if key not in _OURS}
        if under_way != dict(options) and not _makes_room(known, spec):
            text = f"Another {verb} of {name} is under way ({', '.join(under_way) or 'without options'})."
            raise Refused(text, advice=f"Ask again when it is done: `snapfleet repository show {name}`.")
    return int(known.id)


def _makes_room(known: Job, spec: Mapping[str, Any]) -> bool:
    """Whether a day's share that has not begun became the whole verification that was asked for. Nothing else takes the
    place of what is under way, whose outcome would be taken for that of what was asked."""
    if not spec.get("full") or not known.spec.get("daily") or "going" in known.spec:
        return False
    waiting = Job.id == known.id, Job.state.in_([JobState.PENDING, JobState.QUEUED])
    return bool(Job.update(spec=dict(spec)).where(*waiting).execute())


def ask_keys(wish: Mapping[str, Any], at: datetime) -> int:
    """Have a worker do something with a repository's key slots; the job's id. Call inside a transaction.

    Each wish is a job of its own, one after the other: unlike a verification, none stands for another. Raises Invalid.
    """
    row = Repository.get_or_none(Repository.name == str(wish["name"]))
    if row is None:
        raise Invalid(f"There is no repository {wish['name']!r}.", advice="See `snapfleet repository list`.")
    account = Account.get_or_none(Account.name == row.spec["account"], Account.enabled)
    if account is None:
        raise Invalid(f"The account {row.spec['account']!r} of the repository {row.name!r} was removed.")
    taken = {key: wish[key] for key in ("action", "slot", *KEY_FIELDS) if key in wish}
    new = {
        "kind": "repository-keys",
        "lane": str(Lane.REPOSITORY),
        "key": f"repository-keys:{uuid4().hex}",
        "account": account.id,
        "region": row.spec["region"],
        "spec": {"repository": row.name, **taken},
        "chain": f"repository-keys:{row.id}",
        "settled": True,
        "max_attempts": 3,
        "retry_wait_s": 30,
    }
    return add_jobs([new], at)[0]


def look_after_repositories(now: datetime, at: datetime) -> int:
    """Prune, verify a share and count each repository that holds something, once a day, move what has come of age (by
    the calendar's `now`) to a cold class, and once a week what sparse packs hold; how many jobs were woken."""
    used = {
        destination
        for (destination,) in rows(
            Point.select(Point.destination)
            .where(Point.kind == "archive", Point.state != PointState.CREATING)
            .group_by(Point.destination)
        )
    }
    wanted = [row for row in Repository.select() if repository_destination(row.name) in used and not _is_gone(row)]
    enabled = {row.name for row in Account.select(Account.name).where(Account.enabled)}
    woken = 0
    for row in wanted:
        if row.spec.get("account") in enabled:
            woken += sum(_look_after(row, verb, at) for verb in DAILY)
            woken += _tier(row, now, at) + _lock(row, at) + _compact(row, at)
    return woken


def _is_gone(row: Repository) -> bool:
    """Whether it was deleted, and not created again since."""
    return "delete" in row.facts and "create" not in row.facts


def _lock(row: Repository, at: datetime) -> int:
    """Have the locks of what is still needed extended."""
    if not row.spec.get("lock") or not _is_due(row, "lock", at, LOCK_EVERY):
        return 0
    return _wake(row, "lock", {}, at)


def _compact(row: Repository, at: datetime) -> int:
    """Have sparse packs moved together; those that are locked the worker leaves, and tells until when."""
    if not _is_due(row, "compact", at, COMPACT_EVERY):
        return 0
    return _wake(row, "compact", {}, at)


def _tier(row: Repository, now: datetime, at: datetime) -> int:
    """Have archives moved that have come of age for a cold class."""
    if not _is_due(row, "tier", at):
        return 0
    moves = moves_of(row.name, now)
    return _wake(row, "tier", {"moves": moves}, at) if moves else 0


def _look_after(row: Repository, verb: str, at: datetime) -> int:
    if not _is_due(row, verb, at):
        return 0
    return _wake(row, verb, _share(row, at) if verb == "verify" else {}, at)


def _wake(row: Repository, verb: str, options: Mapping[str, Any], at: datetime) -> int:
    """Whether it was asked for; not while somebody has asked for it in another way since we looked."""
    try:
        with transaction():
            ask_repository(row.name, verb, options, at)
    except Refused:
        return 0
    return 1


def _share(row: Repository, at: datetime) -> dict[str, Any]:
    """The share after the last that was read, so that none is left out whatever the days bring: verifications that
    take half a day would never meet some by the date."""
    today = int(at.timestamp() // EVERY.total_seconds())
    return {"share": [(row.facts.get("scrub") or {}).get("next", today) % SHARES, SHARES], "daily": True}


def _is_due(row: Repository, verb: str, at: datetime, every: timedelta = EVERY) -> bool:
    job = Job.get_or_none(Job.key == f"repository-{verb}:{row.id}")
    return job is None or (job.finished_at is not None and at - job.finished_at >= every)

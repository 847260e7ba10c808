"""Deleting a whole repository: looked at first, then keys, what counts, what that names, and its description last.

Works without the key, for a repository that nobody can open any more, and goes on where a killed process was.
Nothing but what is named as this format's objects are is ever deleted. FORMAT.md section 10.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from workers.repository.clock import Clock
from workers.repository.errors import AccessRefused, Missing, Unsuitable, WrongKey
from workers.repository.generations import Index, read_leases
from workers.repository.locks import locks_of
from workers.repository.names import CONFIG, GENERATIONS, KEYS, LEASES, MAPS, PACKS, PARTS, PROBES, TOMBS, is_ours
from workers.repository.repository import Repository, check_clock, read_config
from workers.repository.store import Stat, Store

# Who names goes before what is named; without a key nobody opens what is left.
ORDER = (KEYS, LEASES, GENERATIONS, PARTS, MAPS, PACKS, TOMBS, PROBES)
# Objects that one request of S3 deletes (DeleteObjects).
_BATCH = 1000
Opener = Callable[[], Repository]


@dataclass(frozen=True)
class DeletePlan:
    """What lies at a place and would go. Sizes in bytes by object name.

    `id` is '' where no repository is; `begun` says that a deletion has begun there: its keys are gone; `foreign` are
    objects that stay, as they are not named as this format's are; `blocked` says why nothing may go now ('': it may).
    """

    url: str
    id: str
    begun: bool
    objects: dict[str, int]
    foreign: tuple[str, ...]
    written_at: datetime | None
    blocked: str

    @property
    def generations(self) -> int:
        """Manifests, whether they count or not."""
        return sum(name.startswith(GENERATIONS) for name in self.objects)

    @property
    def bytes(self) -> int:
        """All that would go."""
        return sum(self.objects.values())


@dataclass
class DeleteReport:
    """What a run deleted, what the store kept with its reason, and whether the repository is gone."""

    objects: int = 0
    bytes: int = 0
    kept: dict[str, str] = field(default_factory=dict)
    complete: bool = False


def plan_deletion(store: Store, clock: Clock, silence: timedelta, opener: Opener | None = None) -> DeletePlan:
    """Look at a place and change nothing. `opener` opens the repository with its key, where somebody has it.

    Raises RepositoryError, Newer, Damaged for a repository.json that is not understood.
    """
    stats = {stat.name: stat for stat in store.list("")}
    ours = {name: stat for name, stat in stats.items() if is_ours(name)}
    foreign = tuple(name for name in stats if name not in ours)
    try:
        identity = read_config(store)[0].id
    except Missing:
        why = f"{store.url} holds no repository, so nothing there is known to be one's."
        return DeletePlan(store.url, "", False, {}, tuple(stats), None, why)
    begun = not any(name.startswith(KEYS) for name in ours)
    written_at = max((stat.modified_at for name, stat in ours.items() if not name.startswith(PROBES)), default=None)
    blocked = ""
    if not begun:  # else that was looked at before the keys went
        blocked = _alive(ours, clock(), silence, opener) or _locked(store, ours, clock())
    sizes = {name: stat.size for name, stat in ours.items()}
    return DeletePlan(store.url, identity, begun, sizes, foreign, written_at, blocked)


def execute_deletion(
    store: Store,
    plan: DeletePlan,
    clock: Clock,
    progress: Callable[[int], None] = lambda _: None,
    late: Callable[[], bool] = lambda: False,
) -> DeleteReport:
    """Carry out a plan that nothing blocks, or as much as there is time for; `progress` hears the bytes deleted so far.

    Stops behind the first folder of which the store kept something. When neither complete nor kept, plan and go on.
    Raises Unsuitable (blocked, the clock is off).
    """
    if plan.blocked:
        raise Unsuitable(plan.blocked)
    if not plan.begun:
        check_clock(store, clock)
    report = DeleteReport()
    for folder in ORDER:
        names = sorted(name for name in plan.objects if name.startswith(folder))
        for start in range(0, len(names), _BATCH):
            _delete(store, plan, names[start : start + _BATCH], report)
            progress(report.bytes)
            if late():
                return report
        if report.kept:
            return report
    if not any(is_ours(stat.name) and stat.name != CONFIG for stat in store.list("")):
        _delete(store, plan, [CONFIG], report)
        report.complete = not report.kept
    return report


def _delete(store: Store, plan: DeletePlan, names: list[str], report: DeleteReport) -> None:
    kept = store.delete(names)
    report.kept.update(kept)
    gone = [name for name in names if name not in kept]
    report.objects += len(gone)
    report.bytes += sum(plan.objects[name] for name in gone)


def _alive(ours: Mapping[str, Stat], at: datetime, silence: timedelta, opener: Opener | None) -> str:
    """Why a job may be under way there; '' when none is."""
    try:
        repository = opener() if opener is not None else None
    except WrongKey:
        repository = None
    index = Index()
    if repository is not None:
        read_leases(repository, index)
        for lease in index.open_jobs():
            if at - lease.changed_at < silence:
                return f"Job {lease.job} is under way there: it said so at {lease.changed_at:%Y-%m-%d %H:%M} UTC."
        if not index.unreadable:
            return ""
    last = max((stat.modified_at for name, stat in ours.items() if not name.startswith(PROBES)), default=at - silence)
    if at - last >= silence:
        return ""
    free = f"{last + silence:%Y-%m-%d %H:%M}"
    return (
        f"It was written to at {last:%Y-%m-%d %H:%M} UTC, and nobody here can read whether by a job: ask after {free}."
    )


def _locked(store: Store, ours: Mapping[str, Stat], at: datetime) -> str:
    """Until when objects are locked; '' when none is."""
    try:
        ends = locks_of(store, ours, at)
    except (AccessRefused, Unsuitable) as error:
        return str(error)  # nobody here can tell, so nothing goes
    if not ends:
        return ""
    last = max(ends.values())
    return f"{len(ends)} objects are locked, the last until {last:%Y-%m-%d %H:%M} UTC (9999: a legal hold)."

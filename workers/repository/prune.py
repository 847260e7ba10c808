"""Taking away what nothing needs: a plan first, printable and refusable; then tombstones, grace, deletion.

Which generations go is decided outside (retention); this module only carries it out. It runs beside any number of
archives, restores and other prunings; a process that stops between any two calls leaves a repository that the next
run finishes. FORMAT.md section 9.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import timedelta

from workers.repository.clock import stamp
from workers.repository.crypt import TOMB
from workers.repository.errors import Conflict, RepositoryError
from workers.repository.generations import manifest_name
from workers.repository.lease import COMMITTED
from workers.repository.liveness import Margins, Survey, committed_names, in_use, is_final, survey
from workers.repository.manifest import Generation
from workers.repository.names import GENERATIONS, MAPS, PACKS, PARTS, identity_of, pack_of, tomb_name
from workers.repository.repository import Repository, check_clock
from workers.repository.restore import FOOTER_ROW

# Days that are billed however early an object goes (Amazon S3 price list, us-east-1; "Access tiers for blob data" of
# Azure Blob; read 2026-11).
MINIMUM_DAYS = {
    "STANDARD_IA": 30,
    "ONEZONE_IA": 30,
    "GLACIER_IR": 90,
    "GLACIER": 90,
    "DEEP_ARCHIVE": 180,
    "COOL": 30,
    "COLD": 90,
    "ARCHIVE": 180,
}


# Objects that one request of S3 deletes (DeleteObjects).
_BATCH = 1000
# A probe of a process that died in it; a living one needs seconds.
_PROBE_LASTS = timedelta(hours=1)


class PruneRefused(RepositoryError):
    """Something is unreadable or missing, so that nobody can tell what is still needed."""

    code = "prune-refused"
    advice = "Verify and repair first; nothing was deleted."


@dataclass(frozen=True)
class PrunePlan:
    """What a pruning would do now. Sizes in bytes by object name.

    `expire` are manifests to hide; `revoke` jobs to give up; `delete` objects that nothing needs any more; `early`
    those of them that are billed for so many more days; `later` bytes that wait for the grace to pass; `live` bytes
    in use; `dead_in_use` bytes within packs in use that compaction could win back.
    """

    expire: dict[str, Generation]
    revoke: tuple[str, ...]
    delete: dict[str, int]
    early: dict[str, int]
    later: int
    live: int
    dead_in_use: int
    margins: Margins

    @property
    def freed(self) -> int:
        """Bytes that go at once."""
        return sum(self.delete.values())


@dataclass
class PruneReport:
    """What a pruning did: generations hidden, jobs given up, objects deleted; `kept` with the store's reason."""

    hidden: list[str] = field(default_factory=list)
    revoked: list[str] = field(default_factory=list)
    deleted: dict[str, int] = field(default_factory=dict)
    kept: dict[str, str] = field(default_factory=dict)


def plan_prune(
    repository: Repository, expire: Iterable[str], margins: Margins | None = None, spare_early: bool = False
) -> PrunePlan:
    """Find out what a pruning would do; changes nothing. `expire` are ids of generations that retention lets go.

    With `spare_early` cold objects stay until their billed time is over. Raises PruneRefused, Damaged, Missing.
    """
    margins = margins or Margins()
    first = survey(repository, margins, set(), rehearse=True)
    _sound(first)
    ids = set(expire)
    known = [*first.index.generations, *first.index.superseded]
    gone = {g.identity: g for g in known if g.id in ids} | {g.identity: g for g in first.index.superseded}
    after = survey(repository, margins, set(gone), rehearse=True) if gone else first
    delete = _dead(after, margins.grace)
    early = {name: days for name in delete if (days := _days_left(after, name)) > 0}
    if spare_early:
        delete = {name: size for name, size in delete.items() if name not in early}
    dead = _dead(after, timedelta(0), frozenset(lease.job for lease in after.revoke))
    live, unused = _use(after)
    return PrunePlan(
        expire={manifest_name(repository, g): g for g in gone.values()},
        revoke=tuple(lease.job for lease in after.revoke),
        delete=delete,
        early=early,
        later=sum(dead.values()) - sum(delete.values()),
        live=live,
        dead_in_use=unused,
        margins=margins,
    )


def execute_prune(
    repository: Repository, plan: PrunePlan, progress: Callable[[int], None] = lambda _: None
) -> PruneReport:
    """Carry out a plan: hide, look again, and delete what is dead now and was dead in the plan, nothing else.

    `progress` hears how many bytes were dealt with so far.

    Raises PruneRefused, Unsuitable (the clock is off, a foreign writer), Damaged, Missing.
    """
    repository.assert_writable()
    check_clock(repository.store, repository.clock)
    report = PruneReport()
    for name, generation in plan.expire.items():
        hide(repository, name, "expired")
        report.hidden.append(generation.id)
    found = survey(repository, plan.margins, set(), rehearse=False)
    _sound(found)
    report.revoked = [lease.job for lease in found.revoke]
    dead = {name: size for name, size in _dead(found, plan.margins.grace).items() if name in plan.delete}
    # packs before manifests: a manifest that is there keeps telling whose packs those are
    for folder in (PACKS, MAPS, PARTS, GENERATIONS):
        names = [name for name in dead if name.startswith(folder)]
        for start in range(0, len(names), _BATCH):
            batch = names[start : start + _BATCH]
            kept = repository.store.delete(batch)
            report.kept.update(kept)
            report.deleted.update({name: dead[name] for name in batch if name not in kept})
            progress(sum(dead[name] for name in report.deleted) + sum(dead[name] for name in report.kept))
    _forget(repository, found, report)
    return report


def hide(repository: Repository, manifest: str, reason: str) -> None:
    """Write a manifest's tombstone: from then on it is not restored from, and no archive builds on it."""
    identity = identity_of(manifest) or ""
    name = tomb_name(identity)
    facts = f'{{"at": "{stamp(repository.clock())}", "reason": "{reason}"}}'
    try:
        repository.store.create(name, repository.sealer.seal(TOMB, name, facts.encode()))
    except Conflict:
        return  # hidden already


def _sound(found: Survey) -> None:
    """Refuse while anything that might be needed cannot be understood."""
    broken = found.index.broken()
    if broken:
        raise PruneRefused(f"{len(broken)} objects cannot be understood, the first is {min(broken)}.")


def _owner(found: Survey, name: str) -> str:
    """The job an object belongs to; '' for a hidden manifest that cannot be read."""
    return found.index.jobs.get(name, "") if name.startswith(GENERATIONS) else name.split("/")[1]


def _dead(found: Survey, grace: timedelta, also: frozenset[str] = frozenset()) -> dict[str, int]:
    """Listed objects that are older than the grace, whose job is final (or in `also`), and that nothing refers to."""
    named = committed_names(found)
    pinned = {name for lease in found.respected.values() if lease.job not in also for name in lease.pins}
    dead = {}
    for name, stat in found.objects.items():
        owner = _owner(found, name)
        if found.at - stat.modified_at < grace or not (is_final(found, owner) or owner in also):
            continue
        if name.startswith(GENERATIONS):
            since = found.tombed.get(identity_of(name) or "")
            expired = since is not None and found.at - since >= grace
            needless = name not in pinned and (expired or name not in named)
        elif name.startswith(PARTS):
            needless = True
        else:
            pack = pack_of(name)  # what is not named as ours are is not ours to delete
            needless = pack is not None and not in_use(found, name, pack)
        if needless:
            dead[name] = stat.size
    return dead


def _days_left(found: Survey, name: str) -> int:
    stat = found.objects[name]
    least = MINIMUM_DAYS.get(stat.storage_class, 0)
    return max(0, least - (found.at - stat.modified_at).days)


def _use(found: Survey) -> tuple[int, int]:
    """Bytes of live packs, and an estimate of dead bytes in them by the share of frames that are in use."""
    live = unused = 0
    for pack, bits in found.live.frames.items():
        place = found.live.places[pack]
        frames = max(bits.bit_length(), place.footer // FOOTER_ROW)
        live += place.size
        unused += int(place.size * max(0.0, 1 - bits.bit_count() / frames)) if frames else 0
    return live + sum(place.size for place in found.live.maps.values()), unused


def _forget(repository: Repository, found: Survey, report: PruneReport) -> None:
    """Leases of committed jobs of which nothing is left, then tombstones that nothing needs: in this order.

    The lease of a job that was given up stays for good: it is what a process that wakes after months runs into.
    """
    left = {name for name in found.objects if name not in report.deleted}
    busy = {_owner(found, name) for name in left}
    leases = found.index.leases
    gone = [
        job
        for job, lease in leases.items()
        if lease.state == COMMITTED
        and job not in busy
        and all(identity_of(name) in found.tombed for name in lease.manifests)
    ]
    repository.leases.forget(gone)
    kept = set(repository.leases.jobs()) if gone else set()  # by a lock of the bucket: it needs its tombstones still
    gone = [job for job in gone if job not in kept]
    named = {name for job, lease in leases.items() if job not in gone for name in lease.manifests}
    needed = {identity_of(name) for name in named | left}
    repository.store.delete([tomb_name(identity) for identity in found.tombed if identity not in needed])
    probes = repository.store.list("probe/")
    repository.store.delete([probe.name for probe in probes if found.at - probe.modified_at > _PROBE_LASTS])

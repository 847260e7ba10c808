"""Whatever goes wrong with any object of a store is found and named, and what is sound is saved."""

import random
from collections.abc import Callable
from datetime import timedelta
from itertools import pairwise

import pytest

from tests.workers.repository.volumes import BLOCK, KEY, TUNING, Disk, Hand, Snapshot, content, repository
from workers.repository.archive import archive, archive_slice, resume_archive, start_archive
from workers.repository.errors import Archived, Damaged, Fenced, Missing, Newer, RepositoryError, WrongKey
from workers.repository.generations import manifest_name, read_index
from workers.repository.keys import KeyFile, Passphrase
from workers.repository.liveness import Margins
from workers.repository.memory import MemoryStore
from workers.repository.names import MAP
from workers.repository.prune import PruneRefused, execute_prune, hide, plan_prune
from workers.repository.repair import repair
from workers.repository.repository import Repository, open_repository
from workers.repository.verify import Verified, verify


def built() -> tuple[Repository, MemoryStore, dict[str, bytes]]:
    """Three generations, a tombstone, an unfinished job with a part: every kind of object."""
    clock = Hand()
    store = MemoryStore(clock)
    repo = repository(clock, store)
    disk, base, before, contents = Disk(150), None, None, {}
    for _ in range(4):
        now = disk.bytes()
        base = archive(repo, "v", Snapshot(now, before), clock(), base, tuning=TUNING)
        contents[base.id], before = now, now
        disk.change(40)
        clock.pass_by(hours=1)
    first = read_index(repo).generations[0]
    hide(repo, f"generations/{repo.sealer.label('v')}/{first.identity}", "expired")
    del contents[first.id]
    job = start_archive(repo, "other", Snapshot(disk.bytes()))
    archive_slice(repo, job, Snapshot(disk.bytes()), 0, 20, tuning=TUNING)
    return repo, store, contents


def checked(store: MemoryStore, clock: object, expected: dict[str, bytes]) -> tuple[Verified | None, str]:
    """Verify with everything a caller can know; the text of a refusal to open."""
    try:
        repo = open_repository(store, KEY, clock=clock)
    except RepositoryError as error:
        return None, str(error)
    return verify(repo, full=True, expected=expected), ""


def in_use(repo: Repository, store: MemoryStore, expected: dict[str, bytes]) -> list[str]:
    """Objects whose loss matters: not those that only the hidden generation or the open job's packs use."""
    dead = set(plan_prune(repo, [], Margins(timedelta(0), timedelta(days=1))).delete)
    unfinished = {f"packs/{lease.job}" for lease in read_index(repo).open_jobs()}
    hidden = set(read_index(repo).hidden)
    return [
        stat.name
        for stat in store.list("")
        if stat.name not in dead | hidden and not stat.name.startswith(tuple(unfinished))
    ]


def flipped(body: bytes, at: random.Random) -> bytes:
    changed = bytearray(body)
    changed[at.randrange(len(body))] ^= 1 << at.randrange(8)
    return bytes(changed)


@pytest.mark.parametrize(
    ("harm", "times"),
    [
        (flipped, 8),
        (lambda body, _: body[: len(body) // 2], 1),
        (lambda body, _: body[:-1], 1),
        (lambda body, _: b"", 1),
        (lambda body, at: body + at.randbytes(9), 1),
    ],
)
def test_every_damaged_object_is_named(harm: Callable[[bytes, random.Random], bytes], times: int) -> None:
    """feature C13: one flipped bit anywhere, a cut, a growth: the object's name is in the report."""
    repo, store, contents = built()
    at = random.Random(1)
    names = in_use(repo, store, contents)
    kinds = {name.split("/")[0] for name in names}
    assert kinds == {"packs", "maps", "generations", "leases", "keys", "tombs", "parts", "repository.json"}
    for name in names:
        body = store.get(name)[0]
        for _ in range(times):
            store.put(name, harm(body, at))
            found, refusal = checked(store, repo.clock, contents)
            if found is None:
                assert name == "repository.json" or name.startswith("keys/"), name
                assert name in refusal or "key" in refusal
            else:
                assert name in {problem.name for problem in found.problems}, (name, found.problems)
        store.put(name, body)
    assert verify(repo, full=True, expected=contents).sound


def test_every_missing_object_is_named() -> None:
    repo, store, contents = built()
    for name in in_use(repo, store, contents):
        if name.startswith(("tombs/", "parts/")):
            continue  # nobody can know that these were there
        if name.startswith("leases/") and name.removeprefix("leases/") not in contents:
            continue
        body = store.get(name)[0]
        store.delete([name])
        found, refusal = checked(store, repo.clock, contents)
        if found is None:
            assert "repository" in refusal or "key slot" in refusal
        else:
            assert name in {problem.name for problem in found.problems}, (name, found.problems)
        store.put(name, body)


def test_objects_that_were_swapped_are_named() -> None:
    repo, store, contents = built()
    by_kind: dict[str, list[str]] = {}
    for name in in_use(repo, store, contents):
        by_kind.setdefault(name.split("/")[0], []).append(name)
    swapped = 0
    for names in by_kind.values():
        for one, other in pairwise(names):
            first, second = store.get(one)[0], store.get(other)[0]
            store.put(one, second)
            store.put(other, first)
            found, _ = checked(store, repo.clock, contents)
            assert found is not None
            assert {one, other} <= {problem.name for problem in found.problems}, (one, other)
            store.put(one, first)
            store.put(other, second)
            swapped += 1
    assert swapped > 8


def test_a_lease_that_was_rolled_back_is_named_whether_or_not_something_builds_on_it() -> None:
    clock, disk = Hand(), Disk(60)
    store = MemoryStore(clock)
    repo = repository(clock, store)
    old: dict[str, bytes] = {}
    base, before = None, None
    for _ in range(2):
        now = disk.bytes()
        job = start_archive(repo, "v", Snapshot(now, before), base)
        old[job.id] = store.get(f"leases/{job.id}")[0]
        base = archive(repo, "v", Snapshot(now, before), clock(), base, tuning=TUNING, job=job.id)
        before = now
        disk.change(9)
        clock.pass_by(hours=1)
    middle, last = old
    for job, expected in ((middle, []), (last, [middle, last])):
        body = store.get(f"leases/{job}")[0]
        store.put(f"leases/{job}", old[job])
        problems = verify(repo, expected=expected).problems
        assert [(p.name, p.kind) for p in problems] == [(f"leases/{job}", "rolled-back")]
        store.put(f"leases/{job}", body)
    assert verify(repo, full=True, expected=list(old)).sound


def test_a_restore_never_gives_wrong_bytes() -> None:
    repo, store, contents = built()
    generation = read_index(repo).generations[-1]
    at = random.Random(3)
    for name in [stat.name for stat in store.list("packs/")]:
        body = store.get(name)[0]
        store.put(name, flipped(body, at))
        refusal = ""
        try:
            given = content(open_repository(store, KEY, clock=repo.clock), generation)
        except (Damaged, Newer) as error:
            given, refusal = contents[generation.id], str(error)
        assert given == contents[generation.id]
        assert not refusal or name in refusal
        store.put(name, body)


def test_repair_saves_what_is_sound_and_lists_what_is_lost() -> None:
    """feature C13: a lost pack costs its blocks, in every generation that used it, and nothing else."""
    repo, store, contents = built()
    victim = max((stat for stat in store.list("packs/")), key=lambda stat: stat.size).name
    store.delete([victim])
    with pytest.raises(Missing):
        for generation in read_index(repo).generations:
            content(repo, generation)
    done = repair(repo, verify(repo, full=True, expected=contents))
    assert done.lost
    assert verify(repo, full=True, expected=contents).sound
    for generation in read_index(repo).generations:
        wanted = bytearray(contents[generation.id])
        for first, count in generation.lost:
            wanted[first * BLOCK : (first + count) * BLOCK] = bytes(count * BLOCK)
        assert content(repo, generation) == wanted
        assert list(generation.lost) == done.lost.get(generation.id, [])


@pytest.mark.parametrize("folder", ["packs/", "maps/"])
def test_what_a_repair_gave_up_is_told_as_lost_and_as_damage_no_more(folder: str) -> None:
    """Else the alert would last as long as anything else lies in the same pack."""
    repo, store, contents = built()
    names = [name for name in in_use(repo, store, contents) if name.startswith(folder)]
    for name in names:
        body = bytearray(store.get(name)[0])
        body[60] ^= 1
        store.put(name, bytes(body))
    done = repair(repo, verify(repo, full=True))
    again = verify(repo, full=True, expected=contents)
    assert (again.problems, again.affected) == ([], {})
    assert set(again.lost) == set(done.lost)


@pytest.mark.parametrize("harm", ["missing", "damaged"])
def test_a_lease_that_is_lost_stops_pruning_until_repair_writes_it_anew(harm: str) -> None:
    repo, store, contents = built()
    job = next(iter(contents))
    body = store.get(f"leases/{job}")[0]
    store.delete([f"leases/{job}"])
    if harm == "damaged":
        store.put(f"leases/{job}", flipped(body, random.Random(2)))
    with pytest.raises(PruneRefused):
        plan_prune(repo, [])
    done = repair(repo, verify(repo, full=True))
    assert done.leases == [job]
    assert verify(repo, full=True, expected=contents).sound
    plan_prune(repo, [])


def test_an_unreadable_lease_of_a_job_that_made_nothing_stops_pruning_until_repair_gives_the_job_up() -> None:
    repo, store, contents = built()
    (job,) = (lease.job for lease in read_index(repo).open_jobs())
    store.put(f"leases/{job}", flipped(store.get(f"leases/{job}")[0], random.Random(2)))
    with pytest.raises(PruneRefused):
        plan_prune(repo, [])
    assert repair(repo, verify(repo)).leases == [job]
    assert verify(repo, full=True, expected=contents).sound
    with pytest.raises(Fenced):
        resume_archive(repo, job)
    at_once = Margins(timedelta(0), timedelta(0))
    execute_prune(repo, plan_prune(repo, [], at_once))
    assert not [stat.name for stat in store.list("") if stat.name.startswith((f"packs/{job}", f"parts/{job}"))]


@pytest.mark.parametrize("folder", ["generations/", "leases/", "maps/", "packs/"])
def test_repair_gives_nothing_up_that_a_later_release_has_written(folder: str) -> None:
    """An old copy of the tool in a safe must not clear away what it does not know."""
    repo, store, contents = built()
    name = next(name for name in in_use(repo, store, contents) if name.startswith(folder))
    body = bytearray(store.get(name)[0])
    body[-4 - 4 - footer_length(body) + 4 if folder in ("maps/", "packs/") else 4] = 2
    store.put(name, bytes(body))
    before = {stat.name: store.get(stat.name) for stat in store.list("")}
    found = verify(repo, full=True)
    assert {problem.kind for problem in found.problems} == {"newer"}
    with pytest.raises(Newer, match="a release that knows"):
        repair(repo, found)
    assert {stat.name: store.get(stat.name) for stat in store.list("")} == before


@pytest.mark.parametrize("folder", ["generations/", "leases/", "maps/"])
def test_what_a_lifecycle_rule_has_archived_is_named_keeps_no_other_from_being_restored_and_is_not_given_up(
    folder: str,
) -> None:
    """All but packs must stay readable; where a rule that somebody set has archived them they come back when asked."""
    repo, store, contents = built()
    generation = read_index(repo).generations[-1]
    names = {"generations/": manifest_name(repo, generation), "leases/": f"leases/{generation.id}"}
    name = names.get(folder) or next(ref.place.pack.name(MAP) for ref in generation.segments if ref is not None)
    before = {stat.name: store.get(stat.name) for stat in store.list("")}
    store.reclass(name, "GLACIER")
    found = verify(repo, full=True)
    assert (name, "archived") in [(problem.name, problem.kind) for problem in found.problems]
    others = [one for one in read_index(repo).generations if one.id != generation.id]
    assert others
    assert all(content(repo, one) == contents[one.id] for one in others)
    with pytest.raises(RepositoryError):
        plan_prune(repo, [])
    with pytest.raises(Archived, match="retrieve"):
        repair(repo, found)
    store.thaw([name], 1, "Bulk")
    repo.clock.pass_by(hours=6)  # type: ignore[attr-defined]
    assert {stat.name: store.get(stat.name) for stat in store.list("")} == before


def footer_length(pack: bytearray) -> int:
    return int.from_bytes(pack[-8:-4], "little")


def test_a_manifest_that_is_lost_stops_pruning_until_repair_gives_it_up() -> None:
    repo, store, contents = built()
    victim = read_index(repo).generations[1]
    name = f"generations/{repo.sealer.label('v')}/{victim.identity}"
    store.delete([name])
    with pytest.raises(PruneRefused):
        execute_prune(repo, plan_prune(repo, []))
    assert repair(repo, verify(repo)).given_up == [name]
    assert verify(repo).sound
    execute_prune(repo, plan_prune(repo, []))
    assert {g.id for g in read_index(repo).generations} == set(contents) - {victim.id}


def test_what_a_repair_gave_up_is_in_no_later_ones_way_and_not_given_up_again() -> None:
    """Nor is what was hidden before a rule archived it, which kept every repair away."""
    repo, store, _ = built()
    hidden = next(iter(read_index(repo).hidden))
    store.reclass(hidden, "GLACIER")
    victim, other = (manifest_name(repo, one) for one in read_index(repo).generations[:2])
    for name in (victim, other):
        store.put(name, b"noise")
        assert repair(repo, verify(repo)).given_up == [name]
    assert verify(repo).sound


def test_shares_of_a_scrub_cover_every_pack_once() -> None:
    repo, _, _ = built()
    shares = [verify(repo, share=(number, 4)).read_packs for number in range(4)]
    assert sum(shares) == verify(repo, full=True).packs


def test_the_wrong_key_and_a_foreign_place_are_refused_with_what_to_do() -> None:
    _, store, _ = built()
    for wrong in (Passphrase("no"), KeyFile(b"another key file of 32 bytes....")):
        with pytest.raises(WrongKey, match="key slots"):
            open_repository(store, wrong)
    with pytest.raises(Missing, match="prefix"):
        open_repository(MemoryStore(), KEY)
    store.put("repository.json", b'{"format": "restic"}')
    with pytest.raises(RepositoryError, match="another program"):
        open_repository(store, KEY)


def test_a_newer_version_is_refused_by_name() -> None:
    repo, store, _ = built()
    body = store.get("repository.json")[0]
    store.put("repository.json", body.replace(b'"version": 1', b'"version": 2'))
    with pytest.raises(Newer, match="version 2"):
        open_repository(store, KEY)
    sealed = bytearray(repo.sealer.seal(3, "generations/x", b"{}"))
    sealed[4] = 9
    with pytest.raises(Newer, match="version 9"):
        repo.sealer.open(3, "generations/x", bytes(sealed))

"""Break glass: list, verify, repair, restore, delete with nothing else running. `python -m workers.repository --help`.

Needs the bucket, a key and Python with zstandard, cryptography and (for S3) boto3 and isal: no catalog, no queue, no
database. Credentials come from the SDK's own settings; for Azure from AZURE_STORAGE_KEY, AZURE_STORAGE_SAS_TOKEN or
AZURE_STORAGE_ACCESS_TOKEN. Exit 0 done, 1 failed, 2 wrong usage, 3 damage was found.
"""

import argparse
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TextIO

from workers.repository.clock import host_clock
from workers.repository.delete import execute_deletion, plan_deletion
from workers.repository.errors import RepositoryError
from workers.repository.generations import read_index
from workers.repository.keys import MASTER_BYTES, Key, KeyFile, Passphrase, ServiceKey
from workers.repository.liveness import Margins
from workers.repository.manifest import Generation
from workers.repository.places import store_at
from workers.repository.repair import repair
from workers.repository.repository import Repository, open_repository
from workers.repository.restore import packs_of, restore, start_retrieval
from workers.repository.sdk import usable
from workers.repository.source import StreamSink
from workers.repository.store import Thaw
from workers.repository.tofile import restore_to_file
from workers.repository.verify import verify


@dataclass
class Screen:
    """Where lines go: results to `out`, what went wrong to `err`."""

    out: TextIO
    err: TextIO

    def say(self, text: str = "") -> None:
        """A line of the result."""
        self.out.write(text + "\n")

    def complain(self, text: str) -> None:
        """A line for the operator."""
        self.err.write(text + "\n")


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser(prog="python -m workers.repository", description=__doc__)
    top.add_argument("url", help="s3://BUCKET/PREFIX, azure://ACCOUNT/CONTAINER/PREFIX or file:///PATH")
    top.add_argument("--passphrase-env", metavar="NAME", help="environment variable with the passphrase")
    top.add_argument("--key-file", type=Path, help="a file with a key or a passphrase, as `export-key` writes")
    top.add_argument("--kms", action="store_true", help="a key slot that AWS KMS opens, with the SDK's settings")
    top.add_argument("--endpoint", help="address of another S3 or Azure Blob server")
    verbs = top.add_subparsers(dest="verb", required=True)
    verbs.add_parser("list", help="the generations")
    check = verbs.add_parser("verify", help="structure and presence; with --full every byte")
    check.add_argument("--full", action="store_true")
    check.add_argument("--share", metavar="K/N", help="read the K-th of N shares of the packs")
    verbs.add_parser("repair", help="read every byte, and leave out of each generation what is lost; deletes nothing")
    back = verbs.add_parser("restore", help="a generation to a file, or with - to standard output")
    back.add_argument("generation", help="its id; a unique beginning is enough; or latest:LINEAGE")
    back.add_argument("target", help="a file that does not exist yet, or -; one in part is gone on with")
    drop = verbs.add_parser("delete", help="say what would go, or delete all of it; also without a key")
    drop.add_argument("--confirm", metavar="URL", help="the address once more: delete it")
    thaw = verbs.add_parser("retrieve", help="ask for a generation's archived packs; again to see how far it is")
    thaw.add_argument("generation")
    thaw.add_argument("--days", type=int, default=7)
    thaw.add_argument("--tier", default="Bulk")
    return top


def main(arguments: Sequence[str], screen: Screen) -> int:
    """Run one command; its exit code."""
    options = parser().parse_args(arguments)
    try:
        if options.verb == "delete":
            return _delete(options, screen)
        repository = open_repository(store_at(options.url, options.endpoint), *_keys(options))
        if options.verb == "list":
            return _list(repository, screen)
        if options.verb == "verify":
            return _verify(repository, options, screen)
        if options.verb == "repair":
            return _repair(repository, screen)
        generation = _chosen(repository, options.generation)
        if options.verb == "retrieve":
            return _retrieve(repository, generation, options, screen)
        return _restore(repository, generation, options.target, screen)
    except RepositoryError as error:
        screen.complain(f"{error} [{error.code}]")
        return 1


def _delete(options: argparse.Namespace, screen: Screen) -> int:
    """Also without a key: then whatever was written to within the last day counts as in use."""
    store, keyed = store_at(options.url, options.endpoint), options.passphrase_env or options.key_file or options.kms
    opener = (lambda: open_repository(store, *_keys(options))) if keyed else None
    plan = plan_deletion(store, host_clock, Margins().silence, opener)
    screen.say(f"{plan.url}: {plan.generations} generations, {len(plan.objects)} objects, {plan.bytes} bytes")
    for name in plan.foreign:
        screen.say("stays: " + "".join(c if c.isprintable() else "?" for c in name))
    if plan.blocked or not options.confirm:
        screen.complain(plan.blocked or f"Nothing was deleted. To delete it: --confirm {options.url}")
        return 1 if plan.blocked else 0
    if options.confirm.rstrip("/") != options.url.rstrip("/"):
        raise RepositoryError(f"{options.confirm} is not its address; nothing was deleted.")
    done = execute_deletion(
        store, plan, host_clock, lambda gone: screen.complain(f"{gone} of {plan.bytes} bytes are gone")
    )
    for name, why in done.kept.items():
        screen.complain(f"{name} was kept: {why}")
    return 0 if done.complete else 1


def _keys(options: argparse.Namespace) -> list[Key]:
    keys: list[Key] = []
    if options.passphrase_env:
        if options.passphrase_env not in os.environ:
            raise RepositoryError(f"The environment has no {options.passphrase_env}.")
        keys.append(Passphrase(os.environ[options.passphrase_env]))
    if options.key_file:
        keys += _in_file(options.key_file)
    if options.kms:
        import boto3

        from workers.repository.kms import Kms

        with usable():
            keys.append(ServiceKey(Kms(boto3.client("kms"))))
    if not keys:
        raise RepositoryError("No key is given.", advice="Use --passphrase-env, --key-file or --kms.")
    return keys


def _in_file(file: Path) -> list[Key]:
    """What `export-key` wrote may be either; a passphrase may have got a line's end since."""
    keys: list[Key] = []
    try:
        content = file.read_bytes()
        if len(content) >= MASTER_BYTES:
            keys.append(KeyFile(content))
        text = content.decode()
        keys += [Passphrase(one) for one in dict.fromkeys([text, text.strip()])]
    except UnicodeDecodeError:
        if not keys:
            raise RepositoryError(f"{file} is too short for a key file, and no passphrase.") from None
    except OSError as error:
        raise RepositoryError(f"{file} cannot be read: {error.strerror}.") from None
    return keys


def _chosen(repository: Repository, wanted: str) -> Generation:
    """By id, or the latest of a lineage; never an older one in the place of one that is damaged."""
    index = read_index(repository)
    if not wanted.startswith("latest:"):
        return index.of(wanted)
    lineage = wanted.removeprefix("latest:")
    mine = [g for g in index.generations if g.lineage == lineage]
    if doubtful := index.doubtful(repository.sealer.label(lineage)):
        text = f"The latest may be one that cannot be read: {min(doubtful)}."
        raise RepositoryError(text, advice="Name a generation that `list` shows, or repair first.")
    if not mine:
        raise RepositoryError("There is no generation of that lineage.", advice="List the generations.")
    return mine[-1]


def _list(repository: Repository, screen: Screen) -> int:
    index = read_index(repository)
    for g in index.generations:
        lost = f"  lost blocks: {sum(count for _, count in g.lost)}" if g.lost else ""
        name = "".join(c if c.isprintable() else "?" for c in g.lineage)
        screen.say(f"{g.id}  {g.taken_at:%Y-%m-%d %H:%M:%S}Z  {g.size:>16} bytes  {name}{lost}")
    for lease in index.open_jobs():
        screen.complain(f"Job {lease.job} is under way since {lease.started_at:%Y-%m-%d %H:%M}Z, or died.")
    broken = index.broken()
    for name in sorted(broken):
        what = f"leases/{index.jobs.get(name)} is gone"
        if name in index.lost:
            what = "a committed job names it, and it is gone"
        screen.complain(str(index.unreadable.get(name, f"{name}: {what}. Verify, then repair.")))
    return 3 if broken else 0


def _verify(repository: Repository, options: argparse.Namespace, screen: Screen) -> int:
    share = None
    if options.share:
        try:
            number, _, shares = options.share.partition("/")
            share = (int(number), max(1, int(shares)))
        except ValueError:
            raise RepositoryError("A share is written K/N.") from None
    done = verify(repository, share, options.full)
    for problem in done.problems:
        screen.say(f"{problem.name}: {problem.kind}: {problem.detail}")
    for generation, lost in done.affected.items():
        screen.say(f"generation {generation}: {sum(count for _, count in lost)} blocks cannot be restored")
    for generation, blocks in done.lost.items():
        screen.say(f"generation {generation}: {blocks} blocks were lost before, and are zeros")
    screen.say(
        f"{done.generations} generations, {done.packs} packs, {done.read_packs} of them read byte by byte, "
        f"{done.archived} archived, {len(done.problems)} problems"
    )
    return 0 if done.sound else 3


def _repair(repository: Repository, screen: Screen) -> int:
    found = verify(repository, full=True)
    for problem in found.problems:
        screen.say(f"{problem.name}: {problem.kind}: {problem.detail}")
    done = repair(repository, found)
    if done.described:
        screen.say("repository.json: written anew")
    for generation, lost in done.lost.items():
        screen.say(f"generation {generation}: {sum(count for _, count in lost)} blocks were lost and are zeros now")
    for name in done.given_up:
        screen.say(f"{name}: given up")
    for job in done.leases:
        screen.say(f"leases/{job}: written anew")
    return 3 if found.problems else 0


def _retrieve(repository: Repository, generation: Generation, options: argparse.Namespace, screen: Screen) -> int:
    states = start_retrieval(repository, generation, options.days, options.tier)
    ready = sum(state is Thaw.READY for state in states.values())
    screen.say(f"{ready} of {len(states)} packs can be read")
    return 0


def _restore(repository: Repository, generation: Generation, target: str, screen: Screen) -> int:
    if target == "-":
        with _written_to("standard output"):
            restore(repository, generation, StreamSink(sys.stdout.buffer, generation.size, generation.block_bytes))
        return _told_lost(generation, screen)
    with _written_to(target):
        figures = restore_to_file(repository, generation, Path(target), _teller(generation, screen))
    count = len(packs_of(repository, generation))
    screen.say(f"{generation.size} bytes, {figures.written_bytes} of them data, from {count} packs")
    return _told_lost(generation, screen)


def _teller(generation: Generation, screen: Screen) -> Callable[[int], None]:
    """How far a restore is, at which rate, and how long it takes at that; nothing for one that is done at once."""
    began, first = host_clock(), -1

    def tell(blocks: int) -> None:
        nonlocal first
        if first < 0 and blocks:
            screen.complain(f"going on after {_gib(generation, blocks):.1f} GiB that are there already")
        first = blocks if first < 0 else first
        rate = (blocks - first) / max(0.001, (host_clock() - began).total_seconds())
        if first < blocks < generation.blocks:
            left = timedelta(seconds=int((generation.blocks - blocks) / rate))
            of = f"{_gib(generation, blocks):.1f} of {_gib(generation, generation.blocks):.1f} GiB"
            screen.complain(f"{of}, {1024 * _gib(generation, 1) * rate:.0f} MiB a second, {left} left")

    return tell


def _gib(generation: Generation, blocks: float) -> float:
    return blocks * generation.block_bytes / 2**30


def _told_lost(generation: Generation, screen: Screen) -> int:
    if generation.lost:
        screen.complain("Some blocks were lost before and are zeros here; `list` shows how many.")
        return 3
    return 0


@contextmanager
def _written_to(target: str) -> Iterator[None]:
    """What the file system says of the target, as one sentence."""
    try:
        yield
    except OSError as error:
        begun = f"{target}.partial"
        advice = f"The same command goes on with {begun}." if os.path.exists(begun) else ""
        raise RepositoryError(f"{target} cannot be written: {error.strerror}.", advice=advice) from None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], Screen(sys.stdout, sys.stderr)))

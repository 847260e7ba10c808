"""The restore step that writes a generation into a local file, where it differs from one into a cloud: whose worker
goes on with it, how it ends, and how it is undone.

A file is on one host. A slice of the work that another host's worker gets is put back in line while that host has
workers for restores, and begun anew elsewhere when it has none any more. A folder that hosts share is anybody's.
"""

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from tasks.catalog import Creation, Job, Process, Transfer, session, transaction
from tasks.catalog.transitions import requeue
from tasks.crash import reach
from tasks.errors import InUse, Transient
from tasks.lanes import Lane
from workers import driver, fence, steps
from workers.context import Context
from workers.files import FileTarget, check_space, folder_of, is_there, name_of, path_in, remove
from workers.repositories import checkpoint, translated
from workers.repository.manifest import Generation
from workers.repository.repository import Repository

STEP = "restore-file"
# A host whose workers have said nothing for so long has none: they report themselves every five seconds.
SILENCE = timedelta(minutes=2)
# Until a message that met the wrong host is sent again: each try costs a message.
TURN = timedelta(seconds=5)


def is_mine(context: Context, job: Job, transfer: Transfer, repository: Repository, generation: Generation) -> bool:
    """Whether this worker goes on with the file. False: the job was put back in line, for the host that has it. What is
    lost with its host is begun anew here.

    Raises Impossible where there is no folder, or no room in it: before anything is asked back from a cold class.
    """
    setting, whole = context.settings.restore_folder, transfer.next_block >= transfer.blocks
    if transfer.snapshot_id:
        if setting and is_there(path_in(Path(setting), _name(job, transfer)), whole):
            return True
        host = transfer.snapshot_id.partition(":")[0]
        if host != _host(context) and _lives(context, host):
            _leave(context, job, host)
            return False
        checkpoint(context, job, transfer, snapshot_id="", next_block=0, figures={})
    with translated():
        check_space(_path(context, job, transfer), _host(context), repository, generation)
    return True


@contextmanager
def opened_file(context: Context, job: Job, transfer: Transfer, generation: Generation) -> Iterator[FileTarget]:
    """What the blocks are written to, for one slice."""
    with closing(FileTarget(_path(context, job, transfer), _host(context), generation)) as target:
        yield target


def finish(context: Context, job: Job, transfer: Transfer, generation: Generation) -> None:
    """The file is whole: the step says where it is, and what repair had lost of it before."""
    known: dict[str, Any] = {"file": transfer.snapshot_id, "bytes": generation.size}
    if lost := sum(count for _, count in generation.lost):
        known["lost_blocks"] = lost
    with transaction():
        fence.keep(job)
        steps.close_done(context, job, (), **known)
    reach("restore.recorded")


def undo(context: Context, job: Job, rows: Sequence[Creation]) -> list[driver.Deleted] | None:
    """What became of the files that a restore made; None when the job was put back in line for a host that has some."""
    answers, elsewhere, setting = [], "", context.settings.restore_folder
    for row in rows:
        host, _, text = row.external_id.partition(":")
        mine = path_in(Path(setting), Path(text).name) if setting else None
        if mine and (is_there(mine, whole=True) or row.external_id == f"{_host(context)}:{mine}"):
            answers.append(_removed(row.external_id, mine))
        elif host != _host(context) and _lives(context, host):
            elsewhere = host
        else:
            error = InUse(f"{row.external_id} is not where this worker may delete.", advice="Delete it there.")
            answers.append(driver.Deleted(row.external_id, "kept", error))
    if not elsewhere:
        return answers
    _leave(context, job, elsewhere, [one.external_id for one in answers if one.outcome == "deleted"])
    return None


def _removed(external_id: str, path: Path) -> driver.Deleted:
    try:
        remove(path)
    except Transient as error:
        return driver.Deleted(external_id, "kept", error)
    return driver.Deleted(external_id, "deleted")


def _path(context: Context, job: Job, transfer: Transfer) -> Path:
    folder = folder_of(context.settings.restore_folder, _host(context))
    return path_in(folder, _name(job, transfer))


def _name(job: Job, transfer: Transfer) -> str:
    """Of the file that was begun, else of the one that this attempt begins."""
    begun = Path(transfer.snapshot_id.partition(":")[2]).name
    return begun or name_of(job.restore_id, int(job.spec["step"]), job.key, job.fence)


def _host(context: Context) -> str:
    return context.owner.partition(":")[0]


def _lives(context: Context, host: str) -> bool:
    """Whether the host has workers that take restores."""
    since = context.clock.timer() - SILENCE
    with session():
        rows = Process.select().where(Process.name.startswith(f"{host}:"), Process.seen_at > since)
        return any(str(Lane.RESTORE) in row.lanes for row in rows)


def _leave(context: Context, job: Job, host: str, removed: Sequence[str] = ()) -> None:
    at = context.clock.timer()
    text = f"Its file lies on {host}: a worker there goes on with it."
    with transaction():
        fence.keep(job)
        steps.record_removals(context, job, removed)
        requeue(job, at, at + TURN, attempt=0, claims=0, error_code="elsewhere", error_text=text)

"""Restores whose undo gave up: what is left of them, for an alert that somebody reads while a machine stands still."""

from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime, timedelta

from tasks.catalog import Creation, Resource, Restore, rows
from tasks.states import RestoreState

# How long what is left is worth an alert: `restores show` knows it for ever. A machine that was left stopped is told of
# until a look has seen it run (Azure's looks do not tell) or nobody has cared for a week: then it was meant.
TOLD_FOR = timedelta(hours=24)
STOPPED_FOR = timedelta(days=7)
_STOPS = ("stop", "azure-stop")
# An alert names so many things: a pager shows no more, and the runbook says where all of them are.
_NAMED = 6


@dataclass(frozen=True)
class FailedUndo:
    """A restore that failed and could not be taken back: why, the machines it left stopped, and everything else."""

    restore: int
    error: str
    stopped: tuple[str, ...]
    left: tuple[str, ...]


def read_failed_undos(at: datetime) -> list[FailedUndo]:
    """Those that are worth an alert at machine time `at`. What was to be kept after a failure is none."""
    wanted = Restore.select(Restore.id, Restore.error_text, Restore.finished_at).where(
        Restore.state == RestoreState.FAILED, ~Restore.keep_on_failure, Restore.finished_at > at - STOPPED_FOR
    )
    failed = {number: (error, finished_at) for number, error, finished_at in rows(wanted)}
    if not failed:
        return []
    made: dict[int, list[tuple[str, str]]] = defaultdict(list)
    left = Creation.select(Creation.restore, Creation.kind, Creation.external_id).where(
        Creation.restore.in_(list(failed)), Creation.removed_at.is_null()
    )
    for restore, kind, external_id in rows(left.order_by(Creation.id)):
        made[restore].append((kind, external_id))
    found = []
    for number, things in sorted(made.items()):
        error, finished_at = failed[number]
        stopped = [name for kind, name in things if kind in _STOPS and not _runs(name, finished_at)]
        if stopped or (at - finished_at < TOLD_FOR and not any(kind in _STOPS for kind, _ in things)):
            rest = [_words(kind, name) for kind, name in things if kind not in _STOPS]
            more = [f"{len(rest) - _NAMED} more"] if len(rest) > _NAMED else []
            found.append(FailedUndo(number, error, tuple(stopped), (*rest[:_NAMED], *more)))
    return found


def _runs(machine: str, since: datetime) -> bool:
    """Whether a look since then saw the machine run, or saw it gone: then nobody has to start it."""
    row = Resource.get_or_none(Resource.external_id == machine, Resource.type.in_(("instance", "azure-vm")))
    if row is None:
        return False
    return row.gone_at is not None or (row.seen_at > since and row.attributes.get("state") == "running")


def _words(kind: str, external_id: str) -> str:
    """One thing as a person says it."""
    if kind in ("attachment", "detachment") and external_id.count(":") == 2:
        volume, machine, device = external_id.split(":")
        return f"{volume} {'still on' if kind == 'attachment' else 'off'} {machine} ({device})"
    return f"{kind} {external_id}"

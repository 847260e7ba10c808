"""Extending the locks of everything that a living generation needs, so that nobody can delete it for a while."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tasks.catalog import Job, transaction
from tasks.errors import Denied
from workers import fence
from workers.context import Context
from workers.repositories import Place, go_on_later, locked_until, open_place, slice_end, translated
from workers.repository.cold import lockable
from workers.repository.errors import AccessRefused, Missing
from workers.repository.generations import read_index
from workers.repository.locks import lasts

# Objects between two looks at the clock, and requests at once: a TiB has 12,000 packs.
_STEP, _TOGETHER = 1024, 32


def lock(context: Context, place: Place, job: Job) -> dict[str, Any] | None:
    """Lock what all generations need, and what opens them, for `lock_days`; None when the next message does the rest.

    A lock that lasts longer already stays (S3 refuses to shorten one). What retention has let go is not extended:
    it goes when its lock is over. Raises Denied when anything cannot be locked.
    """
    repository, late = open_place(context, place), slice_end(context)
    until = locked_until(context, job)
    with translated():
        names = lockable(repository, read_index(repository).generations, place.key)
    going = dict(job.spec.get("going") or {"after": "", "locked": 0, "kept": 0})
    left = [name for name in names if name > going["after"]]

    def extend(name: str) -> bool:
        try:
            repository.store.extend_lock(name, until) if until is not None else None
        except AccessRefused:  # also where the lock lasts longer, as by a bucket's own retention
            return until is not None and lasts(repository.store, name, until)
        except Missing:
            return True  # gone since it was named
        return True

    for start in range(0, len(left), _STEP):
        step = left[start : start + _STEP]
        with translated(), ThreadPoolExecutor(_TOGETHER) as pool:
            done = sum(pool.map(extend, step))
        going = {"after": step[-1], "locked": going["locked"] + done, "kept": going["kept"] + len(step) - done}
        if late() and start + _STEP < len(left):
            with transaction():
                fence.keep(job, spec={**job.spec, "going": going})
            go_on_later(context, job)
            return None
    if going["kept"]:
        text = f"{going['kept']} of {len(names)} objects of {place.url} could not be locked."
        raise Denied(text, advice="Allow s3:PutObjectRetention there.")
    return {"locked": going["locked"], "until": until.isoformat() if until else ""}

"""One range of a bucket's keys: page by page compared and copied, or deleted; each page a checkpoint.

What a page needs is copied before its checkpoint is written, so that a worker that dies costs at most one page of
comparing: what it had copied is there, and is seen to be.
"""

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from tasks.catalog import Job, session, transaction
from tasks.catalog.syncs import COPYING
from tasks.catalog.transitions import finish_job
from tasks.crash import reach
from tasks.errors import Gone, Throttled
from tasks.states import JobState
from workers import driver, fence
from workers.buckets import Buckets, Copied, Page, Pair, Upload, kept, key_of, shown
from workers.context import Context
from workers.duties import entered
from workers.repositories import slice_end
from workers.syncing import SHOWN, WIDTH, again, buckets_of, slow_down, slow_until


def run(context: Context, job: Job) -> None:
    """Do what is left of the range, for one slice at most. Raises the family; FenceLost when overtaken."""
    with session():
        lead = _lead(job)
        duty = "snapshot" if lead.restore_id is None else "restore"
        account = context.account(job.account)
        writer, remover = (entered(account, job.account, one) for one in (duty, "cleanup"))
        pair = Pair.from_json(lead.result["pair"])
    part = _Part(context, job, pair, writer, remover, buckets_of(context), slice_end(context))
    try:
        part.work()
    except Throttled:
        part.narrow()
        raise


def _lead(job: Job) -> Job:
    """The job that waits for this part. Raises Gone when it does not any more."""
    lead: Job | None = Job.get_or_none(Job.id == job.spec["lead"])
    if lead is None or (lead.state, lead.epoch) != (JobState.WAITING, job.spec["epoch"]):
        raise Gone("The sync that this part is of does not wait for it any more.", code="sync-over")
    return lead


class _Part:
    """A range on its way. `state` is what the row says of it: up to which key, figures, and an upload under way."""

    def __init__(
        self, context: Context, job: Job, pair: Pair, writer: driver.Account, remover: driver.Account,
        buckets: Buckets, late: Callable[[], bool],
    ) -> None:  # fmt: skip
        self._context, self._job, self._pair, self._writer, self._remover = context, job, pair, writer, remover
        self._buckets, self._late = buckets, late
        self._state: dict[str, Any] = {"after": job.spec["after"], "width": WIDTH, **job.result}

    def work(self) -> None:
        """Page after page, until the range or the slice is over."""
        until = key_of(self._job.spec["until"])
        for page in self._buckets.pages(self._writer, self._pair, key_of(self._state["after"]), until):
            if self._must_wait():
                return
            if not self._do(page):
                again(self._job, self._context.clock.timer(), result=self._state)
                return
            reach("sync.copied")
            self._note_page(page)
            if page.last == until:
                break
            if self._late():
                again(self._job, self._context.clock.timer(), result=self._state)
                return
            self._checkpoint()
        left = self._upload()
        if left is not None:  # its object vanished from the source before it was whole
            self._buckets.abort(self._writer, self._pair, left)
            self._state["upload"] = None
        with transaction():
            fence.keep(self._job)
            finish_job(self._job, self._context.clock.timer(), result=self._state)
        reach("sync.recorded")

    def narrow(self) -> None:
        """The bucket asked to slow down: half as many at once from now on here, and a pause for everybody."""
        self._state["width"] = max(1, self._state["width"] // 2)
        self._checkpoint()
        slow_down(self._pair.target, self._context.clock.timer())

    def _must_wait(self) -> bool:
        """Put the job back while its bucket wants a pause."""
        at, until = self._context.clock.timer(), slow_until(self._pair.target)
        if until is None or until <= at:
            return False
        again(self._job, at, until, result=self._state)
        return True

    def _do(self, page: Page) -> bool:
        """Copy or delete what the page needs; whether all of it is done."""
        self._context.proceed(self._job)()
        if self._job.spec["stage"] != COPYING:
            self._delete(page)
            return True
        self._count(self._buckets.copy(self._writer, self._pair, page, self._state["width"]))
        for todo in self._buckets.large(self._pair, page):
            upload = self._upload()
            done = self._buckets.copy_large(
                self._writer, self._pair, todo, upload, self._note_upload, self._late, self._state["width"]
            )
            if done is None:
                return False
            self._count(done)
        hidden = [todo.key for todo in page.todo if todo.hide]
        if hidden and self._remover.may_delete:
            self._buckets.delete(self._remover, self._pair, hidden)
        self._state["width"] = min(WIDTH, self._state["width"] + 1)
        return True

    def _delete(self, page: Page) -> None:
        """Not more than the range had when it was weighed: what vanishes meanwhile is for the next sync."""
        room = self._job.spec["most"] - self._state.get("deleted", 0)
        keys = [todo.key for todo in page.todo if todo.vanished][: max(0, room)]
        if keys:
            gone = self._buckets.delete(self._remover, self._pair, keys)
            self._state["deleted"] = self._state.get("deleted", 0) + gone

    def _count(self, done: Copied) -> None:
        found = asdict(done)
        examples = self._state.get("examples", []) + found.pop("examples")
        self._state |= {name: self._state.get(name, 0) + value for name, value in found.items()}
        self._state["examples"] = examples[:SHOWN]

    def _note_page(self, page: Page) -> None:
        vanished = [todo.key for todo in page.todo if todo.vanished]
        seen = {"objects": page.objects, "bytes": page.bytes, "there": page.there, "vanished": len(vanished)}
        self._state |= {name: self._state.get(name, 0) + value for name, value in seen.items()}
        self._state["vanished_keys"] = (
            self._state.get("vanished_keys", []) + [shown(one) for one in vanished[:SHOWN]]
        )[:SHOWN]
        self._state["after"] = kept(page.last)

    def _note_upload(self, upload: Upload | None) -> None:
        self._state["upload"] = {**asdict(upload), "key": kept(upload.key)} if upload is not None else None
        self._checkpoint()

    def _upload(self) -> Upload | None:
        noted = self._state.get("upload")
        return Upload(**{**noted, "key": key_of(noted["key"])}) if noted else None

    def _checkpoint(self) -> None:
        """Raises FenceLost when overtaken, and Gone when nobody waits for this any more."""
        with transaction():
            fence.keep(self._job, result=self._state, attempt=min(self._job.attempt, 1), claims=1)
            _lead(self._job)

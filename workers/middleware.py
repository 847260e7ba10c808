"""What happens around every message, one duty each: claim, clean connections, log fields, figures.

Order matters: Claim stands before those that need the claimed job. A message that is skipped is acknowledged.
"""

import logging
from typing import Any

from dramatiq.broker import Broker, MessageProxy
from dramatiq.middleware import Middleware, SkipMessage
from dramatiq.worker import Worker

from tasks.catalog import database
from tasks.catalog.claims import Wanted
from tasks.crash import reach
from tasks.errors import SnapfleetError
from tasks.lanes import Lane
from tasks.logs import bind, unbind
from tasks.messages import JobMessage
from workers import together
from workers.context import Context
from workers.heartbeat import Heartbeat
from workers.held import Held

log = logging.getLogger("snapfleet.worker")


class Beats(Middleware):
    """The heartbeat lives as long as the worker, its draining included."""

    def __init__(self, heartbeat: Heartbeat) -> None:
        self._heartbeat = heartbeat

    def after_worker_boot(self, broker: Broker, worker: Worker) -> None:  # noqa: ARG002
        self._heartbeat.start()

    def after_worker_shutdown(self, broker: Broker, worker: Worker) -> None:  # noqa: ARG002
        self._heartbeat.stop()


class Connections(Middleware):
    """Gives back a database connection that somebody kept, so that a leak costs one message and not the pool."""

    def _close(self) -> None:
        if not database.is_closed():
            log.error("a connection to the catalog was kept after a message; it is closed now")
            database.close()

    def after_process_message(self, broker: Broker, message: MessageProxy, **_: Any) -> None:  # noqa: ARG002
        self._close()

    def after_skip_message(self, broker: Broker, message: MessageProxy) -> None:  # noqa: ARG002
        self._close()


class Claim(Middleware):
    """Takes the job under a lease, or skips the message: a duplicate, a stale one, or no catalog to ask.

    Without a catalog the message is dropped, not returned: returned it would come back at once, again and again. The
    job is still queued in the catalog, and the coordinator sends another message for it.
    """

    def __init__(self, context: Context, held: Held) -> None:
        self._context, self._held = context, held

    def before_process_message(self, broker: Broker, message: MessageProxy) -> None:  # noqa: ARG002
        lane, hint = Lane(message.actor_name), JobMessage.from_wire(message.kwargs)
        reach("claim.before")
        try:
            at = self._context.clock.timer()
            job = together.claim(Wanted(hint.job, hint.fence, self._context.owner, at, self._context.lease(lane)))
        except SnapfleetError as error:
            log.warning("job %d was not claimed: %s", hint.job, error.text)
            raise SkipMessage("no catalog") from None
        if job is None:
            self._context.counters.add("snapfleet_duplicates_dropped_total", lane=lane)
            raise SkipMessage("duplicate")
        self._held.take(job, lane)
        self._context.counters.add("snapfleet_jobs_claimed_total", lane=lane)
        wait = (at - job.not_before_at).total_seconds()
        self._context.counters.observe("snapfleet_job_queue_wait_seconds", wait, lane=lane)
        reach("claim.after")

    def after_process_message(self, broker: Broker, message: MessageProxy, **_: Any) -> None:  # noqa: ARG002
        self._held.drop()


class LogFields(Middleware):
    """Every line that is logged while a message is worked on names its job, lane and trace."""

    def __init__(self, held: Held) -> None:
        self._held = held

    def before_process_message(self, broker: Broker, message: MessageProxy) -> None:  # noqa: ARG002
        mine = self._held.mine()
        if mine is not None:
            run = {"run": f"run-{mine.job.run_id}"} if mine.job.run_id else {}
            trace = {"trace": message.kwargs["trace"]} if message.kwargs.get("trace") else {}
            bind(job=mine.job.id, kind=mine.job.kind, lane=mine.lane, fence=mine.fence, **run, **trace)

    def after_process_message(self, broker: Broker, message: MessageProxy, **_: Any) -> None:  # noqa: ARG002
        unbind()


class Figures(Middleware):
    """How long a worker had a job in hand."""

    def __init__(self, context: Context, held: Held) -> None:
        self._context, self._held = context, held

    def after_process_message(self, broker: Broker, message: MessageProxy, **_: Any) -> None:  # noqa: ARG002
        mine = self._held.mine()
        if mine is not None:
            seconds = mine.seconds
            self._context.counters.observe("snapfleet_job_duration_seconds", seconds, kind=mine.job.kind)

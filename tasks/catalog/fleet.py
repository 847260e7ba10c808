"""Who runs, who may sweep, what was asked for, and letters that could not be delivered."""

from datetime import timedelta

from peewee import BigAutoField, BigIntegerField, BooleanField, FloatField, IntegerField, JSONField, TextField

from tasks.catalog.database import CatalogModel
from tasks.catalog.fields import StateField, UtcField, says_why
from tasks.states import RequestState

BEAT = timedelta(seconds=5)  # how often every process reports itself
# One that was silent four times over is taken for gone, by whoever asks.
SILENT_AFTER = timedelta(seconds=20)
DRAIN = "drain"  # in `Process.wanted`: take nothing more, finish what runs, and stay


class Lease(CatalogModel):
    """A right that expires. Every takeover raises the fence, and writes under an old fence change nothing."""

    name = TextField(primary_key=True)
    holder = TextField(default="")
    fence = IntegerField(default=0)
    until_at = UtcField()


class Process(CatalogModel):
    """A coordinator, worker or web process that reported itself."""

    name = TextField(primary_key=True)
    role = TextField()
    lanes = JSONField(default=list)
    pool = TextField(default="")  # the worker pool whose queues it takes; '' is the common one
    threads = IntegerField(default=0)
    busy = IntegerField(default=0)
    version = TextField(default="")
    detail = JSONField(default=dict)  # of a worker: {"jobs": what it has in hand}
    draining = BooleanField(default=False)
    wanted = TextField(default="")  # what an operator wants of it: drain, or '' to go on; read at each heartbeat
    started_at = UtcField()
    seen_at = UtcField(index=True)


class Request(CatalogModel):
    """A wish: the coordinator picks it up. `result` names what became of it (a run, a restore)."""

    id = BigAutoField()
    kind = TextField()  # run, restore, discover, cleanup, cancel, requeue, confirm, hold
    payload = JSONField(default=dict)
    state = StateField(RequestState, default=RequestState.NEW, index=True)
    result = JSONField(default=dict)
    error_code = TextField(default="")
    error_text = TextField(default="")
    requested_by = TextField()
    created_at = UtcField()
    handled_at = UtcField(null=True)

    class Meta:
        constraints = (says_why([RequestState.REFUSED]),)


class DeadLetter(CatalogModel):
    """A message the broker gave up on, with the reason; the body is cut and cleaned."""

    id = BigAutoField()
    lane = TextField()
    reason = TextField()
    body = TextField(default="")
    job_id = BigIntegerField(null=True)
    received_at = UtcField()
    state = TextField(default="open")  # open, requeued, dropped
    handled_at = UtcField(null=True)
    handled_by = TextField(default="")


class Counter(CatalogModel):
    """Running totals that many processes add to (API calls, throttles), for one exporter to show."""

    id = BigAutoField()
    name = TextField()
    labels = TextField(default="")  # canonical JSON of the labels
    value = BigIntegerField(default=0)

    class Meta:
        indexes = ((("name", "labels"), True),)


class Budget(CatalogModel):
    """One pace: `tat_at` is the time at which the next call of this name is due (GCRA).

    `share` is how much of it the fleet had left when the cloud last throttled it, `lowered_at` (tasks.limits).
    """

    name = TextField(primary_key=True)
    tat_at = UtcField()
    share = FloatField(default=1.0)
    lowered_at = UtcField(null=True)


class SeatFamily(CatalogModel):
    """What of one family is open now, where a cloud opens only so many at once: thing -> holder -> until when, in
    seconds since the epoch (tasks.seats). A row stays when its seats are free: it is what takers lock."""

    name = TextField(primary_key=True)
    held = JSONField(default=dict)


class CopySlots(CatalogModel):
    """What the cloud has said about copies in flight in one place, beside what the catalog counts itself.

    `others` are copies there that are not this installation's, seen at `seen_at`; `most` is how many of ours ran when
    the cloud refused one more at `refused_at` (None: it has not).
    """

    id = BigAutoField()
    account_id = BigIntegerField()
    region = TextField()
    service = TextField()
    others = IntegerField(default=0)
    seen_at = UtcField(null=True)
    most = IntegerField(null=True)
    refused_at = UtcField(null=True)

    class Meta:
        indexes = ((("account_id", "region", "service"), True),)

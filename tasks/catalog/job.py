"""Runs, jobs, what the cloud is doing for them, and the messages still to be published."""

from peewee import (
    SQL,
    BigAutoField,
    BigIntegerField,
    BooleanField,
    Check,
    ForeignKeyField,
    IntegerField,
    JSONField,
    TextField,
)

from tasks.catalog.database import CatalogModel
from tasks.catalog.estate import Account, Resource
from tasks.catalog.fields import StateField, SureField, UtcField, says_why
from tasks.catalog.policy import Policy, Schedule
from tasks.states import JOB_BAD, OPERATION_BAD, RUN_BAD, JobState, OperationState, RunState

# The code of slots that gave way to a newer one.
MISSED = "missed-coalesced"
# As a text of its own, because a partial index serves a condition of the same words only.
UNSETTLED = "NOT \"settled\" AND \"state\" IN ('done', 'failed', 'cancelled')"


class Run(CatalogModel):
    """One policy at one slot. UNIQUE(policy, slot) is what makes a slot run once, whoever ticks."""

    id = BigAutoField()
    policy = SureField(Policy, index=False)  # (policy, slot) serves
    slot_at = UtcField()
    trigger = TextField(default="schedule")  # schedule, manual, added
    ordinal = IntegerField(default=0)  # which successful run of its policy it is; 0 until its first good snapshot
    state = StateField(RunState, default=RunState.RESOLVING)
    only = JSONField(default=list)  # resource ids of a partial run (manual, or a resource that joined)
    reason = TextField(default="")
    error_code = TextField(default="")  # why it ended otherwise than done: its own, or that of most of its jobs
    problems = JSONField(default=list)  # targets that could not even become jobs: {"target", "code", "text"}
    targets = IntegerField(default=0)
    created_at = UtcField(index=True)  # machine time
    planned_at = UtcField(null=True)
    cancelled_at = UtcField(null=True)  # asked for; what the cloud is doing already goes on to its end
    finished_at = UtcField(null=True)

    class Meta:
        constraints = (says_why(RUN_BAD),)
        indexes = (
            (("policy", "slot_at"), True),
            (("state", "id"), False),  # the oldest of those that wait to be planned, without sorting all of a wave
            # Asked in every round, however many runs are open.
            SQL('CREATE INDEX "run_cancelled" ON "run" ("state") WHERE "cancelled_at" IS NOT NULL'),
        )


class MissedSlots(CatalogModel):
    """Slots that no coordinator was there to run, coalesced into a newer one and reported."""

    id = BigAutoField()
    policy = ForeignKeyField(Policy, on_delete="CASCADE")
    schedule = ForeignKeyField(Schedule, on_delete="CASCADE", null=True)
    first_at = UtcField()
    last_at = UtcField()
    count = IntegerField()
    recorded_at = UtcField()
    code = TextField(default=MISSED)
    reason = TextField()

    class Meta:
        constraints = (Check("code <> ''"),)


class Job(CatalogModel):
    """One step for one resource. The message is only a hint that this row may be runnable.

    `key` names the wish for ever; `key` and `epoch` together are the token in the cloud: the epoch rises only when
    an earlier attempt is known to have failed for good, so that a lost answer is adopted and never repeated.
    """

    id = BigAutoField()
    kind = TextField()  # the handler's verb
    lane = TextField()
    key = TextField(unique=True)
    epoch = IntegerField(default=0)
    run = SureField(Run, null=True, index=False)  # (run, state) serves
    account = SureField(Account, index=False)
    region = TextField()
    service = TextField(default="")
    resource = SureField(Resource, null=True)
    point_id = BigIntegerField(null=True)  # the point this job makes, or works on
    restore_id = BigIntegerField(null=True)
    chain = TextField(default="")  # jobs of one chain go one at a time, in order of id
    slots = IntegerField(default=0)  # how many of the destination's copy slots it fills
    spec = JSONField(default=dict)  # what was decided: mode, exclusions, destination, point ids
    priority = IntegerField(default=50)
    state = StateField(JobState, default=JobState.PENDING)
    not_before_at = UtcField()
    attempt = IntegerField(default=0)
    max_attempts = IntegerField(default=3)
    retry_wait_s = IntegerField(default=300)
    claims = IntegerField(default=0)  # since an attempt last came to an end: a job that kills its worker ends by it
    fence = IntegerField(default=0)
    lease_owner = TextField(default="")
    lease_until_at = UtcField(null=True)
    published_at = UtcField(null=True)
    warnings = JSONField(default=list)
    error_code = TextField(default="")
    error_text = TextField(default="")
    result = JSONField(default=dict)  # what the job found out, for whoever asked
    progress = JSONField(null=True)  # of a job that moves bytes: tasks.progress.Progress
    settled = BooleanField(default=False)  # the coordinator has planned what follows
    created_at = UtcField()
    started_at = UtcField(null=True)  # first claim; of a standing job, in its present round; anew after errors.renews
    finished_at = UtcField(null=True)

    class Meta:
        constraints = (says_why(JOB_BAD),)
        # A job's state changes four times, and each time every index that it is in: it is in few at a time.
        indexes = (
            (("state", "lane"), False),
            (("run", "state"), False),
            # Only jobs that have ended are in it: the changes before that need not write it.
            SQL(f'CREATE INDEX "job_unsettled" ON "job" ("id") WHERE {UNSETTLED}'),
            SQL('CREATE INDEX "job_point_id" ON "job" ("point_id") WHERE "point_id" IS NOT NULL'),
            SQL('CREATE INDEX "job_restore_id" ON "job" ("restore_id") WHERE "restore_id" IS NOT NULL'),
            SQL('CREATE INDEX "job_finished_at" ON "job" ("finished_at") WHERE "finished_at" IS NOT NULL'),
            # Who goes before whom is asked of open jobs only; a resource's chain has one more job every night.
            SQL(
                'CREATE INDEX "job_open_chain" ON "job" ("chain") '
                "WHERE \"state\" IN ('pending', 'queued', 'running', 'waiting')"
            ),
        )


class Operation(CatalogModel):
    """What the cloud does for us, with the id we can ask about and when to ask next."""

    id = BigAutoField()
    job = ForeignKeyField(Job, on_delete="CASCADE", backref="operations")
    account = ForeignKeyField(Account, on_delete="RESTRICT")
    region = TextField()
    service = TextField()
    kind = TextField()
    external_id = TextField()
    state = StateField(OperationState, default=OperationState.RUNNING)
    percent = IntegerField(default=0)
    polls = IntegerField(default=0)
    next_poll_at = UtcField()
    started_at = UtcField()
    finished_at = UtcField(null=True)
    detail = JSONField(default=dict)
    error_code = TextField(default="")
    error_text = TextField(default="")

    class Meta:
        constraints = (says_why(OPERATION_BAD),)
        indexes = ((("state", "next_poll_at"), False), (("job", "kind", "external_id"), True))


class Transfer(CatalogModel):
    """How far a job is with one volume's blocks on their way into a repository or out of it: where the next worker
    goes on. `snapshot_id` is read from, or made; `generation` is written once it is committed, or read from."""

    id = BigAutoField()
    job = ForeignKeyField(Job, on_delete="CASCADE", backref="transfers")
    volume = TextField()
    epoch = IntegerField(default=0)
    snapshot_id = TextField(default="")
    generation = TextField(default="")
    why_full = TextField(default="")  # why the whole volume is read, '' when only what changed is
    next_block = BigIntegerField(default=0)
    blocks = BigIntegerField(default=0)  # of the volume
    figures = JSONField(default=dict)  # added up over the slices, as the engine names them
    done = BooleanField(default=False)
    started_at = UtcField()
    changed_at = UtcField()

    class Meta:
        indexes = ((("job", "volume", "epoch"), True),)


class Outbox(CatalogModel):
    """A message to publish when its time has come. Written with what it is about; deleted after the confirm."""

    job = SureField(Job, primary_key=True)  # written with it; who deletes a job deletes its message
    lane = TextField()
    account_id = BigIntegerField()
    region = TextField(default="")
    service = TextField(default="")
    priority = IntegerField(default=50)
    ready_at = UtcField()
    created_at = UtcField()

    class Meta:
        # The second is the places' lines: the order in which admission takes them. Each question has one index that can
        # answer it, hence the `+ 0`: figures that were taken while nothing waited tell PostgreSQL that any index with
        # the column somewhere would do, and in a wave it went through all that waits for each place and each message
        # (64 s for 30,000 messages instead of 3, measured 2026-11-23).
        indexes = (
            (("ready_at",), False),
            SQL(
                'CREATE INDEX "outbox_line" ON "outbox" '
                '("lane", "account_id", "region", "service", "priority" DESC, ("job_id" + 0))'
            ),
        )

"""A bucket restored: the step of a restore leads, and parts copy the objects back, as of the point's instant.

What a broken-off restore has copied stays and is not copied again; nothing is ever deleted from the bucket that is
restored into.
"""

from collections.abc import Mapping

from tasks.catalog import Account, Job, session, transaction
from tasks.crash import reach
from tasks.errors import Invalid, QuotaReached
from tasks.states import JobState
from workers import fence, steps
from workers.context import Context
from workers.duties import entered
from workers.repositories import slice_end
from workers.syncing import Lead, buckets_of, check_whole


def run(context: Context, job: Job, tags: Mapping[str, str]) -> None:
    """The next stage of a restore into a bucket. Raises the family; FenceLost when overtaken."""
    wish = job.spec["params"]
    with session():
        row = Account.get_or_none(Account.name == wish["account"], Account.enabled)
        if row is None:
            raise Invalid(f"There is no account {wish['account']!r}.", advice="See `snapfleet accounts`.")
        lead = Lead(context, job, buckets_of(context), entered(context.account(row), row, "restore"), row.id)
        written = _is_written(job)
    pair = lead.pair
    if pair is None:
        if written and not wish["from"].get("versioned"):
            text = f"A sync is writing to {wish['from']['bucket']}, which keeps no versions."
            raise QuotaReached(text, code="being-written")
        pair = lead.buckets.prepare_restore(lead.writer, wish, tags)
        lead.begin(pair)
    figures = lead.sums(pair, slice_end(context))
    if figures is None:
        return
    check_whole(figures)
    made = {"bucket": pair.target, **{name: figures[name] for name in ("objects", "copied", "copied_bytes")}}
    with transaction():
        fence.keep(job, result={"figures": made})
        steps.close_done(context, job, (), **made)
    reach("restore.recorded")


def _is_written(job: Job) -> bool:
    """Whether a sync of the same bucket has begun and is not over."""
    query = Job.select(Job.id).where(
        Job.resource == job.resource_id,
        Job.kind == "snapshot",
        Job.state.in_([JobState.RUNNING, JobState.WAITING]),
    )
    return bool(query.exists())

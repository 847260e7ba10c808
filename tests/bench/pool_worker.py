"""A production worker process for the pool bench, with one more handler: work that does nothing in the cloud.

`spec.seconds` of a job is how long its cloud takes to answer, `spec.throttled` that it refuses then. The claim, the
fence, the lease, the commit and the acknowledgement are the product's.
"""

import os
import threading
from pathlib import Path

from tasks import broker
from tasks.catalog import Job, session
from tasks.errors import Throttled
from tasks.settings import load_settings
from tests.bench.stages import Stages
from workers import app, together
from workers.allowance import Allowance
from workers.context import Context
from workers.main import run


def noop(context: Context, job: Job) -> None:
    """Wait for the cloud, then finish."""
    seconds = job.spec.get("seconds", 0)
    if seconds:
        threading.Event().wait(seconds)
    if job.spec.get("throttled"):
        throttled(context, job)
    together.finish(job, context.clock.timer(), {})


def throttled(context: Context, job: Job) -> None:
    """The cloud says that it is too much: what the drivers' SDK tells the fleet's paces, and what the driver raises."""
    with session():
        name = job.account.name
    Allowance(context.clock).throttled("ec2", "CreateSnapshots", name, job.region)
    raise Throttled("Request limit exceeded.")


def watched() -> Stages:
    """The stages of a job: its message and the acknowledgement, the two changes of state, and the handler's own."""
    stages = Stages()
    consumer = broker.FleetConsumer
    consumer.__next__ = stages.watch("messages", consumer.__next__)  # type: ignore[method-assign]
    together.take_and_end = stages.watch("catalog", together.take_and_end)
    app.work = stages.watch("handler", app.work)
    return stages


if __name__ == "__main__":
    app.HANDLERS = {**app.HANDLERS, "noop": noop}
    stages = watched()
    run(load_settings())
    stages.write(Path(os.environ["BENCH_FOLDER"]))

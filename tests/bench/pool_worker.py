"""A production worker process for the pool bench, with one more handler: work that does nothing in the cloud.

`spec.seconds` of a job is how long its cloud takes to answer. The claim, the fence, the lease, the commit and the
acknowledgement are the product's.
"""

import threading

from tasks.catalog import Job
from tasks.settings import load_settings
from workers import app, together
from workers.context import Context
from workers.main import run


def noop(context: Context, job: Job) -> None:
    """Wait for the cloud, then finish."""
    seconds = job.spec.get("seconds", 0)
    if seconds:
        threading.Event().wait(seconds)
    together.finish(job, context.clock.timer(), {})


if __name__ == "__main__":
    app.HANDLERS = {**app.HANDLERS, "noop": noop}
    run(load_settings())

"""APScheduler 3 with its SQLAlchemy job store, as the dispatch bench's peer; runs in the peers' own environment.

Arguments: database URL, entries, due. Every entry is a daily cron trigger. Due jobs go to an executor that does
nothing, so that only the scheduling is measured: reading what is due, the next time, one update a job. Prints a JSON
line when its entries are there, and another for the round that it does for each line it reads.
"""

import json
import sys
import time
from datetime import UTC, datetime, timedelta

from apscheduler.executors.base import BaseExecutor
from apscheduler.jobstores.sqlalchemy import SQLAlchemyJobStore
from apscheduler.schedulers.base import STATE_RUNNING, BaseScheduler
from apscheduler.triggers.cron import CronTrigger


class Nothing(BaseExecutor):
    """Takes jobs and is done with them."""

    taken = 0

    def _do_submit_job(self, job, run_times):
        Nothing.taken += len(run_times)
        self._instances[job.id] -= 1


class Scheduler(BaseScheduler):
    """One whose loop is the bench's."""

    def wakeup(self):
        """Nobody sleeps."""

    def shutdown(self, wait=True):
        super().shutdown(wait)


def work(number):
    """What a due job would do."""


def main(url, entries, due):
    store = SQLAlchemyJobStore(url=url.replace("postgresql://", "postgresql+psycopg://"), tablename="apscheduler_jobs")
    scheduler = Scheduler(timezone=UTC)
    scheduler.add_executor(Nothing(), "default")
    scheduler.add_jobstore(store, "default")
    scheduler.start(paused=True)
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    for number in range(entries):
        scheduler.add_job(
            work, CronTrigger(hour=number % 24, minute=number % 60, timezone="Europe/Berlin"), args=(number,),
            id=str(number), next_run_time=tomorrow, misfire_grace_time=None, coalesce=True,
        )  # fmt: skip
    scheduler.state = STATE_RUNNING
    began = time.perf_counter()
    scheduler._process_jobs()
    print(json.dumps({"idle_tick_ms": round((time.perf_counter() - began) * 1000, 1)}), flush=True)
    for _ in sys.stdin:
        past = datetime.now(UTC) - timedelta(minutes=1)
        for number in range(0, entries, entries // due):
            scheduler.modify_job(str(number), next_run_time=past)
        Nothing.taken, began = 0, time.perf_counter()
        scheduler._process_jobs()
        print(json.dumps({"due_per_s": round(Nothing.taken / (time.perf_counter() - began), 1)}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))

"""celery beat's scheduler, as the dispatch bench's peer; runs in the peers' own environment.

Arguments: entries, due. Every entry is a daily crontab. Sending is left out, so that only the scheduling is measured.
Prints a JSON line when its entries are there, and another for the round that it does for each line it reads.
"""

import json
import sys
import time
from datetime import UTC, datetime, timedelta

from celery import Celery
from celery.beat import Scheduler
from celery.schedules import crontab

MOST = 100  # due entries that are waited for: the rate does not change, and a thousand take most of a minute


def main(entries, due):
    app = Celery("bench", broker="memory://")
    app.conf.timezone = "UTC"
    app.conf.beat_schedule = {
        f"s{number}": {"task": "work", "schedule": crontab(hour=str(number % 24), minute=str(number % 60))}
        for number in range(entries)
    }
    sent = [0]

    class Counting(Scheduler):
        producer = None

        def apply_async(self, entry, producer=None, advance=True, **options):
            sent[0] += 1

        def setup_schedule(self):
            self.merge_inplace(app.conf.beat_schedule)

    scheduler = Counting(app)
    scheduler.tick()
    began = time.perf_counter()
    scheduler.tick()
    print(json.dumps({"idle_tick_ms": round((time.perf_counter() - began) * 1000, 1)}), flush=True)
    for _ in sys.stdin:
        for number in range(0, entries, entries // due):
            scheduler.schedule[f"s{number}"].last_run_at = datetime.now(UTC) - timedelta(days=2)
        scheduler.populate_heap()
        scheduler.old_schedulers = dict(scheduler.schedule)
        sent[0], began = 0, time.perf_counter()
        while sent[0] < min(due, MOST) and scheduler.tick() == 0:
            pass
        print(json.dumps({"due_per_s": round(sent[0] / (time.perf_counter() - began), 1)}), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))

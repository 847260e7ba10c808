"""Celery prefork with a task that does nothing, as the pool bench's peer; runs in the peers' own environment.

Arguments: broker URL, messages, processes. Acknowledges late, as whoever cares for their work does. Prints one JSON
line: tasks a second between 5 % and 95 % of them.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from celery import Celery
from kombu import Queue

FOLDER = Path(os.environ.get("PEER_FOLDER", tempfile.gettempdir()))
EVERY = 50  # tasks between two notes of a process
PATIENCE = 90.0
app = Celery("noop", broker=os.environ.get("PEER_BROKER", "memory://"))
app.conf.update(
    task_ignore_result=True,
    task_acks_late=True,
    worker_prefetch_multiplier=8,
    worker_send_task_events=False,
    task_queues=[Queue("celery-noop", queue_arguments={"x-queue-type": "quorum"})],
    task_default_queue="celery-noop",
)
done = [0]


@app.task(name="noop")
def noop(number, **more):
    done[0] += 1
    if done[0] % EVERY == 0:
        (FOLDER / str(os.getpid())).write_text(str(done[0]))


def main(url, messages, processes):
    with tempfile.TemporaryDirectory() as folder:
        env = {**os.environ, "PEER_BROKER": url, "PEER_FOLDER": folder, "C_FORCE_ROOT": "1"}
        app.conf.broker_url = url
        for number in range(messages):
            noop.delay(number, job=number, attempt=0, fence=0)
        worker = subprocess.Popen(
            [sys.executable, "-m", "celery", "-A", "celery_noop", "worker", "-P", "prefork", "-c", str(processes),
             "--without-gossip", "--without-mingle", "--without-heartbeat", "-l", "error"],
            env=env, cwd=Path(__file__).parent, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        seen, end = [], time.perf_counter() + PATIENCE
        while time.perf_counter() < end:
            time.sleep(0.02)
            count = sum(int(path.read_text() or 0) for path in Path(folder).iterdir())
            seen.append((time.perf_counter(), count))
            if count >= messages * 0.95:
                break
        worker.terminate()
        worker.wait()
    low = next(one for one in seen if one[1] >= messages * 0.05)
    high = seen[-1]
    print(json.dumps({"per_s": round((high[1] - low[1]) / (high[0] - low[0]), 1)}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))

"""A bare Dramatiq actor that does nothing, as the pool bench's peer; runs in the peers' own environment.

Arguments: broker URL, messages, threads. Prints one JSON line: messages a second between 5 % and 95 % of them.
"""

import json
import sys
import threading
import time

import dramatiq
from dramatiq.brokers.rabbitmq import RabbitmqBroker

done = [0]
STILL = 10.0  # seconds without a message after which something is wrong


def main(url, messages, threads):
    broker = RabbitmqBroker(url=url)
    dramatiq.set_broker(broker)
    lock = threading.Lock()

    @dramatiq.actor(queue_name="noop")
    def noop(number, **more):
        with lock:
            done[0] += 1

    for number in range(messages):
        noop.send(number, job=number, attempt=0, fence=0)
    worker = dramatiq.Worker(broker, worker_threads=threads)
    worker.start()
    seen, last = [], time.perf_counter()
    while done[0] < messages and time.perf_counter() - last < STILL:
        time.sleep(0.02)
        if not seen or done[0] != seen[-1][1]:
            last = time.perf_counter()
        seen.append((time.perf_counter(), done[0]))
    low = next(one for one in seen if one[1] >= messages * 0.05)
    high = next(one for one in seen if one[1] >= messages * 0.95)
    print(json.dumps({"per_s": round((high[1] - low[1]) / (high[0] - low[0]), 1)}))
    worker.stop()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))

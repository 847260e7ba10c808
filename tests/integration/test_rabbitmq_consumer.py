"""A worker's consumers against a real broker: poison, lost connections, deleted queues, draining."""

import threading
import time
from datetime import UTC, datetime

import pika
import pytest
from pika import data as amqp_values

from coordinator.rabbitmq import drain_dead_letters, queue_depths
from tasks.lanes import LANES, Lane, queue_name
from tasks.messages import JobMessage, SignedEncoder, envelope
from tests.integration.fleet import fleet_worker, raw_channel, vhost_of
from tests.services import wait_until
from tests.tasks.poison import GOOD, KEYS, SIGNED, UNSIGNED
from workers.drain import GiveBack

ENCODER = SignedEncoder(KEYS)


def put(channel, *jobs, lane=Lane.SNAPSHOT):
    """Publish valid messages."""
    for job in jobs:
        channel.basic_publish("", queue_name(lane), ENCODER.encode(envelope(lane, JobMessage(job, 1, 0)).asdict()))


def alive(worker):
    """Whether every thread of a worker still runs."""
    return all(thread.is_alive() for thread in [*worker.workers, *worker.consumers.values()])


def letters(url, limit=1000):
    """The dead letters, oldest first in each lane, drained."""
    found = []
    drain_dead_letters(url, lambda *letter: found.append(letter), limit, encoder=ENCODER)
    return found


def test_poison_ends_no_thread_and_becomes_dead_letters_with_reasons(rabbitmq_vhost):
    """feature 13: 70 hostile bodies, signed and not, while valid messages before and after them run."""
    corpus = [*UNSIGNED.values(), *SIGNED.values()]
    with fleet_worker(rabbitmq_vhost, lanes=(Lane.SNAPSHOT, Lane.POLL)) as (worker, recorder):
        wait_until(lambda: queue_depths(rabbitmq_vhost)[Lane.POLL].consumers)
        with raw_channel(rabbitmq_vhost) as channel:
            put(channel, 1)
            for body, _ in corpus:
                channel.basic_publish("", queue_name(Lane.SNAPSHOT), body)
            put(channel, 2)
            channel.basic_publish("", queue_name(Lane.POLL), GOOD)  # replayed into another lane
            put(channel, 3, lane=Lane.POLL)
        wait_until(lambda: sorted(recorder.ended) == [1, 2, 3])
        wait_until(lambda: recorder.count("refused") == len(corpus) + 1)
        assert alive(worker)
    dead = wait_until(
        lambda: queue_depths(rabbitmq_vhost)[Lane.SNAPSHOT].dead == len(corpus) and letters(rabbitmq_vhost)
    )
    assert sorted(letter[1] for letter in dead if letter[0] is Lane.SNAPSHOT) == sorted(r for _, r in corpus)
    assert all(letter[2].isascii() and letter[2].isprintable() and len(letter[2]) <= 300 for letter in dead)
    (replayed,) = [letter for letter in dead if letter[0] is Lane.POLL]
    assert (replayed[1], *replayed[3:]) == ("foreign-queue", 7, True)
    assert {letter[4] for letter in dead} == {True, False}
    assert letters(rabbitmq_vhost) == []


def test_a_letter_stays_until_it_is_kept(rabbitmq_vhost):
    """A catalog that fails to commit leaves the letter where it is, and a limit leaves the rest."""
    with fleet_worker(rabbitmq_vhost):
        with raw_channel(rabbitmq_vhost) as channel:
            wait_until(lambda: queue_depths(rabbitmq_vhost)[Lane.SNAPSHOT].consumers)
            for _ in range(3):
                channel.basic_publish("", queue_name(Lane.SNAPSHOT), b"junk")
        wait_until(lambda: queue_depths(rabbitmq_vhost)[Lane.SNAPSHOT].dead == 3)

    def away(*_letter):
        raise OSError("catalog away")

    with pytest.raises(OSError, match="catalog away"):
        drain_dead_letters(rabbitmq_vhost, away, 10, encoder=ENCODER)
    assert len(letters(rabbitmq_vhost, limit=2)) == 2
    assert letters(rabbitmq_vhost) == [(Lane.SNAPSHOT, "unsigned", "junk", None, False)]


def test_work_in_flight_when_the_connection_drops_settles_nobody_else_s_message(rabbitmq, rabbitmq_vhost):
    """What ends after the reconnect is not acknowledged on the new connection; its redelivery is."""
    with fleet_worker(rabbitmq_vhost, threads=1) as (worker, recorder):
        wait_until(lambda: queue_depths(rabbitmq_vhost)[Lane.SNAPSHOT].consumers)
        with raw_channel(rabbitmq_vhost) as channel:
            put(channel, 1)
            wait_until(lambda: recorder.ended == [1])  # takes tag 1, so that later tags differ on the next connection
            recorder.hold()
            put(channel, 2, 3)
        wait_until(lambda: recorder.started == [1, 2] and worker.work_queue.qsize() == 1)
        rabbitmq.close_connections(vhost_of(rabbitmq_vhost))
        wait_until(lambda: recorder.count("redelivered") == 2)
        recorder.open()
        wait_until(lambda: recorder.count("stale") >= 1 and worker.work_queue.unfinished_tasks == 0)
        wait_until(lambda: recorder.ended.count(2) == 2 and recorder.ended.count(3) == 2)
        assert recorder.count("stale") == 2
        assert alive(worker)
    assert queue_depths(rabbitmq_vhost)[Lane.SNAPSHOT] == (0, 0, 0)


def test_no_message_is_lost_when_old_work_ends_before_its_redelivery_is_begun(rabbitmq, rabbitmq_vhost):
    """Job 2 of the old connection has the tag that job 3 has on the new one; its end must not remove job 3."""
    with fleet_worker(rabbitmq_vhost, threads=1) as (worker, recorder):
        wait_until(lambda: queue_depths(rabbitmq_vhost)[Lane.SNAPSHOT].consumers)
        with raw_channel(rabbitmq_vhost) as channel:
            put(channel, 1)
            wait_until(lambda: recorder.ended == [1])
            recorder.hold()
            put(channel, 2, 3)
        wait_until(lambda: recorder.started == [1, 2] and worker.work_queue.qsize() == 1)
        rabbitmq.close_connections(vhost_of(rabbitmq_vhost))
        wait_until(lambda: recorder.count("redelivered") == 2)
        recorder.release()
        wait_until(lambda: recorder.ended == [1, 2] and len(recorder.started) == 3)
        worker.broker.draining.set()  # from here on nothing is taken, so that what is left can be counted
        rabbitmq.close_connections(vhost_of(rabbitmq_vhost))
        wait_until(lambda: queue_depths(rabbitmq_vhost)[Lane.SNAPSHOT].ready == 2)


def test_a_deleted_queue_is_declared_and_consumed_again(rabbitmq_vhost):
    """An operator deletes the queue under a running worker: it comes back by itself."""
    with fleet_worker(rabbitmq_vhost) as (worker, recorder):
        wait_until(lambda: queue_depths(rabbitmq_vhost)[Lane.SNAPSHOT].consumers)
        with raw_channel(rabbitmq_vhost) as channel:
            channel.queue_delete(queue_name(Lane.SNAPSHOT))
        wait_until(lambda: queue_depths(rabbitmq_vhost)[Lane.SNAPSHOT].consumers)
        with raw_channel(rabbitmq_vhost) as channel:
            put(channel, 1)
        wait_until(lambda: recorder.ended == [1])
        assert alive(worker)


def test_a_worker_waits_for_a_broker_that_is_away(rabbitmq, rabbitmq_vhost):
    """Stopped and started again, the broker finds its consumers back and the stored message is run."""
    with fleet_worker(rabbitmq_vhost) as (worker, recorder):
        wait_until(lambda: queue_depths(rabbitmq_vhost)[Lane.SNAPSHOT].consumers)
        rabbitmq.stop()
        rabbitmq.start()
        wait_until(lambda: queue_depths(rabbitmq_vhost)[Lane.SNAPSHOT].consumers)
        with raw_channel(rabbitmq_vhost) as channel:
            put(channel, 1)
        wait_until(lambda: recorder.ended == [1])
        assert alive(worker)


def test_a_stopping_worker_gives_unstarted_messages_to_its_peers(rabbitmq_vhost):
    """feature 13: what a busy worker only held is run elsewhere within seconds; its own work goes on to its end."""
    with fleet_worker(rabbitmq_vhost, threads=1, middleware=[GiveBack()]) as (busy, held):
        wait_until(lambda: queue_depths(rabbitmq_vhost)[Lane.SNAPSHOT].consumers)
        held.hold()
        with raw_channel(rabbitmq_vhost) as channel:
            put(channel, *range(1, 9))
        wait_until(lambda: held.started == [1] and busy.work_queue.qsize() == busy.queue_prefetch - 1)
        with fleet_worker(rabbitmq_vhost) as (_, peer):
            wait_until(lambda: len(peer.ended) == 8 - busy.queue_prefetch)
            stopping = threading.Thread(target=busy.stop)
            began = time.monotonic()
            stopping.start()
            wait_until(lambda: sorted(peer.ended) == list(range(2, 9)))
            assert time.monotonic() - began < 3
            assert stopping.is_alive()
            with raw_channel(rabbitmq_vhost) as channel:
                put(channel, 9)
            wait_until(lambda: 9 in peer.ended)
            held.open()
            stopping.join(10)
        assert held.ended == [1]
    assert queue_depths(rabbitmq_vhost)[Lane.SNAPSHOT] == (0, 0, 0)


@pytest.mark.parametrize("lane", [Lane.REPOSITORY, Lane.SNAPSHOT])
def test_a_worker_holds_no_more_than_the_lane_allows(rabbitmq_vhost, lane):
    """With many threads, the lane's own prefetch is the bound; the rest stays in the queue for others."""
    most = LANES[lane].prefetch
    with fleet_worker(rabbitmq_vhost, lanes=(lane,), threads=most + 2) as (_, recorder):
        recorder.hold()
        wait_until(lambda: queue_depths(rabbitmq_vhost)[lane].consumers)
        with raw_channel(rabbitmq_vhost) as channel:
            put(channel, *range(1, most + 4), lane=lane)
        wait_until(lambda: len(recorder.started) == most and queue_depths(rabbitmq_vhost)[lane].ready == 3)


def test_headers_that_break_the_client_library_break_nothing(rabbitmq_vhost):
    """A date beyond the calendar in a header: body and neighbours are treated as ever, here and in the dead queue."""
    with fleet_worker(rabbitmq_vhost) as (worker, recorder):
        wait_until(lambda: queue_depths(rabbitmq_vhost)[Lane.SNAPSHOT].consumers)
        with raw_channel(rabbitmq_vhost) as channel:
            put(channel, 1)
            put_unreadable(channel, GOOD)
            put_unreadable(channel, b"junk")
            put(channel, 2)
        wait_until(lambda: sorted(recorder.ended) == [1, 2, 7])
        assert recorder.count("redelivered") == 0
        assert alive(worker)
        wait_until(lambda: queue_depths(rabbitmq_vhost)[Lane.SNAPSHOT].dead)
    assert letters(rabbitmq_vhost) == [(Lane.SNAPSHOT, "unsigned", "junk", None, False)]


def put_unreadable(channel, body):
    """Publish a message whose header is a timestamp beyond the calendar."""
    pieces = []
    amqp_values.encode_table(pieces, {"x": datetime(2000, 1, 1, tzinfo=UTC)})
    table = b"".join(pieces)

    class Raw(pika.BasicProperties):
        def encode(self):
            flags = b"\x20\x00"  # headers only
            return [flags, table[:-8] + b"\x7f" * 8]

    channel.basic_publish("", queue_name(Lane.SNAPSHOT), body, Raw())

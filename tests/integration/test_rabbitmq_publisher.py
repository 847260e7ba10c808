"""The confirming publisher against a real broker, healthy and not: True means the broker has the message."""

import threading
import time
from datetime import timedelta

import pika
import pytest

from coordinator.rabbitmq import ConfirmingPublisher, queue_depths
from tasks.broker import build_broker
from tasks.errors import Unavailable
from tasks.lanes import Lane, queue_name
from tasks.messages import JobMessage, SignedEncoder
from tests.integration.fleet import fleet_worker, raw_channel, vhost_of
from tests.services import wait_until
from tests.tasks.poison import KEYS
from workers.main import contact

SOON = timedelta(seconds=20)


def jobs(first, count, lane=Lane.SNAPSHOT):
    """Messages with ids from `first` on."""
    return [(lane, JobMessage(job, 1, 0)) for job in range(first, first + count)]


@pytest.fixture
def publisher(rabbitmq_vhost):
    """A connected publisher on an empty virtual host."""
    publisher = ConfirmingPublisher(rabbitmq_vhost, SignedEncoder(KEYS), confirm_timeout=timedelta(seconds=5))
    assert publisher.wait_available(SOON), publisher.last_error
    yield publisher
    publisher.close()


def stored_jobs(url, lane=Lane.SNAPSHOT):
    """The job ids in a lane's queue, which is empty afterwards."""
    found, encoder = [], SignedEncoder(KEYS)
    with raw_channel(url) as channel:
        while True:
            method, _, body = channel.basic_get(queue_name(lane), auto_ack=True)
            if method is None:
                return found
            found.append(encoder.decode(body)["kwargs"]["job"])


def test_confirmed_messages_are_in_their_queues(publisher, rabbitmq_vhost):
    """Every lane, in the order given; thousands a second."""
    messages = [message for number, lane in enumerate(Lane) for message in jobs(1 + 500 * number, 500, lane)]
    began = time.monotonic()
    assert publisher.publish(messages) == [True] * 3500
    assert 3500 / (time.monotonic() - began) > 1000  # a quiet machine does more than 10,000
    assert {lane: depth.ready for lane, depth in queue_depths(rabbitmq_vhost).items()} == dict.fromkeys(Lane, 500)
    assert stored_jobs(rabbitmq_vhost, Lane.RESTORE) == list(range(1, 501))
    assert publisher.publish([]) == []
    assert publisher.last_error == ""


def test_a_message_that_cannot_be_sent_does_not_hold_up_the_others(publisher):
    """An id out of range is False, its neighbours True."""
    assert publisher.publish([*jobs(1, 1), *jobs(0, 1), *jobs(2, 1)]) == [True, False, True]


def test_publisher_and_worker_declare_the_same_queues(publisher, rabbitmq_vhost):
    """No refusal (406) between them in all fourteen queues, and one connection for each lane."""
    with fleet_worker(rabbitmq_vhost, lanes=tuple(Lane)) as (worker, recorder):
        assert publisher.publish([(lane, JobMessage(1, 0, 0)) for lane in Lane]) == [True] * len(Lane)
        wait_until(lambda: len(recorder.ended) == len(Lane))
        assert {depth.consumers for depth in queue_depths(rabbitmq_vhost).values()} == {1}
        assert len(worker.consumers) == len(Lane)


def test_a_missing_queue_is_noticed_and_declared_again(publisher, rabbitmq_vhost):
    """The message comes back unconfirmed, other lanes are not affected, and the next attempt arrives."""
    with raw_channel(rabbitmq_vhost) as channel:
        channel.queue_delete(queue_name(Lane.SNAPSHOT))
    assert publisher.publish([*jobs(1, 2), *jobs(3, 1, Lane.COPY)]) == [False, False, True]
    wait_until(lambda: publisher.publish(jobs(4, 1)) == [True])
    assert stored_jobs(rabbitmq_vhost) == [4]


def test_purged_messages_were_confirmed_and_are_gone(publisher, rabbitmq_vhost):
    """A purge loses confirmed messages without a trace: only the reconciler can notice. The publisher goes on."""
    assert all(publisher.publish(jobs(1, 10)))
    with raw_channel(rabbitmq_vhost) as channel:
        channel.queue_purge(queue_name(Lane.SNAPSHOT))
    assert queue_depths(rabbitmq_vhost)[Lane.SNAPSHOT].ready == 0
    assert publisher.publish(jobs(11, 1)) == [True]


def test_what_was_confirmed_survives_a_broker_that_dies_while_publishing(rabbitmq, publisher, rabbitmq_vhost):
    """Killed in mid-batch and started again: every confirmed job is stored, and publishing goes on by itself."""
    confirmed, refused, stop = [], [], threading.Event()

    def publish():
        first = 1
        while not stop.is_set():
            batch = jobs(first, 200)
            for (_, message), good in zip(batch, publisher.publish(batch), strict=True):
                (confirmed if good else refused).append(message.job)
            first += 200
            if not publisher.available:
                stop.wait(0.05)

    thread = threading.Thread(target=publish)
    thread.start()
    wait_until(lambda: len(confirmed) >= 1000)
    rabbitmq.kill()
    wait_until(lambda: refused)
    assert not publisher.available
    assert publisher.last_error.endswith(").")
    before = len(confirmed)
    rabbitmq.start()
    wait_until(lambda: len(confirmed) > before, 30)
    stop.set()
    thread.join(10)
    stored = stored_jobs(rabbitmq_vhost)
    assert not set(confirmed) - set(stored)


def test_a_broker_short_of_memory_is_unavailable_until_it_recovers(rabbitmq, publisher):
    """While publishers are blocked, publish returns at once with False; nothing waits for the alarm to end."""
    rabbitmq.alarm(True)
    try:
        assert wait_until(lambda: publisher.publish(jobs(1, 1)) == [False])
        began = time.monotonic()
        assert publisher.publish(jobs(2, 100)) == [False] * 100
        assert time.monotonic() - began < 1
        assert not publisher.available
        assert "memory or disk" in publisher.last_error
    finally:
        rabbitmq.alarm(False)
    assert publisher.wait_available(SOON)
    assert publisher.publish(jobs(200, 1)) == [True]


def test_a_silent_broker_costs_one_timeout_and_not_one_for_each_batch(rabbitmq, rabbitmq_vhost):
    """A frozen broker (a partition): the first batch times out, the next returns at once; after the thaw it works."""
    patient = timedelta(seconds=1)
    publisher = ConfirmingPublisher(rabbitmq_vhost, SignedEncoder(KEYS), confirm_timeout=patient)
    assert publisher.wait_available(SOON)
    rabbitmq.freeze()
    try:
        began = time.monotonic()
        assert publisher.publish(jobs(1, 100)) == [False] * 100
        assert publisher.publish(jobs(101, 100)) == [False] * 100
        assert time.monotonic() - began < 1.9
    finally:
        rabbitmq.thaw()
    wait_until(lambda: publisher.publish(jobs(201, 1)) == [True], 20)
    publisher.close()


def test_queues_with_other_arguments_are_named_as_the_reason(rabbitmq_vhost):
    """Somebody declared a lane's queue differently: not available, one sentence with 406, and no exception."""
    with raw_channel(rabbitmq_vhost) as channel:
        channel.queue_declare(queue_name(Lane.COPY), durable=True)
    publisher = ConfirmingPublisher(rabbitmq_vhost, SignedEncoder(KEYS))
    wait_until(lambda: "406" in publisher.last_error)
    assert publisher.publish(jobs(1, 1)) == [False]
    publisher.close()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda url: url.replace("guest:guest", "nobody:hunter2"), "account"),
        (lambda url: url.replace(vhost_of(url), "elsewhere"), "virtual host"),
        (lambda url: url.replace(url.split(":")[3].split("/")[0], "1"), "reached"),
    ],
)
def test_why_there_is_no_connection_is_one_sentence_without_the_password(rabbitmq_vhost, change, said):
    """Wrong account, wrong virtual host, nobody listening."""
    url = change(rabbitmq_vhost)
    publisher = ConfirmingPublisher(url, SignedEncoder(KEYS))
    wait_until(lambda: said in publisher.last_error)
    publisher.close()
    with pytest.raises(Unavailable, match=said) as away:
        queue_depths(url)
    with pytest.raises(Unavailable, match=said) as waits:  # what a worker that starts says it waits for
        contact(build_broker(url, KEYS, queues=[Lane.COPY]), [Lane.COPY])
    assert "hunter2" not in str(away.value) + str(waits.value) + publisher.last_error


def test_a_closed_publisher_confirms_nothing(publisher):
    """Later calls return False, and the thread is gone."""
    publisher.close()
    assert publisher.publish(jobs(1, 2)) == [False, False]
    assert not any(thread.name == "publisher" and thread.is_alive() for thread in threading.enumerate())


def test_depths_of_queues_that_do_not_exist_are_zero(rabbitmq_vhost):
    """Asking creates nothing."""
    assert set(queue_depths(rabbitmq_vhost).values()) == {(0, 0, 0)}
    with raw_channel(rabbitmq_vhost) as channel, pytest.raises(pika.exceptions.ChannelClosedByBroker):
        channel.queue_declare(queue_name(Lane.COPY), passive=True)

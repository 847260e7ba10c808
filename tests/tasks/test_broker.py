"""The broker of the embedded size, the broker URL, and what both sizes promise; without a server."""

import threading
from contextlib import contextmanager
from datetime import timedelta

import pytest
from dramatiq import Worker
from dramatiq.errors import QueueNotFound

from tasks.amqp import connection_parameters
from tasks.broker import FleetBroker, build_broker, register_actors
from tasks.errors import Invalid
from tasks.lanes import LANES, Lane, queue_name
from tasks.localbroker import LocalBroker, LocalPublisher
from tasks.messages import JobMessage, envelope
from tests.tasks.poison import GOOD, KEYS, SIGNED, UNSIGNED
from workers.drain import GiveBack

pytestmark = pytest.mark.unit


class Recorder:
    """Takes the place of the handlers: notes what it is asked to run, and waits when told to."""

    def __init__(self):
        self.ran = []
        self.gate = threading.Event()
        self.gate.set()

    def __call__(self, lane, message):
        self.ran.append((lane, message))
        self.gate.wait(10)


@contextmanager
def working(broker, threads=2):
    """A dramatiq worker on a broker."""
    worker = Worker(broker, worker_threads=threads, worker_timeout=50)
    worker.start()
    try:
        yield worker
    finally:
        worker.stop(timeout=5000)


def local(**options):
    """An in-process broker with a recorder behind its actors."""
    broker, recorder = build_broker("", KEYS, **options), Recorder()
    register_actors(broker, recorder)
    return broker, recorder


def test_a_published_job_is_run_in_its_lane():
    """Each lane's message reaches `run` with the lane and the message as it was sent."""
    broker, recorder = local()
    sent = [(lane, JobMessage(job=number, attempt=1, fence=2)) for number, lane in enumerate(Lane, 1)]
    assert LocalPublisher(broker).publish(sent) == [True] * len(Lane)
    with working(broker):
        for lane in Lane:
            broker.join(queue_name(lane), timeout=5000)
    assert sorted(recorder.ran, key=lambda item: item[1].job) == sent


def test_an_urgent_lane_runs_first_among_what_a_worker_holds():
    """A restore that arrived last is begun before everything that was already waiting."""
    broker, recorder = local()
    recorder.gate.clear()
    publisher = LocalPublisher(broker)
    with working(broker, threads=1) as worker:
        publisher.publish([(Lane.DISCOVER, JobMessage(1, 0, 0))])
        _until(lambda: recorder.ran)
        publisher.publish([(Lane.DISCOVER, JobMessage(2, 0, 0)), (Lane.RESTORE, JobMessage(3, 0, 0))])
        _until(lambda: worker.work_queue.qsize() == 2)
        recorder.gate.set()
        broker.join(queue_name(Lane.DISCOVER), timeout=5000)
    assert [message.job for _, message in recorder.ran] == [1, 3, 2]


def test_poison_ends_no_thread_and_holds_up_nothing():
    """feature 13: every hostile body is refused with its reason while messages before and after it run."""
    seen = []
    broker, recorder = local(observe=lambda event, lane, reason: seen.append((event, lane, reason)))
    corpus = [*UNSIGNED.values(), *SIGNED.values()]
    publisher, name = LocalPublisher(broker), queue_name(Lane.SNAPSHOT)
    with working(broker) as worker:
        publisher.publish([(Lane.SNAPSHOT, JobMessage(1, 0, 0))])
        for body, _ in corpus:
            broker.put(name, body)
        broker.put(queue_name(Lane.POLL), GOOD)
        publisher.publish([(Lane.SNAPSHOT, JobMessage(2, 0, 0))])
        broker.join(name, timeout=10_000)
        broker.join(queue_name(Lane.POLL), timeout=10_000)
        assert all(thread.is_alive() for thread in [*worker.workers, *worker.consumers.values()])
    assert [message.job for _, message in recorder.ran] == [1, 2]
    refused = [letter[1] for letter in broker.dead_letters if letter[0] is Lane.SNAPSHOT]
    assert refused == [reason for _, reason in corpus]
    assert ("refused", Lane.POLL, "foreign-queue") in seen


def test_a_handler_that_raises_settles_its_message():
    """The catalog decides about another attempt; the message does not come back and its slot is free."""
    broker = build_broker("", KEYS)
    calls = []

    def run(lane, message):
        calls.append(message.job)
        raise RuntimeError("no")

    register_actors(broker, run)
    jobs = range(1, LANES[Lane.REPOSITORY].prefetch + 3)
    LocalPublisher(broker).publish([(Lane.REPOSITORY, JobMessage(job, 0, 0)) for job in jobs])
    with working(broker):
        broker.join(queue_name(Lane.REPOSITORY), timeout=5000)
    assert sorted(calls) == list(jobs)
    assert not broker.dead_letters


def test_a_lane_that_nobody_serves_is_not_confirmed():
    """False, not an exception, so that one lane never holds up the outbox of the others."""
    broker = build_broker("", KEYS, queues=[Lane.POLL])
    message = JobMessage(1, 0, 0)
    assert LocalPublisher(broker).publish([(Lane.COPY, message), (Lane.POLL, message)]) == [False, True]


def test_a_message_that_cannot_be_sent_is_not_confirmed():
    """An impossible id comes back False."""
    broker = build_broker("local:", KEYS)
    assert LocalPublisher(broker).publish([(Lane.COPY, JobMessage(0, 0, 0))]) == [False]


def test_a_draining_worker_leaves_unstarted_messages_in_the_queue():
    """What runs is finished; what only waited is in the queue again, for whoever comes next."""
    broker, recorder = local(middleware=[GiveBack()])
    recorder.gate.clear()
    worker = Worker(broker, worker_threads=1, worker_timeout=50)
    worker.start()
    LocalPublisher(broker).publish([(Lane.SNAPSHOT, JobMessage(job, 0, 0)) for job in range(1, 6)])
    _until(lambda: recorder.ran and worker.work_queue.qsize() >= 1)
    stopping = threading.Thread(target=worker.stop)
    stopping.start()
    assert broker.draining.wait(5)
    _until(lambda: worker.work_queue.qsize() == 0)
    recorder.gate.set()
    stopping.join(10)
    assert not stopping.is_alive()
    assert [message.job for _, message in recorder.ran] == [1]
    assert broker.queues[queue_name(Lane.SNAPSHOT)].qsize() == 4


@pytest.mark.parametrize("url", ["", "amqp://127.0.0.1/"])
def test_a_delay_is_refused(url):
    """Waiting is a time in the catalog; neither broker takes a delayed message."""
    broker = build_broker(url, KEYS)
    with pytest.raises(RuntimeError):
        broker.enqueue(envelope(Lane.COPY, JobMessage(1, 0, 0)), delay=1000)


def test_workers_do_not_publish_to_a_fleet():
    """The coordinator is the only publisher."""
    with pytest.raises(RuntimeError, match="catalog"):
        build_broker("amqp://127.0.0.1/", KEYS).enqueue(envelope(Lane.COPY, JobMessage(1, 0, 0)))


@pytest.mark.parametrize("url", ["local:", "amqp://127.0.0.1/"])
def test_only_lanes_have_queues(url):
    """A typo in a queue name is found at start."""
    broker = build_broker(url, KEYS, queues=[Lane.POLL])
    assert broker.get_declared_queues() == {queue_name(Lane.POLL)}
    assert broker.get_declared_delay_queues() == set()
    with pytest.raises(ValueError):
        broker.declare_queue("default")
    with pytest.raises(QueueNotFound):
        broker.consume(queue_name(Lane.COPY))


def test_dramatiq_s_own_middleware_is_absent():
    """No retries, time limits, callbacks or results: attempts and limits live in the catalog."""
    for url, kind in (("", LocalBroker), ("amqp://127.0.0.1/", FleetBroker)):
        broker = build_broker(url, KEYS)
        assert type(broker) is kind
        assert broker.middleware == []
        assert broker.actor_options == set()


def test_a_url_names_hosts_account_and_virtual_host():
    """Several hosts are tried in turn; quoted characters are read."""
    found = connection_parameters("amqp://me:p%40ss@one,two:5673/a%2Fb", name="test", heartbeat=timedelta(seconds=7))
    assert sorted((one.host, one.port) for one in found) == [("one", 5672), ("two", 5673)]
    assert {(one.virtual_host, one.credentials.username, one.credentials.password) for one in found} == {
        ("a/b", "me", "p@ss")
    }
    assert {one.heartbeat for one in found} == {7}
    assert all(one.ssl_options is None for one in found)


def test_tls_verifies_the_server():
    """amqps checks the certificate and the host's name, and has its own port."""
    (found,) = connection_parameters("amqps://me:x@host/", name="test")
    context = found.ssl_options.context
    assert (found.port, context.check_hostname, context.verify_mode.name) == (5671, True, "CERT_REQUIRED")
    assert found.ssl_options.server_hostname == "host"


@pytest.mark.parametrize(
    "url",
    [
        "amqps://me:hunter2@host/?verify=false",
        "amqps://me:hunter2@host/?ca=/does/not/exist.pem",
        "amqp://me:hunter2@host/?ca=/etc/ssl/ca.pem",
        "amqp://me:hunter2@host:port/",
        "amqp://me:hunter2@host,/",
        "http://me:hunter2@host/",
        "amqp://guest:hunter2@broker.example/",
        "host:5672",
    ],
)
def test_an_unusable_url_is_refused_at_once_without_its_password(url):
    """TLS cannot be weakened by an option, guest stays on this host, and the password is in no message."""
    with pytest.raises(Invalid) as refused:
        build_broker(url, KEYS)
    assert "hunter2" not in str(refused.value)


def _until(condition):
    deadline = threading.Event()
    for _ in range(500):
        if condition():
            return
        deadline.wait(0.01)
    raise AssertionError("not reached within 5 s")

"""Worker pools on a real RabbitMQ: a pool's messages reach its workers and no others, and none is lost with a pool."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from dramatiq import Worker

from coordinator.lease import Held, take
from coordinator.pool_queues import AGAIN_AFTER, PoolQueues
from coordinator.publish import publish
from coordinator.rabbitmq import ConfirmingPublisher
from coordinator.reconcile import reconcile
from tasks.broker import build_broker, register_actors
from tasks.catalog import Account, Job, Outbox, Process, session, transaction
from tasks.catalog.transitions import add_job
from tasks.lanes import Lane, queue_name
from tasks.messages import SignedEncoder
from tasks.states import JobState
from tasks.telemetry import Counters
from tests.integration.fleet import Recorder, raw_channel
from tests.services import wait_until
from tests.tasks.poison import KEYS

pytestmark = pytest.mark.long  # of a broker of its own, whatever the catalog
LOST = timedelta(seconds=1)


def at() -> datetime:
    return datetime.now(UTC)


@pytest.fixture
def publisher(rabbitmq_vhost: str) -> Iterator[ConfirmingPublisher]:
    made = ConfirmingPublisher(rabbitmq_vhost, SignedEncoder(KEYS))
    wait_until(lambda: made.available, 20, "a connection")
    yield made
    made.close()


class House:
    """Accounts bound to pools, jobs in them, and workers that only note what they got."""

    def __init__(self, url: str, publisher: ConfirmingPublisher) -> None:
        self.url, self.publisher, self.workers = url, publisher, []
        with transaction():
            self.accounts = {
                name: Account.create(name=name, regions=["us-east-1", "eu-west-1"], settings=settings)
                for name, settings in (
                    ("plain", {}),
                    ("gov", {"pool": "site-a"}),
                    ("mixed", {"region_pools": {"eu-west-1": "site-a"}}),
                )
            }

    def job(self, account: str, region: str = "us-east-1") -> int:
        with transaction():
            row = add_job(
                lane=Lane.SNAPSHOT, at=at(), kind="snapshot", account=self.accounts[account], region=region,
                key=f"{account}-{region}-{Job.select().count()}",
            )  # fmt: skip
            return int(row.id)

    def worker(self, pool: str) -> Recorder:
        """A worker of a pool, reported as a process."""
        recorder = Recorder()
        broker = build_broker(self.url, KEYS, queues=[Lane.SNAPSHOT], pool=pool, observe=recorder.observe)
        register_actors(broker, recorder.run)
        worker = Worker(broker, worker_threads=1, worker_timeout=100)
        worker.start()
        self.workers.append(worker)
        self.report(pool)
        return recorder

    def report(self, pool: str) -> None:
        with transaction():
            Process.insert(
                name=f"h:{pool}:worker", role="worker", lanes=["snapshot"], pool=pool, started_at=at(), seen_at=at()
            ).on_conflict_ignore().execute()

    def publish(self) -> int:
        with session():
            return publish(self.publisher, Counters(), at())

    def until_published(self, count: int) -> None:
        """The first message to a queue that is not there declares it; it goes again with the next round."""
        done = 0

        def enough() -> bool:
            nonlocal done
            done += self.publish()
            return done >= count

        wait_until(enough, 10, f"{count} messages published")

    def sweep(self) -> int:
        with session():
            held: Any = take("sweep", "test", at())
            assert isinstance(held, Held)
            return reconcile(held, at() + LOST * 2, LOST, Counters())


@pytest.fixture
def house(catalog: str, rabbitmq_vhost: str, publisher: ConfirmingPublisher) -> Iterator[House]:
    made = House(rabbitmq_vhost, publisher)
    yield made
    for worker in made.workers:
        worker.stop(timeout=10_000)


def test_a_worker_of_a_pool_gets_that_pools_work_and_no_other(house: House) -> None:
    """Features 99, C19: accounts and regions are bound by the estate; what is bound to nothing goes to the others."""
    plain, gov = house.job("plain"), house.job("gov")
    mixed, mixed_west = house.job("mixed"), house.job("mixed", "eu-west-1")
    common, site = house.worker(""), house.worker("site-a")
    house.until_published(4)
    wait_until(lambda: len(common.ended) == 2 and len(site.ended) == 2, 10, "four jobs")
    assert (sorted(common.ended), sorted(site.ended)) == (sorted([plain, mixed]), sorted([gov, mixed_west]))


def test_the_queues_of_a_pool_are_there_before_its_first_message(house: House) -> None:
    """A worker with the least rights cannot make them: it wrote two lines for each lane every three seconds, until the
    first message of that lane came. So it is for a worker that comes before its accounts are bound."""
    made = PoolQueues()
    house.report("site-b")
    made.look_after("amqp://guest:guest@127.0.0.1:1/", at())  # a broker that is away is tried again
    made.look_after(house.url, at())
    with raw_channel(house.url) as channel:
        for lane in Lane:
            for pool in ("site-a", "site-b"):
                assert channel.queue_declare(queue_name(lane, pool), passive=True).method.message_count == 0
        channel.queue_delete(queue_name(Lane.COPY, "site-a"))
    made.look_after(house.url, at())  # nothing is asked of the broker as long as no pool is new
    made.look_after(house.url, at() + AGAIN_AFTER)
    with raw_channel(house.url) as channel:
        assert channel.queue_declare(queue_name(Lane.COPY, "site-a"), passive=True).method.consumer_count == 0


def test_a_pool_without_workers_keeps_its_work_in_the_catalog_and_takes_no_room(house: House) -> None:
    """Nothing is published where nobody would take it; the first worker of the pool gets it."""
    gov = house.job("gov")
    assert house.publish() == 0
    plain = house.job("plain")
    assert house.publish() == 1
    with session():
        assert [row.job_id for row in Outbox.select()] == [gov]
        assert Job.get_by_id(plain).state is JobState.QUEUED
    site = house.worker("site-a")
    house.until_published(1)
    wait_until(lambda: site.ended == [gov], 10, "the pool's job")


def test_the_messages_of_a_pool_that_is_removed_go_to_the_pool_that_its_accounts_have_now(house: House) -> None:
    """They lie in a queue that nobody takes any more, and the catalog sends them again."""
    gov = house.job("gov")
    house.report("site-a")  # a worker that dies right after it reported
    house.until_published(1)
    with transaction():
        Process.delete().execute()
        Account.update(settings={}).where(Account.name == "gov").execute()
    assert house.sweep() == 0  # nobody works anywhere: the message is not missing yet
    common = house.worker("")
    assert house.sweep() == 1
    house.until_published(1)
    wait_until(lambda: common.ended == [gov], 10, "the job in the common pool")
    with raw_channel(house.url) as channel:
        left = channel.queue_declare(queue_name(Lane.SNAPSHOT, "site-a"), passive=True).method.message_count
    assert left == 1  # the old message, which the claim would drop

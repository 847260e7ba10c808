"""Dead letters come home with their reason; one that nobody signed names no job that anything would follow from."""

import contextlib
from datetime import timedelta
from pathlib import Path

import pika
import pytest

from coordinator.letters import drain
from coordinator.rabbitmq import ConfirmingPublisher
from tasks.amqp import connection_parameters
from tasks.catalog import DeadLetter, session
from tasks.lanes import Lane, dead_queue_name
from tasks.messages import JobMessage, SignedEncoder
from tasks.secrets import MasterKey
from tasks.settings import Settings
from tests.coordinator.house import START


@pytest.fixture
def settings(tmp_path: Path, rabbitmq_vhost: str) -> Settings:
    """Settings with a key of their own and a broker."""
    settings = Settings(home=tmp_path, broker_url=rabbitmq_vhost)
    MasterKey.create(settings.key_path)
    return settings


def test_dead_letters_are_kept_with_their_reason_and_only_signed_ones_name_a_job(
    settings: Settings, embedded_catalog: str
) -> None:
    publisher = ConfirmingPublisher(settings.broker_url, SignedEncoder(settings.message_keys()))
    assert publisher.wait_available(timedelta(seconds=20))
    assert publisher.publish([(Lane.POLL, JobMessage(1, 0, 0))]) == [True]  # declares the queues
    publisher.close()
    parameters = connection_parameters(settings.broker_url, name="tests")
    with contextlib.closing(pika.BlockingConnection(parameters)) as connection:
        channel = connection.channel()
        channel.basic_publish("", dead_queue_name(Lane.SNAPSHOT), b'{"job": 7}')
    drain(settings, START)
    drain(settings, START)
    with session():
        assert [(row.lane, row.job_id, row.state) for row in DeadLetter.select()] == [("snapshot", None, "open")]


def test_a_broker_that_is_away_is_no_reason_to_stop(tmp_path: Path, embedded_catalog: str) -> None:
    settings = Settings(home=tmp_path, broker_url="amqp://guest:guest@127.0.0.1:1/")
    MasterKey.create(settings.key_path)
    drain(settings, START)
    with session():
        assert DeadLetter.select().count() == 0

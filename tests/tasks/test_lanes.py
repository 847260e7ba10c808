"""The lanes' names, limits and queue arguments."""

from datetime import timedelta

import pytest

from tasks.lanes import LANES, Lane, dead_queue_arguments, dead_queue_name, lane_of, queue_arguments, queue_name

pytestmark = pytest.mark.unit

# RabbitMQ's default limit for an acknowledgement, after which it delivers the message a second time
CONSUMER_TIMEOUT = timedelta(minutes=30)


def test_what_an_operator_waits_for_is_published_first():
    """Restore, poll, snapshot, copy, repository, cleanup, discover."""
    assert list(Lane) == ["restore", "poll", "snapshot", "copy", "repository", "cleanup", "discover"]


def test_every_lane_has_limits_in_the_order_of_publication():
    """A lane without limits, or with a priority against the order, cannot be added."""
    assert list(LANES) == list(Lane)
    priorities = [limits.priority for limits in LANES.values()]
    assert priorities == sorted(set(priorities))


@pytest.mark.parametrize("lane", Lane)
def test_no_message_is_held_until_the_broker_delivers_it_again(lane):
    """Even a message that waits behind every prefetched one of its lane is settled before the consumer timeout."""
    limits = LANES[lane]
    assert limits.time_limit * 4 < CONSUMER_TIMEOUT
    assert limits.lease < limits.time_limit + timedelta(minutes=1)
    assert 0 < limits.prefetch <= limits.capacity <= 1000


@pytest.mark.parametrize("lane", Lane)
def test_a_queue_name_says_lane_and_topology_version(lane):
    """snapfleet.<lane>.v1, and .XQ for what it rejects; both lead back to the lane."""
    assert queue_name(lane) == f"snapfleet.{lane}.v1"
    assert dead_queue_name(lane) == f"snapfleet.{lane}.v1.XQ"
    assert lane_of(queue_name(lane)) is lane
    assert lane_of(dead_queue_name(lane)) is lane


@pytest.mark.parametrize("name", ["", "default", "snapshot", "snapfleet.snapshot.v2", "snapfleet.snapshot.v1.DQ"])
def test_a_foreign_queue_has_no_lane(name):
    """Names of other versions and of other programs are not ours."""
    assert lane_of(name) is None


def test_a_dead_letter_stays_until_it_is_fetched():
    """The queue hands rejected messages over at least once, and the dead queue has no time to live and no limit."""
    arguments = queue_arguments(Lane.COPY)
    assert arguments["x-dead-letter-strategy"] == "at-least-once"
    assert arguments["x-dead-letter-routing-key"] == dead_queue_name(Lane.COPY)
    assert dead_queue_arguments() == {"x-queue-type": "quorum"}

"""The lanes: one queue for each kind of work, with the limits that keep kinds from standing in each other's way.

A lane is separated by kind and cost, never by account: fairness between accounts is decided in the catalog, where the
backlog lives. This module is data only, shared by the publisher, the workers and admission; it imports neither pika
nor dramatiq.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from types import MappingProxyType

TOPOLOGY_VERSION = 1
"""Part of every queue name. RabbitMQ refuses a declaration whose arguments differ from the existing queue's (406), so
a change of `queue_arguments` needs a higher number here; old and new queues then live side by side until the old ones
are empty."""

DELIVERY_LIMIT = 50
"""How often a message may come back unacknowledged before it is dead-lettered. It is the net below the decoder: it
catches what breaks a client before any of our code sees it. It is not a retry counter: a worker restart also counts
for every message it had prefetched (measured 2026-11 on RabbitMQ 3.10), hence well above RabbitMQ 4's default of 20.
The catalog counts attempts."""


class Lane(StrEnum):
    """Kinds of work in the order in which they are published: what an operator waits for comes first."""

    RESTORE = "restore"
    POLL = "poll"
    SNAPSHOT = "snapshot"
    COPY = "copy"
    REPOSITORY = "repository"
    CLEANUP = "cleanup"
    DISCOVER = "discover"


@dataclass(frozen=True, slots=True)
class LaneLimits:
    """What one lane may use.

    time_limit  how long one message may be worked on; the worker stops renewing the job's lease then. Everything is
                far below RabbitMQ's 30 minutes for an acknowledgement, after which it would run the message again
                beside itself.
    lease       how long a claim is good without renewal. Renewed at a third of it, so two renewals may be lost before
                another worker takes the job; a dead worker's job goes on after at most this long.
    capacity    how many messages admission keeps in the lane. Short, so that pause, cancel and priority act at once:
                what is in the broker can no longer be reordered. About two rounds of work for the fleet's slots in
                this lane.
    prefetch    how many unacknowledged messages one worker process may hold. Small where a message takes long, so
                that no message waits in one worker's memory while another worker idles.
    priority    order inside one worker process among messages it already holds; smaller runs first.
    """

    time_limit: timedelta
    lease: timedelta
    capacity: int
    prefetch: int
    priority: int


_CALLS = timedelta(
    minutes=2
)  # starts an operation and returns: a few cloud calls, each with its own timeout of seconds
_SLICE = timedelta(minutes=6)  # moves data in slices of at most five minutes, plus a minute to write the checkpoint
_PAGES = timedelta(minutes=5)  # walks pages of a listing; the scan position is kept, so stopping early loses nothing
_LEASE = timedelta(seconds=120)

LANES: Mapping[Lane, LaneLimits] = MappingProxyType(
    {
        # A person waits. Restores may read blocks from a repository, hence slices; few at a time, never behind
        # anything.
        Lane.RESTORE: LaneLimits(_SLICE, _LEASE, capacity=200, prefetch=8, priority=0),
        # One message asks about hundreds of operations; late answers delay everything that follows, so it goes early.
        Lane.POLL: LaneLimits(_CALLS, _LEASE, capacity=500, prefetch=16, priority=10),
        # The nightly herd: many, quick, and limited by the cloud's request rates rather than by us.
        Lane.SNAPSHOT: LaneLimits(_CALLS, _LEASE, capacity=1000, prefetch=64, priority=20),
        # Starts only; how many copies are in flight per destination region is admission's business.
        Lane.COPY: LaneLimits(_CALLS, _LEASE, capacity=300, prefetch=8, priority=30),
        # Reads, compresses and seals blocks: uses a core and memory, so a process takes few and leaves the rest to
        # others.
        Lane.REPOSITORY: LaneLimits(_SLICE, _LEASE, capacity=100, prefetch=4, priority=40),
        # Never urgent; a small capacity also bounds what a wrong plan can delete before somebody pauses it.
        Lane.CLEANUP: LaneLimits(_CALLS, _LEASE, capacity=200, prefetch=8, priority=50),
        # Background; yields to everything else.
        Lane.DISCOVER: LaneLimits(_PAGES, _LEASE, capacity=200, prefetch=4, priority=60),
    }
)


POOL = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")
"""What a worker pool may be called: part of queue names, so small letters, digits and '-'. '' is the common pool."""


def queue_name(lane: Lane, pool: str = "") -> str:
    """The lane's queue, with the topology version: `snapfleet.snapshot.v1`, and `snapfleet.snapshot.v1.POOL` in a pool.

    A worker of a pool takes that pool's queues only, so that work reaches the place whose network or credentials it
    needs. Raises ValueError for a pool that has no such name.
    """
    if not pool:
        return _QUEUE_NAMES[lane]
    if not POOL.fullmatch(pool):
        raise ValueError(f"{pool!r} is not the name of a worker pool: small letters, digits and '-', at most 32")
    return f"{_QUEUE_NAMES[lane]}.{pool}"


def dead_queue_name(lane: Lane) -> str:
    """The queue that receives what the lane's queues reject, those of pools included: `snapfleet.snapshot.v1.XQ`.

    Emptied into the catalog."""
    return f"{_QUEUE_NAMES[lane]}.XQ"


def lane_of(queue: str) -> Lane | None:
    """The lane of a queue or dead queue name, of any pool; None when the name is not ours."""
    found = _QUEUE.fullmatch(queue)
    return _LANES_BY_QUEUE.get(found[1]) if found else None


def pool_of(queue: str) -> str:
    """The worker pool of a queue name; '' for the common one, and for a name that is not ours."""
    found = _QUEUE.fullmatch(queue)
    return (found[2] or "") if found else ""


def queue_arguments(lane: Lane) -> dict[str, object]:
    """The arguments of the lane's queue, the same in every pool. Workers and publisher declare with exactly these, or
    the broker refuses them (406).

    Replicated (quorum); rejected messages reach the dead queue at least once, which RabbitMQ (3.10 and later) does
    only for queues that refuse new messages instead of dropping old ones when full.
    """
    return {
        "x-queue-type": "quorum",
        "x-dead-letter-exchange": "",
        "x-dead-letter-routing-key": dead_queue_name(lane),
        "x-dead-letter-strategy": "at-least-once",
        "x-overflow": "reject-publish",
        "x-delivery-limit": DELIVERY_LIMIT,
    }


def dead_queue_arguments() -> dict[str, object]:
    """The arguments of a dead queue: replicated, and without a time to live, so a letter stays until it is in the
    catalog."""
    return {"x-queue-type": "quorum"}


_QUEUE_NAMES = {lane: f"snapfleet.{lane}.v{TOPOLOGY_VERSION}" for lane in Lane}
_LANES_BY_QUEUE = {name: lane for lane, name in _QUEUE_NAMES.items()}
_QUEUE = re.compile(rf"(snapfleet\.[a-z]+\.v{TOPOLOGY_VERSION})(?:\.XQ|\.({POOL.pattern}))?")

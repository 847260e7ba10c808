"""Stages beside the rounds: at once while there is more, woken otherwise, ended by nothing but its end."""

import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from coordinator.main import Coordinator, _loop
from coordinator.stage import Stage
from tasks.catalog import close_catalog, open_catalog, transaction
from tasks.catalog.transitions import add_job
from tasks.errors import Unavailable
from tasks.lanes import Lane
from tasks.settings import Settings
from tests.coordinator.house import HOUR, MINUTE, NIGHTLY, House
from tests.services import wait_until


def staged(answers: list[Callable[[], int]]) -> list[int]:
    """What a stage with batches of ten was given before it had nothing left to do."""
    given: list[int] = []
    done = threading.Event()

    def publish() -> int:
        stage.wake()
        if not answers:
            done.set()
            return 0
        answer = answers.pop(0)()
        given.append(answer)
        return answer

    stage = Stage("publish", publish, 10)
    stage.start()
    assert done.wait(5)
    stage.stop()
    return given


def test_full_batches_follow_each_other_at_once(catalog: str) -> None:
    assert staged([lambda: 10] * 50 + [lambda: 3]) == [10] * 50 + [3]


def test_what_one_stage_did_wakes_the_next_and_what_it_did_not_does_not(catalog: str) -> None:
    done: list[str] = []
    woken: list[int] = []
    counts, ended = [1, 0, 1], threading.Event()

    def plan() -> int:
        done.append("plan")
        return counts.pop() if counts else 0

    def publish() -> int:
        done.append("publish")
        if done.count("publish") == 3:
            ended.set()
        return 0

    class Heard(Stage):
        def wake(self) -> None:
            woken.append(len(done))

    publishing = Stage("publish", publish, 10)
    planning = Stage("plan", plan, 1, Heard("look", lambda: 0, 10), publishing)
    publishing.start()
    wait_until(lambda: done == ["publish"], 5)
    planning.start()
    wait_until(lambda: done.count("publish") == 2, 5, "the first plan published")
    planning.wake()
    assert ended.wait(5)
    planning.stop()
    publishing.stop()
    assert len(woken) == 2  # as often as a plan did anything


def looks_of(due_in: float, seconds: float) -> int:
    """How often a stage with nothing to do looks in so many seconds, when something is due in so many."""
    looks: list[int] = []

    def work() -> int:
        looks.append(1)
        return 0

    stage = Stage("tick", work, 10, due_in=lambda: due_in)
    stage.start()
    threading.Event().wait(seconds)
    stage.stop()
    return len(looks)


def test_a_stage_looks_when_the_next_thing_comes_due_and_not_a_second_later(catalog: str) -> None:
    assert looks_of(0.05, 1.0) > 4


def test_what_is_due_and_cannot_be_done_is_not_asked_for_as_fast_as_a_core_allows(catalog: str) -> None:
    assert looks_of(0.0, 0.5) <= 8


def test_neither_a_catalog_that_is_away_nor_a_defect_ends_it(catalog: str, caplog: pytest.LogCaptureFixture) -> None:
    def away() -> int:
        raise Unavailable("The catalog went away.")

    def defect() -> int:
        raise ZeroDivisionError

    assert staged([lambda: 10, away, lambda: 10, defect, lambda: 10]) == [10, 10, 10]
    assert caplog.text.count("was given up on a defect") == 1
    assert caplog.text.count("The catalog went away. The stage 'publish' tries again") == 1


def test_a_restore_is_published_while_a_round_is_held_up(postgres_catalog_url: str, tmp_path: Path) -> None:
    """feature C2: what somebody waits for goes out although a wave is being planned."""
    open_catalog(postgres_catalog_url)
    house = House(tmp_path)
    account = house.account()
    held, ends, stop = threading.Event(), threading.Event(), threading.Event()

    class Slow(Coordinator):
        def step(self) -> bool:
            held.set()
            ends.wait(20)
            return False

    settings = Settings(home=tmp_path, broker_url="amqp://127.0.0.1/")
    coordinator = Slow(settings, house.clock, house.queue, house.counters)
    loop = threading.Thread(target=_loop, args=(coordinator, stop))
    loop.start()
    try:
        assert held.wait(5)
        with transaction():
            at = house.clock.timer()
            job = add_job(lane=Lane.RESTORE, at=at, kind="restore-step", account=account, region="us-east-1")
        wait_until(lambda: [message.job for _, message in house.queue.sent] == [job.id], 5, "the restore's message")
    finally:
        stop.set()
        ends.set()
        loop.join(10)
        close_catalog()
    assert not loop.is_alive()


def test_the_thread_that_decides_looks_when_the_next_slot_starts(postgres_catalog_url: str, tmp_path: Path) -> None:
    """Under a clock that stands still a twentieth of a second before a slot it looks again each time that has passed,
    and under one that stands hours before it as seldom as it would without any slot."""
    open_catalog(postgres_catalog_url)
    house = House(tmp_path)
    house.account()
    house.policy(schedules=[NIGHTLY])
    looks: list[str] = []

    class Watched(Coordinator):
        def _part(self, name: str, work: Callable[[], int | None]) -> int:
            looks.append(name)
            return super()._part(name, work)

    def ticks_of_a_second() -> int:
        looks.clear()
        settings = Settings(home=tmp_path, broker_url="amqp://127.0.0.1/")
        with Watched(settings, house.clock, house.queue, house.counters).pipelined():
            threading.Event().wait(1.0)
        return looks.count("tick")

    try:
        assert ticks_of_a_second() <= 2
        house.clock.advance(12 * HOUR + 59 * MINUTE + timedelta(seconds=59.95))
        assert ticks_of_a_second() > 4
        assert house.runs() == []
    finally:
        close_catalog()

"""The loop goes on: through a catalog that goes away in mid-step, through defects, until it is told to stop."""

import logging
import threading
from pathlib import Path
from typing import Any

import pytest

from coordinator.main import _loop
from tasks.catalog import Audit, Job, Lease, Process, close_catalog, open_catalog, session, set_meta, transaction
from tasks.catalog.audit import HEAD, audit_head
from tasks.errors import Unavailable
from tasks.lanes import Lane
from tasks.messages import JobMessage
from tasks.states import JobState, RunState
from tests.coordinator.house import MINUTE, House, Queue


class CutsTheCatalog(Queue):
    """Cuts every connection to the catalog while the coordinator waits for the broker's confirms, a few times."""

    def __init__(self, cut: Any, times: int) -> None:
        super().__init__()
        self._cut, self._left = cut, times

    def publish(self, messages: list[tuple[Lane, JobMessage]]) -> list[bool]:  # type: ignore[override]
        if self._left:
            self._left -= 1
            self._cut()
        return super().publish(messages)


def test_a_catalog_cut_in_mid_step_loses_nothing_and_work_goes_on_without_a_restart(
    postgres: Any, postgres_catalog_url: str, tmp_path: Path
) -> None:
    open_catalog(postgres_catalog_url)
    name = postgres_catalog_url.rsplit("/", 1)[1]
    house = House(tmp_path, queue=CutsTheCatalog(lambda: postgres.terminate_connections(name), times=2))
    house.account()
    house.policy()
    house.volumes(2)
    away = 0
    with pytest.raises(Unavailable):
        house.wish("run", policy="gold")
    for _ in range(30):
        house.workers_live()
        try:
            house.step()
        except Unavailable:
            away += 1
        house.deliver()
        house.clock.advance(MINUTE / 3)
    assert away == 1
    assert [run.state for run in house.runs()] == [RunState.DONE]
    assert len(house.points()) == 2
    assert len(house.cloud.calls("create:snapshot")) == 2
    close_catalog()


def test_the_loop_waits_for_a_catalog_that_is_away_and_says_so_once(
    postgres: Any, postgres_catalog_url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    open_catalog(postgres_catalog_url)
    house = House(tmp_path)
    name = postgres_catalog_url.rsplit("/", 1)[1]
    caplog.set_level(logging.WARNING, "snapfleet.coordinator")
    stop, pause = threading.Event(), threading.Event()
    coordinator = house.staff[0]
    thread = threading.Thread(target=_loop, args=(coordinator, stop))
    postgres.sql(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false')
    postgres.terminate_connections(name)
    thread.start()
    pause.wait(2.2)
    postgres.sql(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true')
    for _ in range(100):
        if "The catalog is back." in caplog.text:
            break
        pause.wait(0.1)
    stop.set()
    thread.join(10)
    close_catalog()
    assert caplog.text.count("Going on as soon as it is back.") == 1
    assert caplog.text.count("The catalog is back.") == 1


def test_a_defect_in_one_part_keeps_no_other_part_from_its_work(house: House, caplog: pytest.LogCaptureFixture) -> None:
    """A follow-up that cannot be planned: what is planned already is published all the same."""
    account = house.account()
    house.policy()
    house.resources(1, account)
    with transaction():
        Job.create(
            kind="restore-step",
            lane=str(Lane.RESTORE),
            key="k",
            account=account,
            region="us-east-1",
            restore_id=999,
            state=JobState.DONE,
            not_before_at=house.clock.timer(),
            created_at=house.clock.timer(),
        )
    house.wished("run", policy="gold")
    house.step()
    assert "'settle' of a round was given up" in caplog.text
    assert [message.job for _, message in house.queue.sent] == [house.jobs()[0].id]


def test_a_coordinator_that_stops_gives_its_lease_back_and_takes_its_name_off(house: House) -> None:
    house.step()
    house.staff[0].stop()
    with session():
        assert Lease.get().until_at < house.clock.timer()
        assert Process.select().where(Process.role == "coordinator").count() == 0


def test_how_the_audit_ends_is_told_to_the_log_and_a_tail_that_was_cut_off_is_noticed(
    embedded_catalog: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """feature C23: the log is kept where the catalog is not."""
    house = House(tmp_path)
    caplog.set_level(logging.INFO, "snapfleet.coordinator")
    with transaction():
        Audit.append([{"at": house.clock.timer(), "who": "me", "action": "x"}] * 2)
        end = audit_head()
    house.step()
    house.clock.advance(MINUTE)
    house.step()
    assert [text for text in caplog.messages if "audit" in text] == [f"The audit ends at {end}."]
    with transaction():
        Audit.delete().where(Audit.id == 2).execute()
        set_meta(HEAD, f"1:{Audit.get_by_id(1).link}")
    house.clock.advance(MINUTE)
    house.step()
    assert "rows were cut off" in caplog.messages[-1]

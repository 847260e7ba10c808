"""Death in the middle of a route of two hops: one copy at the end, and nothing that was made on the way."""

from collections.abc import Callable, Iterator

import pytest

from tasks import crash
from tasks.catalog import Point
from tasks.states import JobState, PointState, RunState
from tests.coordinator.house import FAR, HOME, MINUTE, House


class Death(BaseException):
    """No handler takes it for a failure: transactions are rolled back, and a dead worker's lease stays behind."""


@pytest.fixture
def listen() -> Iterator[Callable[[Callable[[str], None] | None], None]]:
    """Hear of crash points during one test only."""
    yield crash.listen
    crash.listen(None)


# A point of the code, and where the route is then: the states of its two copies.
@pytest.mark.parametrize(
    ("point", "copies"),
    [
        # Hop one is good and hop two is not planned yet: its job is written and rolled back.
        ("coordinator.settle-before-commit", [JobState.DONE, JobState.PENDING]),
        ("copy.called", [JobState.DONE, JobState.RUNNING]),  # hop two has begun, nobody wrote it down
        ("coordinator.settle-before-commit", [JobState.DONE, JobState.DONE]),  # hop two is good, the rest still there
    ],
)
def test_a_death_in_the_middle_of_a_two_hop_copy_leaves_one_copy_and_no_stray(
    house: House, listen: Callable[[Callable[[str], None] | None], None], point: str, copies: list[JobState]
) -> None:
    """Feature C16, feature C4: what dies at any step of the route is taken up where it was, intermediates included."""
    died: list[str] = []

    def die(name: str) -> None:
        if name == point and not died and [job.state for job in house.jobs("copy")] == copies:
            died.append(name)
            raise Death

    house.account("vault", [FAR], kind="dr")
    house.account("prod", [HOME])
    house.policy(dr=[{"account": "vault", "region": FAR, "reencrypt_key": "alias/shared"}])
    house.volumes(1, default_key=True)
    house.wished("run", policy="gold")
    listen(die)
    for _ in range(60):
        try:
            house.round()
        except Death:
            house.queue.messages.clear()  # what it held in its memory died with it
        house.clock.advance(MINUTE / 2)
        if died and house.points(Point.kind == "intermediate", state=PointState.DELETED):
            break
    assert died == [point]
    left = [(one.kind, one.destination, one.state) for one in house.points(state=None)]
    assert left == [
        ("snapshots", "", PointState.GOOD),
        ("intermediate", f"prod/{HOME}", PointState.DELETED),
        ("snapshots", f"vault/{FAR}", PointState.GOOD),
    ]
    there = [(one.account, one.region) for one in house.cloud.of_kind("snapshot")]
    assert there == [("prod", HOME), ("vault", FAR)]
    assert [one.state for one in house.runs()] == [RunState.DONE]

"""Seats in the catalog, taken by many at once on both databases (feature 28)."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

from tasks.clock import SystemClock
from workers.seats import FleetSeats


def test_of_eight_that_ask_at_once_five_get_a_seat_and_one_that_is_freed_goes_to_the_next(catalog: str) -> None:
    seats = [FleetSeats(SystemClock()) for _ in range(2)]

    def ask(number: int) -> bool:
        return seats[number % 2].take("family", [f"snap-{number}"], f"work-{number}", 5, timedelta(minutes=1))

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(ask, range(8)))
    assert sum(answers) == 5
    winner, loser = answers.index(True), answers.index(False)
    assert seats[0].leave("family", f"snap-{winner}", f"work-{winner}") is True
    assert ask(loser) is False, "its seat is kept until it is shut"
    seats[1].free("family", f"snap-{winner}", f"work-{winner}")
    assert ask(loser) is True

"""Fair shares between accounts: the pure decision, in virtual time, with a fleet of 8 threads and 20 accounts."""

import heapq
from collections import Counter, defaultdict, deque
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coordinator.admission import Admission, Candidate, InFlight, Turns, choose
from tasks.lanes import LANES, Lane
from tasks.limits import CUT, LEAST, ONE_EVENT, Limits, Pace, lowered, share_at

pytestmark = pytest.mark.unit

AT = datetime(2026, 11, 2, 6, 30, tzinfo=UTC)
SLOTS = {"ec2": 18}
SMALL = Admission(capacity=dict.fromkeys(Lane, 10), starts=Pace(1e6, 10**6))


def line(account: int, first: int, count: int, lane: Lane = Lane.CLEANUP) -> list[Candidate]:
    return [
        Candidate(first + n, lane, account, "us-east-1", priority=50, turn=n + 1, service="ec2") for n in range(count)
    ]


def test_an_account_whose_jobs_were_written_last_goes_as_often_as_the_first() -> None:
    """feature C8: a little room at a time goes round, whatever the order of the jobs' ids."""
    waiting = {account: deque(line(account, 1000 * account, 60)) for account in range(1, 21)}
    turns, went = Turns(), Counter[int]()
    for _ in range(40):
        heads = [item for jobs in waiting.values() for item in list(jobs)[:3]]
        for item in choose(heads, InFlight(queued=Counter({Lane.CLEANUP: 3})), SLOTS, SMALL, turns):
            waiting[item.account].remove(item)
            went[item.account] += 1
    assert set(went.values()) == {14}  # 40 rounds of 7 over 20 accounts


def test_an_account_that_comes_after_a_pause_has_no_credit() -> None:
    turns = Turns()
    busy = line(1, 1, 500)
    for n in range(0, 400, 10):
        assert choose(busy[n : n + 10], InFlight(), SLOTS, SMALL, turns)
    came = choose([*busy[400:420], *line(2, 9000, 20)], InFlight(), SLOTS, SMALL, turns)
    assert Counter(item.account for item in came) == {1: 5, 2: 5}


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(1, 40), min_size=2, max_size=12), st.integers(1, 9))
def test_no_account_gets_more_than_one_job_beyond_another_that_also_waits(lines: list[int], room: int) -> None:
    """Max-min fairness, whatever the lengths of the lines and the room of each round."""
    waiting = {number: deque(line(number, 1000 * number, count)) for number, count in enumerate(lines, start=1)}
    admission = Admission(capacity=dict.fromkeys(Lane, room), starts=Pace(1e6, 10**6))
    turns, went = Turns(), Counter[int]()
    while any(waiting.values()):
        for item in choose([item for jobs in waiting.values() for item in jobs], InFlight(), SLOTS, admission, turns):
            waiting[item.account].popleft()
            went[item.account] += 1
        still = [went[number] for number, jobs in waiting.items() if jobs]
        assert not still or max(still) - min(still) <= 1
        assert all(went[number] <= min(still) + 1 for number in went if still)


@dataclass
class Fleet:
    """Threads that take what was published in order; a throttled account's calls come to nothing after as long."""

    throttled: int
    threads: int = 8
    call: float = 0.25
    waits: dict[int, list[float]] = field(default_factory=lambda: defaultdict(list))
    tried: int = 0
    due: list[tuple[float, int, int]] = field(default_factory=list)  # when, account, job
    ready: dict[int, list[int]] = field(default_factory=lambda: defaultdict(list))
    queue: deque[Candidate] = field(default_factory=deque)
    turns: Turns = field(default_factory=Turns)
    tat: dict[int, datetime] = field(default_factory=dict)
    share: float = 1.0
    lowered_at: datetime | None = None

    def night(self, accounts: int = 20, jobs: int = 40) -> float:
        """Every account's jobs come one a second. p95 of the waits of those that are not throttled, in seconds."""
        everybody = range(1, accounts + 1)
        self.due = [
            (n + account / accounts, account, account * 10_000 + n) for account in everybody for n in range(jobs)
        ]
        heapq.heapify(self.due)
        arrived = {job: when for when, _, job in self.due}
        free = [0.0] * self.threads
        for step in range(jobs * 10 + 300):
            now = step / 10
            while self.due and self.due[0][0] <= now:
                _, account, job = heapq.heappop(self.due)
                self.ready[account].append(job)
            self._publish(AT + timedelta(seconds=now))
            for number, until in enumerate(free):
                if until <= now and self.queue:
                    free[number] = now + self.call
                    self._work(self.queue.popleft(), now, arrived)
        waits = sorted(wait for mine in self.waits.values() for wait in mine)
        assert all(len(mine) == jobs for mine in self.waits.values())
        return waits[int(len(waits) * 0.95)]

    def _pace(self, account: int, at: datetime) -> Pace:
        usual = Limits().pace("ec2.create-snapshot")
        return usual.scaled(share_at(self.share, self.lowered_at, at)) if account == self.throttled else usual

    def _publish(self, at: datetime) -> None:
        left = {
            (account, "us-east-1", "ec2.create-snapshot"): self._pace(account, at).allowed(self.tat.get(account), at)
            for account in self.ready
        }
        heads = [
            Candidate(job, Lane.SNAPSHOT, account, "us-east-1", 50, turn, service="ec2")
            for account, line_ in self.ready.items()
            for turn, job in enumerate(sorted(line_)[:10], start=1)
        ]
        flight = InFlight(queued=Counter({Lane.SNAPSHOT: len(self.queue)}), starts=left)
        admission = Admission(capacity=dict.fromkeys(LANES, 2 * self.threads))
        for item in choose(heads, flight, SLOTS, admission, self.turns):
            self.ready[item.account].remove(item.job)
            self.tat[item.account] = self._pace(item.account, at).spent(self.tat.get(item.account), at, 1)
            self.queue.append(item)

    def _work(self, item: Candidate, now: float, arrived: dict[int, float]) -> None:
        if item.account != self.throttled:
            self.waits[item.account].append(now - arrived[item.job])
            return
        self.tried += 1
        at = AT + timedelta(seconds=now)
        cut = lowered(self.share, self.lowered_at, at)
        if cut != self.share:
            self.share, self.lowered_at = cut, at
            pace = self._pace(item.account, at)
            self.tat[item.account] = max(self.tat[item.account], at + pace.worth(pace.burst))
        heapq.heappush(self.due, (now + 10, item.account, item.job))


def test_a_throttled_account_costs_the_others_less_than_a_tenth_of_their_waits() -> None:
    """feature C8: of 20 accounts on 8 threads one is throttled for the whole night; what it waits for is put off by
    the catalog, its pace goes down, and no thread sleeps for it."""
    usual, night = Fleet(throttled=0), Fleet(throttled=7)
    without, with_one = usual.night(), night.night()
    assert len(usual.waits) == 20
    assert len(night.waits) == 19
    assert with_one <= without * 1.10
    assert 3 <= night.tried <= 40  # it is tried again, seldom


def test_throttles_of_one_moment_halve_a_share_once_and_it_grows_back() -> None:
    """feature C2"""
    first = lowered(1.0, None, AT)
    assert first == CUT
    assert lowered(first, AT, AT + ONE_EVENT / 2) == first
    again = lowered(first, AT, AT + ONE_EVENT)
    assert CUT * CUT <= again < first
    assert share_at(CUT, AT, AT + timedelta(minutes=2)) == pytest.approx(CUT + 0.2)
    assert share_at(CUT, AT, AT + timedelta(hours=1)) == 1.0


@settings(deadline=None)
@given(st.lists(st.integers(0, 600), max_size=40))
def test_a_share_stays_between_its_least_and_the_whole(gaps: list[int]) -> None:
    share, lowered_at, at = 1.0, None, AT
    for gap in gaps:
        at += timedelta(seconds=gap)
        cut = lowered(share, lowered_at, at)
        if cut != share:
            share, lowered_at = cut, at
        assert LEAST <= share_at(share, lowered_at, at) <= 1.0

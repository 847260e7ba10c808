"""A sync in processes of their own, for tests that kill one at a named line and let another go on.

Usage: python -m tests.integration.crashing_sync, with the emulated cloud in the environment. For each line that it
reads, `HOME POINT`, two processes are forked one after the other, which have imported everything already; both are told
to die at the point, and the second passes it because the log says that the first has. It answers with both exit codes.
"""

import os
import sys
from datetime import timedelta
from pathlib import Path

from tasks import crash
from tasks.catalog import Run, open_catalog, session
from tasks.states import JOB_TERMINAL
from tests.integration.test_sync import Syncing
from tests.sandbox import Sandbox

AN_HOUR = timedelta(hours=1)  # longer than any lease of the process before
ROUNDS = 60


def sync(home: Path, later: timedelta) -> int:
    """Run the policy once, or go on with its run: 0 when the job that leads it is done."""
    open_catalog(f"sqlite://{home}/catalog.sqlite")
    house = Syncing.entered(home, Sandbox(os.environ["AWS_ENDPOINT_URL"], {}), later)
    with session():
        begun = Run.select().exists()
    if not begun:
        house.wished("run", policy="gold")
    for _ in range(ROUNDS):
        house.round()
        jobs = house.jobs()
        if jobs and jobs[-1].state in JOB_TERMINAL:
            return 0 if not jobs[-1].error_text else 1
        house.clock.advance(timedelta(seconds=20))
    return 2


def process(home: Path, point: str, later: timedelta) -> int:
    """The same in a process of its own; its exit code, the signal's number below zero."""
    number = os.fork()
    if number == 0:
        code = 3
        try:
            crash.arm({"SNAPFLEET_CRASH_AT": point, "SNAPFLEET_CRASH_LOG": str(home / "crashes")})
            code = sync(home, later)
        finally:
            sys.stderr.flush()
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(number, 0)[1])


def main() -> None:
    """Answer every line."""
    for line in sys.stdin:
        home, _, point = line.strip().partition(" ")
        ends = [process(Path(home), point, number * AN_HOUR) for number in range(2)]
        print(*ends, flush=True)


if __name__ == "__main__":
    main()

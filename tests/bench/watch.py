"""Looking on while a night runs: how many operations the cloud works on, whether a thread waits, how much memory."""

import os
import platform
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

from tasks.catalog import Job, Operation, Run, database_time, rows, session
from tasks.states import JobState, OperationState, RunState
from tests.bench.house import House

PATIENCE = 900.0  # seconds for one night, several times what 10,000 instances take on two cores

AT_LEAST = 10.0  # seconds that a backup in hand may take on a machine that is busy with other things


def follow(house: House, night: int, longest: float = PATIENCE) -> dict[str, Any]:
    """Wait until the night's run has ended; its times, and the largest of what was seen on the way.

    `threads_waiting` counts looks at which a thread had a backup in hand for as long as a snapshot takes.
    """
    deadline = time.monotonic() + longest
    patience = timedelta(seconds=max(AT_LEAST, house.size.snapshot_seconds * 0.9))
    in_flight = waiting = 0
    while True:
        house.look()
        at = database_time()
        with session():
            runs = list(Run.select().order_by(Run.id))
            in_flight = max(in_flight, Operation.select().where(Operation.state == OperationState.RUNNING).count())
            in_hand = (Job.state == JobState.RUNNING) & (Job.kind == "snapshot") & (Job.claims == 1)
            waiting += Job.select().where(in_hand, Job.started_at < at - patience).count()
        if len(runs) == night and runs[-1].state not in (RunState.RESOLVING, RunState.OPEN):
            return {**_times(runs[-1]), "operations_in_flight_peak": in_flight, "threads_waiting": waiting}
        if time.monotonic() > deadline:
            raise RuntimeError(f"night {night} did not end: {_situation()}")
        time.sleep(1.0)


def _times(run: Run) -> dict[str, Any]:
    with session():
        ((begun, jobs),) = rows(_counted(run))
    seconds = (run.finished_at - run.created_at).total_seconds()
    return {
        "state": str(run.state),
        "seconds": round(seconds, 1),
        "planned_after_s": round((run.planned_at - run.created_at).total_seconds(), 1),
        "last_started_after_s": round((begun - run.created_at).total_seconds(), 1),
        "jobs": jobs,
        "jobs_per_s": round(jobs / seconds, 1),
    }


def _counted(run: Run) -> Any:
    from peewee import fn

    return Job.select(fn.MAX(Job.started_at), fn.COUNT(Job.id)).where(Job.run == run.id)


def _situation() -> list[Any]:
    from peewee import fn

    with session():
        return rows(Job.select(Job.kind, Job.state, Job.error_code, fn.COUNT(Job.id)).group_by(
            Job.kind, Job.state, Job.error_code
        ))  # fmt: skip


def memory(house: House) -> dict[str, int]:
    """Resident memory of each process at its largest, in MiB."""
    pids = {"sandbox": house.sandbox_pid, **{name: process.pid for name, process in house.processes.items()}}
    return {name: _peak(pid) for name, pid in pids.items()}


def _peak(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) // 1024
    return 0


def cpu_seconds(house: House) -> dict[str, float]:
    """Processor time of each process so far, in seconds."""
    pids = {"sandbox": house.sandbox_pid, **{name: process.pid for name, process in house.processes.items()}}
    tick = os.sysconf("SC_CLK_TCK")
    spent = {}
    for name, pid in pids.items():
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        spent[name] = round((int(fields[11]) + int(fields[12])) / tick, 1)
    return spent


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    return {
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "load_1m": round(os.getloadavg()[0], 1),
    }

"""Product processes that start in hundredths of a second: forked from one that has imported everything.

A fleet under kills brings a process back for each death, and to import the same modules again took most of a core
(half a second of processor time a start, 2026-11-22). Each of them is a process of its own nevertheless, with its own
connections, and dies alone.
"""

import multiprocessing
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(
    [
        *("tests.scenario.nursery", "admin.cli.main", "coordinator.main", "workers.main", "workers.aws"),
        *("workers.archiving", "workers.repository.archive", "workers.repository.restore", "tests.fakes.driver"),
    ]
)


class Child:
    """A process of the product, with what a supervisor needs of `subprocess.Popen`."""

    def __init__(self, command: Sequence[str], env: Mapping[str, str], out: Path) -> None:
        given = (list(command), dict(env), str(out))
        self._process = _CONTEXT.Process(target=_become, args=given, daemon=True)  # it ends with the tests
        self._process.start()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid or 0

    @property
    def returncode(self) -> int | None:
        """Its exit code, the signal's number below zero, or None while it runs."""
        return self._process.exitcode

    def poll(self) -> int | None:
        """The same."""
        return self._process.exitcode

    def kill(self) -> None:
        """SIGKILL."""
        self._process.kill()

    def terminate(self) -> None:
        """SIGTERM."""
        self._process.terminate()

    def wait(self, seconds: float | None = None) -> int | None:
        """Wait for its end; the exit code, or None when it has not come."""
        self._process.join(seconds)
        return self._process.exitcode


def _become(command: list[str], env: dict[str, str], out: str) -> None:
    """The forked process: its own output, environment and arguments, then what `snapfleet` does."""
    from admin.cli.main import run
    from tasks import crash

    log = os.open(out, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    for standard in (1, 2):
        os.dup2(log, standard)
    os.environ.clear()
    os.environ.update(env)
    crash.arm(os.environ)
    sys.argv = command
    sys.exit(run(command[1:]))

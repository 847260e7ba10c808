"""Product processes that start in hundredths of a second: forked from one that has imported everything.

A fleet under kills brings a process back for each death, a story types a hundred commands, and to import the same
modules again took most of a core (half a second of processor time a start, 2026-11-22). Each of them is a process of
its own nevertheless, with its own connections, and dies alone.
"""

import multiprocessing
import os
import runpy
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(
    [
        *("tests.scenario.nursery", "admin.cli.main", "coordinator.main", "workers.main", "workers.aws"),
        *("workers.archiving", "workers.repository.archive", "workers.repository.restore", "tests.fakes.driver"),
    ]
)
# A process tells how it ended once: of two threads that look at a time one would read nothing.
_ONE_LOOKS = threading.Lock()


class Child:
    """A process, with what a supervisor needs of `subprocess.Popen`. `command` is `snapfleet` with its words, or
    `python -m MODULE` with its; what it says is appended to `out`, or to `out` and `errors`."""

    def __init__(self, command: Sequence[str], env: Mapping[str, str], out: Path, errors: Path | None = None) -> None:
        given = (list(command), dict(env), str(out), str(errors or out))
        self._process = _CONTEXT.Process(target=_become, args=given, daemon=True)  # it ends with the tests
        with _ONE_LOOKS:  # a start looks after all others
            self._process.start()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid or 0

    @property
    def returncode(self) -> int | None:
        """Its exit code, the signal's number below zero, or None while it runs."""
        with _ONE_LOOKS:
            return self._process.exitcode

    def poll(self) -> int | None:
        """The same."""
        return self.returncode

    def kill(self) -> None:
        """SIGKILL."""
        self._process.kill()

    def terminate(self) -> None:
        """SIGTERM."""
        self._process.terminate()

    def wait(self, seconds: float | None = None) -> int | None:
        """Wait for its end; the exit code, or None when it has not come."""
        until = None if seconds is None else time.monotonic() + seconds
        while self.returncode is None and (until is None or time.monotonic() < until):
            time.sleep(0.01)
        return self.returncode


def said(command: Sequence[str], env: Mapping[str, str], seconds: float) -> "subprocess.CompletedProcess[str]":
    """Run a command to its end, as `subprocess.run` with its output captured. Raises subprocess.TimeoutExpired."""
    with tempfile.TemporaryDirectory(prefix="snapfleet-said-") as folder:
        out, errors = Path(folder) / "out", Path(folder) / "errors"
        for file in (out, errors):
            file.touch()
        child = Child(command, env, out, errors)
        code = child.wait(seconds)
        if code is None:
            child.kill()
            child.wait()
            raise subprocess.TimeoutExpired(list(command), seconds, out.read_text(), errors.read_text())
        return subprocess.CompletedProcess(list(command), code, out.read_text(), errors.read_text())


def _become(command: list[str], env: dict[str, str], out: str, errors: str) -> None:
    """The forked process: its own output, environment and arguments, then what the command does."""
    from admin.cli.main import run
    from tasks import crash

    for standard, file in ((1, out), (2, errors)):
        os.dup2(os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644), standard)
    os.environ.clear()
    os.environ.update(env)
    crash.arm(os.environ)
    if command[1] == "-m":
        sys.argv = command[2:]
        runpy.run_module(command[2], run_name="__main__", alter_sys=True)
    else:
        sys.argv = command
        sys.exit(run(command[1:]))

"""One embedded installation over the emulated AWS: the program's own processes, and commands as they are typed.

Commands are forked from a process that has imported the program, which takes a tenth of a start; `by_script` starts
the script itself, as a shell does (tests.scenario.test_end_to_end).
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tests.scenario.nursery import said
from tests.services import free_port

SNAPFLEET = Path(sys.executable).parent / "snapfleet"
WATCHED = Path(__file__).parent / "watched"
COMMAND_SECONDS = 120.0


class Installation:
    """A home folder, its environment, and the one process of `snapfleet up`."""

    by_script = False

    def __init__(self, home: Path, cloud: Mapping[str, str], **settings: str) -> None:
        self.home, self.port = home, free_port()
        plain = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "SNAPFLEET_"))}
        self.env = {**plain, **cloud, "SNAPFLEET_HOME": str(home), "SNAPFLEET_PORT": str(self.port), "NO_COLOR": "1"}
        self.env |= {f"SNAPFLEET_{name.upper()}": value for name, value in settings.items()}
        self.log, self.watch = home.parent / "up.log", home.parent / "watch.log"
        self.said: list[str] = []
        self.process: subprocess.Popen[bytes] | None = None

    def type(self, *words: str, accept: tuple[int, ...] = (0,), **env: str) -> Any:
        """Run `snapfleet WORDS --output json`; what it printed, or the last of its lines. Fails on another exit."""
        command = [str(SNAPFLEET), *words, "--output", "json"]
        done = self._said(command, self.env | env)
        self.said += [done.stdout, done.stderr]
        assert done.returncode in accept, f"{words}: {done.returncode} {done.stdout[-2000:]} {done.stderr}"
        try:
            return json.loads(done.stdout)
        except json.JSONDecodeError:
            lines = done.stdout.splitlines()
            return json.loads(lines[-1]) if lines else None

    def _said(self, command: list[str], env: dict[str, str]) -> "subprocess.CompletedProcess[str]":
        if self.by_script:
            return subprocess.run(
                command, env=env, capture_output=True, text=True, timeout=COMMAND_SECONDS, check=False
            )
        return said(command, env, COMMAND_SECONDS)

    def up(self) -> None:
        """Start everything, under watch, and wait for a coordinator: commands wait for one four seconds only."""
        env = self.env | {"PYTHONPATH": str(WATCHED), "WATCH_LOG": str(self.watch)}
        with self.log.open("ab") as log:
            self.process = subprocess.Popen([str(SNAPFLEET), "up"], env=env, stdout=log, stderr=log)
        self.until("a coordinator reports itself", self._coordinated)

    def _coordinated(self) -> bool:
        """By this process, not by one that was there before."""
        return any(
            row["role"] == "coordinator" and self.process is not None and f":{self.process.pid}:" in row["name"]
            for row in self.type("processes")
        )

    def kill(self) -> None:
        """SIGKILL, as the kernel would."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def until(self, what: str, ready: Callable[[], Any], seconds: float = 150.0) -> Any:
        """Ask until `ready()` is true, and return that."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            answer = ready()
            if answer:
                return answer
            time.sleep(0.2)
        raise AssertionError(f"{what} did not happen\n{self.log.read_text()[-3000:]}")

    def seen(self, kind: str) -> set[str]:
        """What the process connected to (`connect`) or started (`program`)."""
        rows = [json.loads(line) for line in self.watch.read_text().splitlines()]
        return {text for name, text in rows if name == kind}

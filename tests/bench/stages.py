"""What a job costs each part of a fleet in processor time: of whole programs from the kernel's accounts, and inside a
worker by watching its stages."""

import json
import os
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

_TICK = os.sysconf("SC_CLK_TCK")


def cpu_of(pid: int) -> float:
    """Processor seconds of a program so far: the process, those it has started and that live, and those that ended."""
    stats = {int(path.parent.name): _stat(path) for path in Path("/proc").glob("[0-9]*/stat")}
    family, fresh = {pid}, {pid}
    while fresh:
        fresh = {number for number, fields in stats.items() if fields and int(fields[1]) in fresh} - family
        family |= fresh
    own = sum(int(ticks) for number in family for ticks in (stats.get(number) or [])[11:13])
    return (own + sum(int(ticks) for number in family for ticks in (stats.get(number) or [])[13:15])) / _TICK


def _stat(path: Path) -> list[str]:
    try:
        return path.read_text().rpartition(")")[2].split()
    except OSError:  # it has ended meanwhile
        return []


class Stages:
    """Processor seconds by stage since this was made, added up over the threads of the process. A stage inside another
    is its own."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._spent: Counter[str] = Counter()
        self._inside = threading.local()
        self._before = time.process_time()

    def watch(self, name: str, act: Callable[..., Any]) -> Callable[..., Any]:
        """`act`, whose processor time counts for the stage `name`."""

        def watched(*arguments: Any, **options: Any) -> Any:
            outer, began = getattr(self._inside, "nested", 0.0), time.thread_time()
            self._inside.nested = 0.0
            try:
                return act(*arguments, **options)
            finally:
                spent = time.thread_time() - began
                with self._lock:
                    self._spent[name] += spent - self._inside.nested  # type: ignore[assignment]
                self._inside.nested = outer + spent

        return watched

    def write(self, folder: Path) -> None:
        """Leave the figures where the bench reads them, with what no stage has seen as `rest`."""
        total = time.process_time() - self._before
        figures = {**self._spent, "rest": total - sum(self._spent.values())}
        (folder / f"stages-{os.getpid()}.json").write_text(json.dumps(figures))


def read(folder: Path) -> Counter[str]:
    """Processor seconds by stage of all processes that have left theirs; they are taken away."""
    found: Counter[str] = Counter()
    for path in folder.glob("stages-*.json"):
        found.update(json.loads(path.read_text()))
        path.unlink()
    return found

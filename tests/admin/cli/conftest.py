"""The program run inside the test's process, on an installation of the test's own."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from admin.cli.main import run
from admin.setup import prepare_catalog
from tasks.catalog import close_catalog
from tasks.errors import Unavailable
from tasks.settings import load_settings
from tests.admin.estates import ENVIRONMENT


@dataclass
class Said:
    """What a command said and its exit code."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def error(self) -> Any:
        return json.loads(self.err)


Cli = Callable[..., Said]


@pytest.fixture
def home(sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An installation as `init` leaves it, without the users."""
    folder = tmp_path / "home"
    folder.mkdir(mode=0o700)
    for name, value in {"HOME": str(folder), "CATALOG_URL": sqlite_url, "DEBUG": ""}.items():
        monkeypatch.setenv(f"SNAPFLEET_{name}", value)
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    prepare_catalog(load_settings())
    yield folder
    close_catalog()


@pytest.fixture
def cli(home: Path, capsys: pytest.CaptureFixture[str]) -> Cli:
    """`cli("points", "-o", "json")`: run the program and hear what it says."""

    def call(*arguments: str) -> Said:
        capsys.readouterr()
        code = run(list(arguments))
        heard = capsys.readouterr()
        return Said(code, heard.out, heard.err)

    return call


@pytest.fixture
def background() -> Iterator[Callable[[Callable[[], None]], None]]:
    """Run something again and again beside the test, as a coordinator would."""
    stop = threading.Event()
    threads: list[threading.Thread] = []

    def start(step: Callable[[], None]) -> None:
        def loop() -> None:
            while not stop.wait(0.05):
                with suppress(Unavailable):  # a command opens the catalog anew under it; the next round goes on
                    step()

        threads.append(threading.Thread(target=loop))
        threads[-1].start()

    yield start
    stop.set()
    for thread in threads:
        thread.join()

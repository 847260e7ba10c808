"""How answers are printed: tables for people, JSON for programs, and nothing in a name reaches the terminal raw.

A table is drawn on a terminal only; elsewhere columns are plain text, whole and without colour, for grep and awk.
JSON is ASCII, so that no control character gets through it either.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TextIO

from admin.safe import safe

Row = Mapping[str, Any]
JSON = "json"
# A colour and no more: the word stands beside it, so nothing is lost without one.
_COLOURS = {
    "good": "green",
    "done": "green",
    "OK": "green",
    "reachable": "green",
    "failed": "red",
    "FAIL": "red",
    "lost": "red",
    "critical": "red",
    "unreachable": "red",
    "partial": "yellow",
    "WARN": "yellow",
    "warning": "yellow",
    "undoing": "yellow",
}


@dataclass(frozen=True)
class Column:
    """A column: its title and the key of the row that it shows."""

    title: str
    key: str
    right: bool = False


def columns(*titles: str) -> tuple[Column, ...]:
    """Columns from `title` or `title=key`; a title that ends in `#` is a number and stands on the right."""
    found = []
    for item in titles:
        title, _, key = item.partition("=")
        found.append(Column(title.rstrip("#"), key or title.rstrip("#"), title.endswith("#")))
    return tuple(found)


class Output:
    """Where a command prints. `form` is `table` or `json`."""

    def __init__(self, form: str = "table", stream: TextIO | None = None) -> None:
        self.form = form
        self._stream = stream

    @property
    def stream(self) -> TextIO:
        """Standard output, as it is now."""
        return self._stream or sys.stdout

    @property
    def json(self) -> bool:
        """Whether a program reads this."""
        return self.form == JSON

    def rows(self, rows: Sequence[Row], shown: Sequence[Column], empty: str = "Nothing.") -> None:
        """A list: a table with the `shown` columns, or every field as JSON."""
        if self.json:
            self.value([dict(row) for row in rows])
        elif not rows:
            self.line(empty)
        elif self.stream.isatty():
            self._drawn(rows, shown)
        else:
            self._plain(rows, shown)

    def value(self, value: Any) -> None:
        """One JSON document."""
        self.stream.write(json.dumps(value, default=plain_value, indent=2, ensure_ascii=True) + "\n")

    def event(self, value: Row) -> None:
        """One line of JSON Lines; flushed, because somebody waits for it."""
        self.stream.write(json.dumps(value, default=plain_value, ensure_ascii=True) + "\n")
        self.stream.flush()

    def line(self, text: str = "") -> None:
        """One line for people, made harmless."""
        self.stream.write(safe(text) + "\n")
        self.stream.flush()

    def result(self, value: Row, text: str) -> None:
        """What a command did: the value as JSON, or a sentence."""
        if self.json:
            self.value(dict(value))
        else:
            self.line(text)

    def record(self, row: Row, keys: Sequence[str]) -> None:
        """One thing, a line a field, for people."""
        width = max(map(len, keys))
        for key in keys:
            self.line(f"{key:<{width}}  {shown_value(row.get(key))}")

    def _plain(self, rows: Sequence[Row], shown: Sequence[Column]) -> None:
        cells = [[column.title.upper() for column in shown]]
        cells += [[safe(shown_value(row.get(column.key))) for column in shown] for row in rows]
        widths = [max(len(line[index]) for line in cells) for index in range(len(shown))]
        for line in cells:
            parts = [
                cell.rjust(width) if column.right else cell.ljust(width)
                for cell, width, column in zip(line, widths, shown, strict=True)
            ]
            self.stream.write("  ".join(parts).rstrip() + "\n")

    def _drawn(self, rows: Sequence[Row], shown: Sequence[Column]) -> None:
        from rich import box
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        for column in shown:
            table.add_column(Text(column.title), justify="right" if column.right else "left", overflow="fold")
        for row in rows:
            cells = [safe(shown_value(row.get(column.key))) for column in shown]
            table.add_row(*(Text(cell, style=_COLOURS.get(cell, "")) for cell in cells))
        Console(file=self.stream).print(table)


def shown_value(value: Any) -> str:
    """A value in a table: times in UTC to the second, lists with commas, mappings as key=value, nothing as nothing."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, datetime):
        return f"{value.astimezone(UTC):%Y-%m-%d %H:%M:%SZ}"
    if isinstance(value, timedelta):
        return shown_span(value)
    if isinstance(value, Mapping):
        return " ".join(f"{key}={shown_value(item)}" for key, item in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(shown_value(item) for item in value)
    return str(value)


def shown_span(span: timedelta) -> str:
    """A span in its two largest units: 2d 3h, 15m, 40s."""
    seconds = int(span.total_seconds())
    parts = []
    for unit, size in (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)):
        count, seconds = divmod(seconds, size)
        if count:
            parts.append(f"{count}{unit}")
    return " ".join(parts[:2]) or "0s"


def plain_value(value: Any) -> Any:
    """What json cannot write by itself: times as ISO 8601 in UTC, spans in seconds."""
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} is not a JSON value")

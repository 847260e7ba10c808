"""Logs of every process: one JSON object a line on standard error, with what the thread is working on.

Names and tags come from clouds and are hostile: control characters are shown escaped, so that no name can forge a
line or move a terminal's cursor. Secrets are never given to a logger (tasks.secrets hides them), and an exception is
logged by its type and place, never with its values.
"""

import json
import logging
import sys
import threading
import traceback
from datetime import UTC, datetime
from typing import Any

_MAX_TEXT = 2000  # a line that is longer is a listing, and belongs elsewhere
_bound = threading.local()


def bind(**fields: Any) -> None:
    """Add these fields to every line this thread logs, until `unbind`."""
    _bound.fields = {**getattr(_bound, "fields", {}), **fields}


def unbind() -> None:
    """Forget what was bound in this thread."""
    _bound.fields = {}


def clean(text: object) -> str:
    """The text with every character that is not printable escaped, cut to a bounded length."""
    shown = "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in str(text))
    return shown[:_MAX_TEXT]


def place_of(error: BaseException) -> str:
    """Where an exception was raised: file, line and function, nothing of its text or its values."""
    frames = traceback.extract_tb(error.__traceback__)
    return f"{frames[-1].filename}:{frames[-1].lineno} {frames[-1].name}" if frames else ""


class JsonLines(logging.Formatter):
    """One object a line: at, level, logger, text, what is bound, and the type and place of an exception."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "text": clean(record.getMessage()),
        }
        line |= {name: clean(value) for name, value in getattr(_bound, "fields", {}).items()}
        if record.exc_info and record.exc_info[1] is not None:
            line |= {"error": type(record.exc_info[1]).__name__, "place": clean(place_of(record.exc_info[1]))}
        return json.dumps(line, ensure_ascii=False)


def setup_logging(level: int = logging.INFO) -> None:
    """Send everything of this process to standard error as JSON lines; what libraries chat about stays quiet."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for name in ("pika", "botocore", "boto3", "urllib3"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    # Skipping a message is how a duplicate ends: ordinary, and counted.
    logging.getLogger("dramatiq.worker.WorkerThread").setLevel(logging.ERROR)

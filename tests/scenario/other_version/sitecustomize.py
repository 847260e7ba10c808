"""Loaded by a process that should speak as another version: SPEAKS=before sends the least that version 1 ever was (no
trace) and reports nothing about the work in hand; SPEAKS=after adds fields that no version knows yet."""

import os

import tasks.messages as messages

_present = messages.JobMessage.to_wire


def _before(message: messages.JobMessage) -> dict[str, object]:
    payload = _present(message)
    del payload["trace"]
    return payload


def _after(message: messages.JobMessage) -> dict[str, object]:
    return {**_present(message), "not_after": 4_000_000_000, "hints": {"cost": [1, 2]}}


messages.JobMessage.to_wire = {"before": _before, "after": _after}[os.environ["SPEAKS"]]  # type: ignore[method-assign]

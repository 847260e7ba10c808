"""Bodies that somebody hostile, or a bug, could put into a queue: each with the reason code it must be refused with."""

import hmac
import json
from typing import Any

from tasks.lanes import Lane
from tasks.messages import JobMessage, SignedEncoder, envelope

KEYS = {"k1": b"a-secret-of-at-least-32-bytes-....", "k0": b"the-one-before-it-also-32-bytes-.."}


def fields(lane: Lane = Lane.SNAPSHOT, **changes: Any) -> dict[str, Any]:
    """A good envelope with changes; `...` removes a field."""
    good = envelope(lane, JobMessage(job=7, attempt=1, fence=2)).asdict()
    changed = {**good, "args": [], **changes}
    return {name: value for name, value in changed.items() if value is not ...}


def text(**changes: Any) -> str:
    """The JSON of a changed envelope."""
    return json.dumps(fields(**changes))


def payload(**changes: Any) -> str:
    """The JSON of an envelope whose payload is changed."""
    return text(kwargs={name: value for name, value in {**fields()["kwargs"], **changes}.items() if value is not ...})


def sign(body: str | bytes, key_id: str = "k1") -> bytes:
    """A valid signature over whatever this is."""
    data = body if isinstance(body, bytes) else body.encode("utf-8", "surrogatepass")
    signature = hmac.digest(KEYS[key_id], key_id.encode() + b":" + data, "sha256").hex()
    return f"{key_id}:{signature}:".encode() + data


GOOD = SignedEncoder(KEYS).encode(fields())

UNSIGNED: dict[str, tuple[bytes, str]] = {
    "null options": (text(options=None).encode(), "unsigned"),
    "list options": (text(options=[]).encode(), "unsigned"),
    "foreign queue": (text(queue_name="default").encode(), "unsigned"),
    "unknown actor": (text(actor_name="os.system").encode(), "unsigned"),
    "extra field": (text(extra=1).encode(), "unsigned"),
    "missing field": (text(kwargs=...).encode(), "unsigned"),
    "far eta": (text(options={"eta": 10**15}).encode(), "unsigned"),
    "null eta": (text(options={"eta": None}).encode(), "unsigned"),
    "max retries": (text(options={"max_retries": 10**9}).encode(), "unsigned"),
    "callback": (text(options={"on_success": "restore"}).encode(), "unsigned"),
    "not json": (b"{", "unsigned"),
    "empty": (b"", "unsigned"),
    "not utf-8": (b"\xff\xfe\x00", "unsigned"),
    "pickle": (b"\x80\x04\x95\x1e\x00\x00\x00cposix\nsystem\n", "unsigned"),
    "deep": (b"[" * 16_000, "unsigned"),
    "huge": (b"x" * 2_000_000, "too-large"),
    "a good body, changed": (GOOD.replace(b'"job":7', b'"job":8'), "bad-signature"),
    "a good body, other key": (GOOD.replace(b"k1:", b"k0:", 1), "bad-signature"),
    "a good body, unknown key": (GOOD.replace(b"k1:", b"k9:", 1), "unknown-key"),
    "a good body, cut": (GOOD[:-1], "bad-signature"),
    "a good body, upper case signature": (b"k1:" + GOOD[3:67].upper() + GOOD[67:], "bad-signature"),
    "signature not ascii": (b"k1:" + b"\xff" * 64 + b":{}", "bad-signature"),
}

SIGNED: dict[str, tuple[bytes, str]] = {
    "null options": (sign(text(options=None)), "wrong-type"),
    "list options": (sign(text(options=[])), "wrong-type"),
    "option eta": (sign(text(options={"eta": 10**15})), "options"),
    "option max_retries": (sign(text(options={"max_retries": 5})), "options"),
    "option time_limit": (sign(text(options={"time_limit": 1})), "options"),
    "option on_success": (sign(text(options={"on_success": "restore"})), "options"),
    "option pipe_target": (sign(text(options={"pipe_target": {}})), "options"),
    "option traceback": (sign(text(options={"traceback": "secret"})), "options"),
    "foreign queue": (sign(text(queue_name="default")), "unknown-queue"),
    "dead queue": (sign(text(queue_name="snapfleet.snapshot.v1.XQ")), "unknown-queue"),
    "delay queue": (sign(text(queue_name="snapfleet.snapshot.v1.DQ")), "unknown-queue"),
    "queue not a string": (sign(text(queue_name=["snapfleet.snapshot.v1"])), "wrong-type"),
    "actor of another lane": (sign(text(actor_name="restore")), "foreign-actor"),
    "actor not a string": (sign(text(actor_name={})), "wrong-type"),
    "unknown field": (sign(text(extra=1)), "unknown-field"),
    "missing field": (sign(text(message_id=...)), "missing-field"),
    "positional arguments": (sign(text(args=[1])), "args"),
    "args null": (sign(text(args=None)), "wrong-type"),
    "kwargs list": (sign(text(kwargs=[])), "wrong-type"),
    "message id a number": (sign(text(message_id=1)), "wrong-type"),
    "message id with a terminal escape": (sign(text(message_id="\x1b[2J")), "out-of-range"),
    "message id long": (sign(text(message_id="x" * 65)), "out-of-range"),
    "timestamp bool": (sign(text(message_timestamp=True)), "wrong-type"),
    "timestamp negative": (sign(text(message_timestamp=-1)), "out-of-range"),
    "timestamp float": (sign(text(message_timestamp=1.5)), "wrong-type"),
    "job missing": (sign(payload(job=...)), "missing-field"),
    "job bool": (sign(payload(job=True)), "wrong-type"),
    "job text": (sign(payload(job="7")), "wrong-type"),
    "job zero": (sign(payload(job=0)), "out-of-range"),
    "job negative": (sign(payload(job=-1)), "out-of-range"),
    "job beyond 64 bit": (sign(payload(job=2**63)), "out-of-range"),
    "fence negative": (sign(payload(fence=-1)), "out-of-range"),
    "attempt float": (sign(payload(attempt=1.0)), "wrong-type"),
    "version unknown": (sign(payload(v=2)), "unknown-version"),
    "version bool": (sign(payload(v=True)), "wrong-type"),
    "version missing": (sign(payload(v=...)), "missing-field"),
    "trace a number": (sign(payload(trace=1)), "wrong-type"),
    "trace with a line break": (sign(payload(trace="a\nb")), "out-of-range"),
    "trace long": (sign(payload(trace="x" * 129)), "out-of-range"),
    "trace a lone surrogate": (sign(payload(trace="\ud800")), "out-of-range"),
    "field twice": (sign(text().replace('"args"', '"queue_name": "x", "args"')), "duplicate-field"),
    "job twice": (sign(text().replace('"job"', '"job": 8, "job"')), "duplicate-field"),
    "nan": (sign(payload(job=float("nan"))), "not-json"),
    "infinity": (sign(payload(job=float("inf"))), "not-json"),
    "number of thousands of digits": (sign('{"job":' + "9" * 5000 + "}"), "not-json"),
    "raw surrogate bytes": (sign(text().replace("snapshot", "\ud800")), "not-json"),
    "not utf-8": (sign(b"\xff\xfe"), "not-json"),
    "empty": (sign(""), "not-json"),
    "a list": (sign("[]"), "wrong-type"),
    "null": (sign("null"), "wrong-type"),
    "trailing text": (sign(text() + "{}"), "not-json"),
    "deep": (sign("[" * 15_000), "too-deep"),
    "deep objects": (sign('{"a":' * 3_000), "too-deep"),
    "huge": (sign(payload(pad="x" * 17_000)), "too-large"),
}

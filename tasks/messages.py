"""The message between coordinator and workers, and the signature that says it came from the coordinator.

A message is a hint that a job may be runnable. It names the job and what the sender believed about it (attempt,
fence), and carries no authority: no target, no credential, no traceback. The body on the wire is

    <key id>:<64 hex digits of HMAC-SHA256>:<JSON envelope>

where the signature covers the key id and the exact bytes of the envelope. The envelope is dramatiq's, and exact: a
field more or less is refused. Inside `kwargs` (the payload) unknown fields are dropped, so a newer coordinator may
add some.

History of the payload: v1 (0.1.0): v, job, attempt, fence, trace.
"""

from __future__ import annotations

import hmac
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from os import urandom
from typing import Any, NamedTuple
from uuid import uuid4

from dramatiq import Encoder, Message
from dramatiq.errors import DecodeError

from tasks.clock import host_time
from tasks.lanes import Lane, lane_of, pool_of, queue_name

VERSION = 1
MAX_BODY_BYTES = 16 * 1024  # our messages are about 400 bytes; RabbitMQ itself accepts 20 MB and more
MAX_TRACE_CHARS = 128  # a W3C traceparent has 55
MAX_MESSAGE_ID_CHARS = 64  # a UUID has 36
MIN_SECRET_BYTES = 32  # the width of the hash; a shorter key would be the weakest part
_MAX_ID = 2**63 - 1  # the catalog's ids are 64-bit integers
_MAX_MILLIS = 2**53  # beyond it JSON numbers are no longer exact everywhere

_KEY_ID = re.compile(r"[A-Za-z0-9_.-]{1,32}\Z")
_SIGNATURE_CHARS = 64
_FIELDS = frozenset(("queue_name", "actor_name", "args", "kwargs", "options", "message_id", "message_timestamp"))


class MessageRefused(DecodeError):
    """A body or payload that is not ours. `reason` is a short stable code for metrics and the dead letter list; the
    text never quotes the body, because the body is hostile input. `signed` says whether a key of ours signed it
    nevertheless."""

    def __init__(self, reason: str, *, signed: bool = False) -> None:
        super().__init__(f"message refused: {reason}", b"", None)  # type: ignore[no-untyped-call]
        self.reason = reason
        self.signed = signed


@dataclass(slots=True, unsafe_hash=True)
class JobMessage:
    """Job `job` may be runnable; when this was written, `attempt` attempts were begun and its fence was `fence`.
    Nobody changes one; to make one of a frozen class takes three times as long.

    `trace` is a W3C traceparent or empty; it joins log lines and changes nothing. `pool` is the worker pool it is sent
    to: it chooses the queue, which the envelope names, and is no part of the payload.
    """

    job: int
    attempt: int
    fence: int
    v: int = VERSION
    trace: str = ""
    pool: str = field(default="", compare=False)

    def to_wire(self) -> dict[str, Any]:
        """The payload as JSON values."""
        return {"v": self.v, "job": self.job, "attempt": self.attempt, "fence": self.fence, "trace": self.trace}

    @classmethod
    def from_wire(cls, payload: Mapping[str, Any]) -> JobMessage:
        """Read a payload; unknown fields are ignored, `trace` may be missing.

        Raises MessageRefused with reason `unknown-version`, `missing-field`, `wrong-type` or `out-of-range`.
        """
        version = payload.get("v")
        if type(version) is not int:
            raise MessageRefused("missing-field" if version is None else "wrong-type")
        if version != VERSION:
            raise MessageRefused("unknown-version")
        trace = payload.get("trace", "")
        if type(trace) is not str:
            raise MessageRefused("wrong-type")
        if len(trace) > MAX_TRACE_CHARS or not (trace.isascii() and trace.isprintable()):
            raise MessageRefused("out-of-range")
        return cls(
            _whole(payload, "job", 1), _whole(payload, "attempt", 0), _whole(payload, "fence", 0), version, trace
        )


def _whole(payload: Mapping[str, Any], field: str, least: int) -> int:
    value = payload.get(field)
    if type(value) is not int:  # bool is an int to isinstance, and not to us
        raise MessageRefused("missing-field" if value is None else "wrong-type")
    if not least <= value <= _MAX_ID:
        raise MessageRefused("out-of-range")
    return value


def fields_of(lane: Lane, message: JobMessage) -> dict[str, Any]:
    """The fields of the dramatiq message for a lane and its pool; its id and timestamp are made here."""
    return {
        "queue_name": queue_name(lane, message.pool),
        "actor_name": lane.value,
        "args": [],
        "kwargs": message.to_wire(),
        "options": {},
        "message_id": str(uuid4()),
        "message_timestamp": int(host_time().timestamp() * 1000),  # for a reader of queues: nothing of ours asks
    }


def envelope(lane: Lane, message: JobMessage) -> Message[None]:
    """The same as dramatiq's message."""
    return Message(**{**fields_of(lane, message), "args": ()})


@lru_cache(maxsize=1024)
def _start(lane: Lane, pool: str) -> str:
    """The JSON of a message as far as it is the same for all of a lane and pool."""
    names = _dumps({"queue_name": queue_name(lane, pool), "actor_name": lane.value, "args": []})
    return f'{names[:-1]},"kwargs":{{"v":{VERSION},'


class Verdict(NamedTuple):
    """What `SignedEncoder.judge` says about a body. reason is None when the body is a valid message."""

    reason: str | None
    signed: bool
    queue: str | None
    job: int | None


class SignedEncoder(Encoder):
    """Signs what is sent and refuses what was not signed, or is not exactly one of our messages.

    keys  key id -> secret of at least 32 bytes, the first being the one that signs. All verify, so that keys can be
          changed without a stop: add the new one everywhere, then put it first, then remove the old one.

    Raises ValueError when a key id or a secret cannot be used. After that, `encode` and `decode` raise MessageRefused
    only.
    """

    def __init__(self, keys: Mapping[str, bytes]) -> None:
        if not keys:
            raise ValueError("at least one message key is needed; set one in the settings")
        for key_id, secret in keys.items():
            if not _KEY_ID.match(key_id):
                raise ValueError("a message key id has 1 to 32 letters, digits, '.', '_' or '-'")
            if len(secret) < MIN_SECRET_BYTES:
                raise ValueError(f"the secret of message key {key_id!r} is shorter than {MIN_SECRET_BYTES} bytes")
        self._secrets = {key_id.encode(): bytes(secret) for key_id, secret in keys.items()}
        self._key_id = next(iter(self._secrets))

    def __repr__(self) -> str:
        return f"SignedEncoder(key_ids={[key_id.decode() for key_id in self._secrets]})"

    def encode(self, data: Mapping[str, Any]) -> bytes:
        """Sign an envelope. `options.traceback`, dramatiq's copy of an exception, is dropped; every other option is
        refused."""
        fields = dict(data)
        options = fields.get("options")
        if isinstance(options, dict) and options.keys() == {"traceback"}:
            fields["options"] = {}
        if isinstance(fields.get("args"), tuple):
            fields["args"] = list(fields["args"])
        _check_envelope(fields)
        return self._signed(fields)

    def encode_job(self, lane: Lane, message: JobMessage) -> bytes:
        """Sign a message of ours: the same as `encode` of its envelope, whose shape needs no check.

        What differs from message to message is put between texts of JSON that do not: a third of the time that it takes
        to write all of it anew (measured 2026-11-23).
        """
        job, attempt, fence = message.job, message.attempt, message.fence
        usual = type(job) is type(attempt) is type(fence) is int and message.v == VERSION and not message.trace
        if not (usual and 1 <= job <= _MAX_ID and 0 <= attempt <= _MAX_ID and 0 <= fence <= _MAX_ID):
            return self._signed(fields_of(lane, message))
        stamp = int(host_time().timestamp() * 1000)
        return self._sign(
            f'{_start(lane, message.pool)}"job":{job},"attempt":{attempt},"fence":{fence},"trace":""}},"options":{{}},'
            f'"message_id":"{urandom(16).hex()}","message_timestamp":{stamp}}}'
        )

    def _signed(self, fields: Mapping[str, Any]) -> bytes:
        JobMessage.from_wire(fields["kwargs"])
        try:
            text = _dumps(fields)
        except (TypeError, ValueError, RecursionError):
            raise MessageRefused("not-json") from None
        return self._sign(text)

    def _sign(self, text: str) -> bytes:
        signed = self._key_id + b":" + text.encode("ascii")
        signature = hmac.digest(self._secrets[self._key_id], signed, "sha256").hex().encode("ascii")
        body = self._key_id + b":" + signature + signed[len(self._key_id) :]
        if len(body) > MAX_BODY_BYTES:
            raise MessageRefused("too-large")
        return body

    def decode(self, data: bytes) -> dict[str, Any]:
        """Verify and read a body into the fields of a dramatiq Message; the payload holds only the fields we know.

        The signature is checked before anything is parsed. Raises MessageRefused.
        """
        text = self._verified(data)
        try:
            fields = _check_envelope(_loads(text))
            fields["kwargs"] = JobMessage.from_wire(fields["kwargs"]).to_wire()
        except MessageRefused as refused:
            raise MessageRefused(refused.reason, signed=True) from None
        except RecursionError:
            raise MessageRefused("too-deep", signed=True) from None
        except ValueError:  # JSONDecodeError, UnicodeDecodeError, and integers of thousands of digits
            raise MessageRefused("not-json", signed=True) from None
        return fields

    def decode_message(self, data: bytes) -> Message[None]:
        """The body as a dramatiq message. Raises MessageRefused."""
        fields = self.decode(data)
        fields["args"] = ()
        return Message(**fields)

    def judge(self, data: bytes) -> Verdict:
        """Say why a body is refused, or that it is not; never raises. The job is named only when the signature is
        good."""
        try:
            fields = self.decode(data)
        except MessageRefused as refused:
            return Verdict(refused.reason, refused.signed, None, None)
        return Verdict(None, True, fields["queue_name"], fields["kwargs"]["job"])

    def _verified(self, data: bytes) -> bytes:
        if len(data) > MAX_BODY_BYTES:
            raise MessageRefused("too-large")
        key_id, first, rest = data.partition(b":")
        signature, second, text = rest.partition(b":")
        if not (first and second) or len(signature) != _SIGNATURE_CHARS:
            raise MessageRefused("unsigned")
        secret = self._secrets.get(key_id)
        if secret is None:
            raise MessageRefused("unknown-key")
        expected = hmac.digest(secret, key_id + b":" + text, "sha256").hex().encode("ascii")
        if not hmac.compare_digest(expected, signature):
            raise MessageRefused("bad-signature")
        return text


def _check_envelope(fields: Any) -> dict[str, Any]:
    """Raises MessageRefused unless `fields` is exactly one of our envelopes; the payload is checked by JobMessage."""
    if type(fields) is not dict:
        raise MessageRefused("wrong-type")
    if fields.keys() != _FIELDS:
        raise MessageRefused("missing-field" if _FIELDS - fields.keys() else "unknown-field")
    queue, actor, stamp = fields["queue_name"], fields["actor_name"], fields["message_timestamp"]
    message_id, options = fields["message_id"], fields["options"]
    if type(queue) is not str or type(actor) is not str or type(message_id) is not str or type(stamp) is not int:
        raise MessageRefused("wrong-type")
    if type(fields["args"]) is not list or type(fields["kwargs"]) is not dict or type(options) is not dict:
        raise MessageRefused("wrong-type")
    if options:
        raise MessageRefused("options")
    if fields["args"]:
        raise MessageRefused("args")
    lane = lane_of(queue)
    if lane is None or queue != queue_name(lane, pool_of(queue)):
        raise MessageRefused("unknown-queue")
    if actor != lane.value:
        raise MessageRefused("foreign-actor")
    if not (0 < len(message_id) <= MAX_MESSAGE_ID_CHARS and message_id.isascii() and message_id.isprintable()):
        raise MessageRefused("out-of-range")
    if not 0 <= stamp <= _MAX_MILLIS:
        raise MessageRefused("out-of-range")
    return fields


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Two readers of one text may choose different values for a repeated name, so a repeated name is refused."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise MessageRefused("duplicate-field")
    return found


def _no_constant(_: str) -> Any:
    raise MessageRefused("not-json")  # NaN and Infinity are Python's, not JSON's


_dumps = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode
_DECODER = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_no_constant)


def _loads(text: bytes) -> Any:
    return _DECODER.decode(text.decode("utf-8"))

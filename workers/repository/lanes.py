"""SHA-256 of many contents at once.

A core hashes one content step by step; Intel's Multi-Buffer library hashes sixteen side by side in the lanes of
AVX-512. Measured 2026-11-23, CPU seconds a GiB of blocks of 512 KiB on two cores: 0.25 for hashlib's 0.55, and a full
archive takes 15 % less time. Debian 12 has the library as libipsec-mb1. It is used in the version whose structures are
written down here, on processors with AVX-512, and after it has given the right digests; elsewhere hashlib does the
same, one content after the other.
"""

import ctypes
import hashlib
from collections.abc import Sequence
from functools import cache
from typing import Any

_SONAME = "libIPSec_MB.so.1"
# Structures and numbers differ from version to version: these are of intel-ipsec-mb.h 1.3.0.
_VERSION = 0x10300
_AVX512 = 5  # IMB_ARCH_AVX512
_NO_CIPHER, _ENCRYPT, _SHA_256, _HASH_FIRST, _COMPLETED = 3, 1, 15, 2, 3
_LANES = 16
# All lanes together take as long as hashlib for seven (2026-11-23, two cores of a Xeon of 2023).
_FEWEST = 8
_DIGEST_BYTES = 32
# The library's checked call refuses more than 64 KiB; its lanes take more, which a trial proves.
_TRIAL_BYTES = 128 << 10
# Managers of the library that nobody uses just now.
_IDLE: list["_Lanes"] = []


def at_once() -> int:
    """How many contents `digests` hashes in the time of a few: 1 where it has no lanes."""
    return 1 if _library() is None else _LANES


def digests(contents: Sequence[memoryview]) -> list[bytes]:
    """The SHA-256 of each content, in order. Fastest for `at_once()` writable ones of one length."""
    found: list[bytes] = []
    for start in range(0, len(contents), _LANES):
        found += _few(contents[start : start + _LANES])
    return found


def _few(contents: Sequence[memoryview]) -> list[bytes]:
    library = _library() if len(contents) >= _FEWEST else None
    if library is None or len({len(one) for one in contents}) > 1 or any(one.readonly for one in contents):
        return _one_by_one(contents)
    try:
        lanes = _IDLE.pop()
    except IndexError:
        lanes = _Lanes(library)
    found = lanes.digests(contents)
    if found is None:  # it is left as it is, and not used again
        return _one_by_one(contents)
    _IDLE.append(lanes)
    return found


def _one_by_one(contents: Sequence[memoryview]) -> list[bytes]:
    return [hashlib.sha256(one).digest() for one in contents]


@cache
def _library() -> ctypes.CDLL | None:
    """The library, where it is there and does here what it should."""
    try:
        library = ctypes.CDLL(_SONAME)
        library.imb_get_version.restype = ctypes.c_uint
        if library.imb_get_version() != _VERSION:
            return None
        library.alloc_mb_mgr.restype, library.alloc_mb_mgr.argtypes = ctypes.c_void_p, [ctypes.c_uint64]
        library.init_mb_mgr_auto.restype = None
        library.init_mb_mgr_auto.argtypes = [ctypes.c_void_p, ctypes.POINTER(ctypes.c_int)]
        lanes = _Lanes(library)
    except (OSError, AttributeError, MemoryError):
        return None
    trial = [memoryview(bytearray([number + 1]) * _TRIAL_BYTES) for number in range(_LANES)]
    right = _one_by_one(trial)
    for count in (_LANES, _FEWEST):
        if lanes.digests(trial[:count]) != right[:count]:
            return None
    _IDLE.append(lanes)
    return library


class _Job(ctypes.Structure):
    """IMB_JOB as far as a hash needs it."""

    _fields_ = (
        ("keys", ctypes.c_void_p * 3),
        ("source", ctypes.c_void_p),
        ("result", ctypes.c_void_p),
        ("cipher_range", ctypes.c_uint64 * 2),
        ("start", ctypes.c_uint64),
        ("length", ctypes.c_uint64),
        ("vector", ctypes.c_uint64 * 2),
        ("digest", ctypes.c_void_p),
        ("digest_bytes", ctypes.c_uint64),
        ("parameters", ctypes.c_uint64 * 3),
        ("status", ctypes.c_int),
        ("cipher", ctypes.c_int),
        ("direction", ctypes.c_int),
        ("hash", ctypes.c_int),
        ("order", ctypes.c_int),
    )


class _Manager(ctypes.Structure):
    """How IMB_MGR begins."""

    _fields_ = (
        ("flags", ctypes.c_uint64),
        ("features", ctypes.c_uint64),
        ("reserved", ctypes.c_uint64 * 5),
        ("architecture", ctypes.c_uint32),
        ("error", ctypes.c_int),
        ("next_job", ctypes.c_void_p),
        ("submit", ctypes.c_void_p),
        ("submit_unchecked", ctypes.c_void_p),
        ("completed", ctypes.c_void_p),
        ("flush", ctypes.c_void_p),
    )


# The same function as two: calls that take a microsecond keep the interpreter's lock, those that hash give it back.
_BRIEF = ctypes.PYFUNCTYPE(ctypes.POINTER(_Job), ctypes.c_void_p)
_LONG = ctypes.CFUNCTYPE(ctypes.POINTER(_Job), ctypes.c_void_p)


class _Lanes:
    """One manager of the library, for one thread at a time. Raises OSError on a processor without AVX-512."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self._at = library.alloc_mb_mgr(0)
        if not self._at:
            raise MemoryError("no memory for a manager of libIPSec_MB")
        library.init_mb_mgr_auto(self._at, None)
        manager = _Manager.from_address(self._at)
        if manager.architecture != _AVX512:
            raise OSError("this processor has no AVX-512")
        self._next_job = _BRIEF(manager.next_job)
        self._submit, self._submit_last = _BRIEF(manager.submit_unchecked), _LONG(manager.submit_unchecked)
        self._flush, self._flush_first = _BRIEF(manager.flush), _LONG(manager.flush)
        self._digests = [(ctypes.c_char * _DIGEST_BYTES)() for _ in range(_LANES)]

    def digests(self, contents: Sequence[memoryview]) -> list[bytes] | None:
        """The digests of up to sixteen writable contents of one length; None when the library does not say of each
        that it is done. They are hashed when all lanes are taken, or when the first is asked for."""
        held, done = [], 0
        for content, digest in zip(contents, self._digests, strict=False):
            held.append(self._prepare(content, digest))
            done += _done((self._submit_last if len(held) == _LANES else self._submit)(self._at))
        if len(held) < _LANES:
            done += _done(self._flush_first(self._at))
        while job := self._flush(self._at):
            done += _done(job)
        return [digest.raw for digest in self._digests[: len(held)]] if done == len(held) else None

    def _prepare(self, content: memoryview, digest: Any) -> Any:
        """Fill in the next job; what must live as long as it is not done."""
        memory = (ctypes.c_char * len(content)).from_buffer(content)
        job = self._next_job(self._at).contents
        job.source, job.start, job.length = ctypes.addressof(memory), 0, len(content)
        job.digest, job.digest_bytes = ctypes.addressof(digest), _DIGEST_BYTES
        job.cipher, job.direction, job.hash, job.order = _NO_CIPHER, _ENCRYPT, _SHA_256, _HASH_FIRST
        job.status = 0
        return memory


def _done(job: Any) -> bool:
    """Whether a call gave a job back, and that was done."""
    return bool(job) and job.contents.status == _COMPLETED

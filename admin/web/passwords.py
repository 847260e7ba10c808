"""Passwords as argon2id hashes, checked a few at a time.

Each check takes 64 MiB and some 0.2 s of a core (argon2-cffi's defaults, RFC 9106's second choice), so a flood of
logins would take the host's memory: only a few are checked at once, and the others are sent away.
"""

import threading

from argon2 import PasswordHasher
from argon2.exceptions import Argon2Error, InvalidHashError

from tasks.errors import Invalid, Unavailable

AT_ONCE = 2
WAIT_SECONDS = 2.0
# Shorter ones are guessed; longer ones only cost time to hash.
SHORTEST, LONGEST = 12, 256

_hasher = PasswordHasher()
_slots = threading.BoundedSemaphore(AT_ONCE)
# Checked for users that do not exist, so that the answer takes the same time for them.
_NOBODY = "$argon2id$v=19$m=65536,t=3,p=4$c25hcGZsZWV0LW5vYm9keQ$5e5XPzb6CiRz0GqP3bBcbvAF7VgBFVhZqM2yQvoL5Pk"


def hash_password(password: str) -> str:
    """The hash that User rows keep. Raises Invalid for a password that is too short or too long."""
    if not SHORTEST <= len(password) <= LONGEST:
        raise Invalid(f"A password has {SHORTEST} to {LONGEST} characters.", code="password-length")
    return _hasher.hash(password)


def verify_password(hashed: str | None, password: str) -> bool:
    """Whether the password belongs to the hash; None (no such user) takes as long and is False.

    Raises Unavailable when too many others are being checked.
    """
    if not _slots.acquire(timeout=WAIT_SECONDS):
        raise Unavailable("Too many logins at once; try again in a moment.", code="login-busy")
    try:
        return _hasher.verify(hashed or _NOBODY, password[:LONGEST]) and hashed is not None
    except (Argon2Error, InvalidHashError):
        return False
    finally:
        _slots.release()

"""Secrets: a value whose repr hides it, and the envelope in which the catalog keeps one.

Envelope encryption: every value is sealed with a fresh data key (AES-256-GCM); the data key is wrapped by the master
key, which lives outside the database: in a key file, or in a KMS or vault that a command asks. The place of the value
(table, column, row) is authenticated with it, so that a sealed value moved to another row does not open.
"""

import base64
import json
import os
import secrets
import shlex
import subprocess
from pathlib import Path
from typing import Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from tasks.errors import Invalid

_NONCE_BYTES = 12  # the size AES-GCM is specified for
_KEY_BYTES = 32
_COMMAND_SECONDS = 30  # a KMS answers within a second; a person is not asked


class Secret:
    """A text that is never shown: str() and repr() hide it, `reveal()` is the only way out."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The text itself; call it at the last moment and pass it nowhere else."""
        return self._value

    def __bool__(self) -> bool:
        return bool(self._value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and secrets.compare_digest(self._value.encode(), other._value.encode())

    def __hash__(self) -> int:
        return hash((Secret, self._value))

    def __repr__(self) -> str:
        return "Secret('…')" if self._value else "Secret('')"

    __str__ = __repr__


class KeyWrapper(Protocol):
    """Wraps data keys: the port behind which a key file or a KMS stands."""

    key_id: str

    def wrap(self, data_key: bytes, context: bytes) -> bytes:
        """The data key, sealed for this context."""

    def unwrap(self, wrapped: bytes, context: bytes) -> bytes:
        """The data key again. Raises Invalid when key or context do not fit."""


class MasterKey:
    """A 32-byte key from a file that only its owner may read."""

    def __init__(self, key: bytes) -> None:
        if len(key) != _KEY_BYTES:
            raise Invalid("A master key has 32 bytes.", advice="Write one with `snapfleet init`.")
        self._key = key
        self.key_id = self.derive(b"key id").hex()[:8]

    @classmethod
    def load(cls, path: Path) -> "MasterKey":
        """Read the key file (base64 text). Raises Invalid naming the file when it is missing or malformed."""
        try:
            return cls(base64.b64decode(path.read_text().strip(), validate=True))
        except FileNotFoundError:
            raise Invalid(f"There is no key file {path}.", advice="Run `snapfleet init` first.") from None
        except ValueError:
            raise Invalid(f"The key file {path} is not a base64 key.") from None

    @classmethod
    def create(cls, path: Path) -> "MasterKey":
        """Make a key file with mode 0600; an existing one is kept and read."""
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        text = base64.b64encode(secrets.token_bytes(_KEY_BYTES)).decode() + "\n"
        try:
            descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        except FileExistsError:
            return cls.load(path)
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        return cls.load(path)

    @classmethod
    def from_command(cls, command: str) -> "MasterKey":
        """The key that a command prints as base64: how a KMS or a vault that holds it is asked.

        The command is run without a shell. Raises Invalid when it fails, takes too long or prints something else; what
        it printed is never repeated.
        """
        try:
            done = subprocess.run(shlex.split(command), capture_output=True, timeout=_COMMAND_SECONDS, check=False)
        except (OSError, ValueError, subprocess.TimeoutExpired) as error:
            raise Invalid(f"The key command could not be run ({type(error).__name__}).") from None
        if done.returncode:
            raise Invalid(f"The key command ended with {done.returncode}.", advice="Run it by hand to see why.")
        try:
            return cls(base64.b64decode(done.stdout.strip(), validate=True))
        except ValueError:
            raise Invalid("The key command did not print a base64 key.") from None

    def derive(self, purpose: bytes) -> bytes:
        """A 32-byte key for one purpose (message signatures, cookies), by HKDF-SHA256."""
        return HKDF(algorithm=hashes.SHA256(), length=_KEY_BYTES, salt=None, info=purpose).derive(self._key)

    def wrap(self, data_key: bytes, context: bytes) -> bytes:
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return nonce + AESGCM(self._key).encrypt(nonce, data_key, context)

    def unwrap(self, wrapped: bytes, context: bytes) -> bytes:
        try:
            return AESGCM(self._key).decrypt(wrapped[:_NONCE_BYTES], wrapped[_NONCE_BYTES:], context)
        except (InvalidTag, ValueError):  # ValueError: a nonce of the wrong length
            raise Invalid(
                "A secret in the catalog does not open with this key.",
                advice="Use the key file that belongs to this catalog.",
            ) from None


def seal(wrapper: KeyWrapper, secret: Secret, place: str) -> str:
    """The secret as text for the catalog; `place` names its table, column and row. '' stays ''."""
    if not secret:
        return ""
    data_key, nonce, context = secrets.token_bytes(_KEY_BYTES), secrets.token_bytes(_NONCE_BYTES), place.encode()
    body = AESGCM(data_key).encrypt(nonce, secret.reveal().encode(), context)
    parts = {"k": wrapper.wrap(data_key, context), "n": nonce, "c": body}
    return json.dumps(
        {"v": 1, "id": wrapper.key_id, **{name: base64.b64encode(part).decode() for name, part in parts.items()}}
    )


def unseal(wrapper: KeyWrapper, sealed: str, place: str) -> Secret:
    """Open what `seal` wrote for the same place. Raises Invalid when key, place or text do not fit."""
    if not sealed:
        return Secret("")
    try:
        parts = json.loads(sealed)
        wrapped, nonce, body = (base64.b64decode(parts[name]) for name in "knc")
    except (ValueError, KeyError, TypeError):
        raise Invalid("A sealed secret in the catalog is malformed.") from None
    context = place.encode()
    try:
        plain = AESGCM(wrapper.unwrap(wrapped, context)).decrypt(nonce, body, context)
    except InvalidTag:
        raise Invalid("A sealed secret in the catalog was moved or changed.") from None
    return Secret(plain.decode())

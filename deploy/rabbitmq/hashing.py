"""RabbitMQ's password hash."""

import base64
import hashlib
import secrets


def hashed(password: str) -> str:
    """As definitions hold it: base64 of 4 bytes of salt and SHA-256 of salt and password (RabbitMQ's guide on
    passwords, algorithm rabbit_password_hashing_sha256)."""
    salt = secrets.token_bytes(4)
    return base64.b64encode(salt + hashlib.sha256(salt + password.encode()).digest()).decode()

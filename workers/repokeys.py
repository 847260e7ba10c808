"""The keys that open repositories, unsealed here and nowhere else: a passphrase, a key file, or a key in AWS KMS.

The estate names one of the three; a wish that adds, exchanges or creates brings another, sealed for its way. None of
them reaches a message, log, result or exception.
"""

import binascii
from collections.abc import Callable, Collection, Mapping
from typing import Any

from tasks.errors import Invalid
from tasks.secrets import Secret, seal, unseal
from workers import driver
from workers.blocks import Blocks
from workers.context import Context
from workers.repository.keys import PUT_BACK, Key, KeyFile, Passphrase, ServiceKey

# How a wish calls each kind of key, and the field of the estate file that names it.
FIELDS = {"passphrase": "key", "file": "key_file", "kms": "kms_key"}
# How slots call each kind of key, what it is, and the option that names it.
_WAYS = {
    "passphrase": ("a passphrase", "--key env:NAME"),
    "file": ("a key file", "--key-file PATH"),
    "service": ("a key of AWS KMS that the repository's account may use", "--kms-key ARN"),
}
# Access to AWS, asked for only where a key lies there.
Aws = Callable[[], Blocks]


def estate_key(
    context: Context, name: str, spec: Mapping[str, Any], sealed: str, account: driver.Account, blocks: Aws
) -> Key:
    """The key by which the estate opens a repository. Raises Invalid when it has none."""
    if spec.get("kms_key"):
        return service_key(blocks(), account, spec["region"], spec["kms_key"])
    field = "key_file" if spec.get("key_file") else "key"
    secret = unseal(context.keys, sealed, f"repository.{field}.{name}")
    if not secret:
        advice = "Give it `key: env:NAME`, `key_file` or `kms_key` in the estate file."
        raise Invalid(f"The repository {name!r} has no key.", advice=advice)
    return _local(field, secret)


def given_key(
    context: Context, name: str, wish: Mapping[str, Any], account: driver.Account, region: str, blocks: Aws
) -> Key:
    """The key that a wish brings: `how`, with `kms_key` or `key_sealed`. Raises Invalid."""
    if wish["how"] == "kms":
        return service_key(blocks(), account, region, wish["kms_key"])
    return _local(FIELDS[wish["how"]], unseal(context.keys, wish["key_sealed"], f"repository.slot.{name}"))


def columns_of(context: Context, name: str, spec: Mapping[str, Any], wish: Mapping[str, Any]) -> dict[str, Any]:
    """A repository's columns once workers open it by what a wish brought: the estate's own words and the sealed key."""
    field = FIELDS[wish["how"]]
    kept = {key: value for key, value in spec.items() if key not in FIELDS.values()}
    sealed = ""
    if wish["how"] != "kms":
        secret = unseal(context.keys, wish["key_sealed"], f"repository.slot.{name}")
        sealed = seal(context.keys, secret, f"repository.{field}.{name}")
    return {"spec": {**kept, field: wish["reference"]}, "key_sealed": sealed}


def ways_in(kinds: Collection[str]) -> str:
    """What opens a repository with slots of these kinds, as the next step for an operator."""
    known = [_WAYS[kind] for kind in sorted(set(kinds)) if kind in _WAYS]
    if not known:
        return f"None of its key slots can be read. {PUT_BACK}"
    return f"It opens by {' or '.join(f'{what} ({option})' for what, option in known)}."


def service_key(blocks: Blocks, account: driver.Account, region: str, arn: str) -> ServiceKey:
    """A key of AWS KMS, asked for in the region that its ARN names, as the repository's account."""
    words = arn.split(":")
    return ServiceKey(blocks.key_service(account, words[3] if len(words) > 3 and words[3] else region, arn))


def _local(field: str, secret: Secret) -> Key:
    if field == "key":
        return Passphrase(secret.reveal())
    try:
        return KeyFile(binascii.unhexlify(secret.reveal()))
    except ValueError:
        raise Invalid("A key file holds at least 32 random bytes.") from None

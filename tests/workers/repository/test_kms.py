"""A repository's master key under a key of AWS KMS, as moto has it."""

from typing import Any

import boto3
import pytest

from workers.repository.errors import StoreUnavailable, WrongKey
from workers.repository.keys import Passphrase, ServiceKey, kinds
from workers.repository.kms import Kms
from workers.repository.memory import MemoryStore
from workers.repository.repository import create, open_repository

HOME = "us-east-1"


def test_a_key_in_kms_opens_a_repository_and_one_that_is_not_there_opens_nothing(
    moto_endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """feature 82: the master key is wrapped under a key that never leaves KMS, bound to its repository and slot."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    client: Any = boto3.client("kms", region_name=HOME, endpoint_url=moto_endpoint)
    arn = client.create_key()["KeyMetadata"]["Arn"]
    store = MemoryStore()
    create(store, ServiceKey(Kms(client, arn)))
    assert list(kinds(store).values()) == ["service"]
    open_repository(store, ServiceKey(Kms(client)))
    other = MemoryStore()
    create(other, Passphrase("x")).add_key(ServiceKey(Kms(client, arn)))
    wrapped = next(one.name for one in store.list("keys/"))
    slot = next(name for name, kind in kinds(other).items() if kind == "service")
    other.put(f"keys/{slot}", store.get(wrapped)[0])
    with pytest.raises(WrongKey):
        open_repository(other, ServiceKey(Kms(client)))
    with pytest.raises(PermissionError):
        Kms(client, "arn:aws:kms:us-east-1:123456789012:key/gone").encrypt(b"x", {})
    dead: Any = boto3.client("kms", region_name=HOME, endpoint_url="http://127.0.0.1:9")
    with pytest.raises(StoreUnavailable):
        Kms(dead, arn).encrypt(b"x", {})

"""What is changed inside moto 5.2.5 itself, because it is reached through moto's own answers."""

from typing import Any

from deploy.sandbox import s3_moto

# "AWS managed keys" (KMS developer guide): services whose key moto does not know
MORE_MANAGED_KEYS = {
    "alias/aws/backup": "5ce3b8a6-3f0b-4a4e-9f0c-2d6a51c6be01",
    "alias/aws/fsx": "c2b8e0d4-7c0f-4a0e-8a3b-6f3f0b1d7e02",
}


def apply() -> None:
    """Correct moto once for the process."""
    _fast_tags()
    _keys_by_any_name()
    _managed_keys()
    s3_moto.apply()


def _fast_tags() -> None:
    """Look a resource's tags up by its id; moto scans every tag of the region with a regular expression."""
    from moto.ec2.models.core import TaggedEC2Resource
    from moto.ec2.utils import EC2_PREFIX_TO_RESOURCE, get_prefix

    def get_tags(self: Any) -> list[dict[str, str]]:
        held = self.ec2_backend.tags.get(self.id) or {}
        kind = EC2_PREFIX_TO_RESOURCE.get(get_prefix(self.id), "") if held else ""
        return [{"resource_id": self.id, "key": k, "value": v, "resource_type": kind} for k, v in list(held.items())]

    TaggedEC2Resource.get_tags = get_tags


def _keys_by_any_name() -> None:
    """DisableKey and EnableKey take a key's ARN as well as its id (KMS API reference)."""
    from moto.kms.models import KmsBackend

    for name in ("disable_key", "enable_key"):
        original = getattr(KmsBackend, name)

        def by_any_name(self: Any, key_id: str, _original: Any = original) -> None:
            _original(self, self.any_id_to_key_id(key_id))

        setattr(KmsBackend, name, by_any_name)


def _managed_keys() -> None:
    """Keys behind `alias/aws/...` are AWS's, and DescribeKey says so (KeyManager, KMS API reference)."""
    from moto.kms import utils
    from moto.kms.models import KmsBackend

    for alias, key in MORE_MANAGED_KEYS.items():
        if alias not in utils.RESERVED_ALIASES:
            utils.RESERVED_ALIASE_TARGET_KEY_IDS[alias] = key
            utils.RESERVED_ALIASES.append(alias)

    original = KmsBackend._generate_default_keys

    def generate(self: Any, alias_name: str) -> str | None:
        key_id = original(self, alias_name)
        if key_id is not None:
            self.keys[key_id].key_manager = "AWS"
        return key_id

    KmsBackend._generate_default_keys = generate

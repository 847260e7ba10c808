"""What an estate file says about Azure: secrets of storage, tiers, restore points (feature 3, feature 5)."""

import pytest
import yaml

from admin.estate import read_estate
from admin.estate_yaml import EstateRefused

pytestmark = pytest.mark.unit

SUBSCRIPTION = "00000000-0000-0000-0000-000000000001"


def estate(url: str = "azure://acct/c/p", block: object = None, **target: object) -> str:
    account = {"name": "az", "cloud": "azure", "subscription_id": SUBSCRIPTION, "regions": ["westeurope"]}
    place = {"name": "cold", "account": "az", "url": url, "region": "westeurope", "key": "env:K"}
    wanted = {"tag": {"a": "b"}, "types": ["azure-vm"], "accounts": ["az"], **target}
    policy = {"name": "p", "targets": [wanted], "generations": 3}
    if block is not None:
        policy["repository"] = {"name": "cold", **block}  # type: ignore[dict-item]
    return yaml.safe_dump(
        {
            "version": 1,
            "accounts": [{**account, "storage_secret": "env:S"}],
            "repositories": [place],
            "policies": [policy],
        }
    )


def refused(text: str) -> str:
    with pytest.raises(EstateRefused) as caught:
        read_estate(text, "e.yaml")
    return "\n".join(caught.value.lines())


def test_a_machine_may_go_to_a_repository_in_azure_blob_and_from_there_to_its_archive_tier() -> None:
    read = read_estate(estate(block={"class": "cool", "archive": {"after": "30d", "class": "archive", "keep": "400d"}}))
    assert read.policies["p"]["repository"]["class"] == "cool"
    assert read.accounts["az"]["storage_secret"] == "env:S"


@pytest.mark.parametrize(
    ("url", "block", "words"),
    [
        ("azure://acct/c/p", {"class": "standard-ia"}, "is no class of azure://acct/c/p"),
        ("s3://b/p", {"class": "cool"}, "is no class of s3://b/p"),
        ("azure://acct/c/p", {"archive": {"after": "30d", "class": "glacier"}}, "archive is for azure:// repositories"),
        ("azure://acct/c/p", {"archive": {"after": "30d", "class": "archive", "keep": "60d"}}, "bills 180 days"),
    ],
)
def test_a_class_that_the_store_does_not_have_is_refused(url: str, block: dict[str, object], words: str) -> None:
    assert words in refused(estate(url, block))


def test_restore_points_are_accepted_where_they_stay_and_refused_where_they_would_go_elsewhere() -> None:
    options = {"options": {"consistency": "application"}}
    assert read_estate(estate(**options)).policies["p"]["targets"][0]["options"] == {"consistency": "application"}
    assert "restore points, which go nowhere else" in refused(estate(block={}, **options))
    assert "consistency" in refused(estate(options={"consistency": "perfect"}))


def test_the_secret_of_storage_is_for_azure_accounts_and_never_in_the_file() -> None:
    assert "storage_secret" in refused(estate().replace("env:S", "c2VjcmV0"))
    aws = "version: 1\naccounts:\n  - {name: a, regions: [us-east-1], storage_secret: 'env:S'}\n"
    assert "is for azure accounts" in refused(aws)


def test_a_repository_in_azure_blob_is_opened_by_no_key_of_aws() -> None:
    key = "arn:aws:kms:us-east-1:111111111111:key/00000000-0000-0000-0000-000000000000"
    assert "a key of AWS" in refused(estate().replace("key: env:K", f"kms_key: {key}"))

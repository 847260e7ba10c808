"""`snapfleet iam`: least-privilege policies for what an account is used for, and a template for CloudFormation."""

import json
from pathlib import Path

import pytest
import yaml
from cfnlint.api import lint

from admin.cli.tables import TEMPLATE
from admin.iam import needed_by, template, used_by
from tasks.catalog import Account, Meta, Policy, Repository, transaction
from tasks.resources.rights import is_read
from tests.admin.catalogue import AT
from tests.admin.cli.conftest import Cli

pytestmark = pytest.mark.unit
ROLE = "arn:aws:iam::111111111111:role/snapfleet"
KMS = "arn:aws:kms:us-east-1:111111111111:key/12345678-1234-1234-1234-123456789012"


@pytest.fixture
def estate(cli: Cli) -> Cli:
    """prod is backed up and vault takes copies."""
    with transaction():
        Account.create(name="prod", role_arn=ROLE, regions=["us-east-1"])
        Account.create(name="vault", kind="dr", regions=["us-east-1"])
        Account.create(name="idle", regions=["us-east-1"])
        blue = {"subscription_id": "00000000-0000-0000-0000-000000000001"}
        Account.create(name="blue", cloud="azure", regions=["westeurope"], settings=blue)
        volumes = {"targets": [{"type": "volume", "id": "vol-1", "account": "prod", "region": "us-east-1"}]}
        _policy("disks", {**volumes, "dr": [{"account": "vault", "region": "eu-west-1"}]})
        _policy("tables", {"targets": [{"tag": {"a": "b"}, "types": ["dynamodb"], "accounts": ["prod"]}]})
    return cli


def _policy(name: str, spec: dict) -> None:
    Policy.create(name=name, spec=spec, created_at=AT, changed_at=AT)


def _actions(cli: Cli, *words: str) -> set[str]:
    found = cli("iam", "policy", *words, "-o", "json").json
    return {action for one in found for part in one["policy"]["Statement"] for action in part["Action"]}


def test_only_the_types_of_the_accounts_policies_are_allowed(estate: Cli) -> None:
    """Feature 75: copies need their types where they arrive."""
    changing = {one for one in _actions(estate, "vault") if not is_read(one)}
    assert {one.split(":")[0] for one in changing} == {"ec2", "kms", "iam"}
    assert "fsx:DescribeFileSystems" in _actions(estate, "vault", "--role", "snapshot")  # discovery looks at everything
    assert "dynamodb:CreateBackup" in _actions(estate, "prod")
    assert "ec2:RunInstances" not in _actions(estate, "prod")
    assert "ec2:RunInstances" in _actions(estate, "prod", "--all")


def test_discovery_of_buckets_lists_no_keys_where_no_policy_keeps_any(estate: Cli) -> None:
    """Feature 75: and whoever copies into its own bucket is an account that a policy uses."""
    mine = _actions(estate, "prod", "--role", "snapshot")
    assert {one for one in mine if one.startswith("s3:")} == {
        "s3:ListAllMyBuckets", "s3:GetBucketTagging", "s3:GetBucketVersioning", "s3:GetEncryptionConfiguration"
    }  # fmt: skip
    kept = {"type": "s3", "id": "data", "account": "prod", "region": "us-east-1"}
    with transaction():
        _policy("buckets", {"targets": [{**kept, "options": {"bucket": "safe", "account": "vault"}}]})
    assert {"s3:ListBucket", "s3:PutObject"} <= _actions(estate, "vault", "--role", "snapshot")


def test_a_tag_alone_means_no_type_that_needs_an_option(estate: Cli) -> None:
    with transaction():
        _policy("all", {"targets": [{"tag": {"a": "b"}, "accounts": ["idle"]}]})
    mine = _actions(estate, "idle", "--role", "snapshot")
    assert "redshift:CreateClusterSnapshot" in mine
    assert "s3:PutObject" not in mine


def test_blocks_are_read_only_where_a_policy_archives(estate: Cli) -> None:
    assert "ebs:GetSnapshotBlock" not in _actions(estate, "prod")
    with transaction():
        spec = Policy.get(Policy.name == "disks").spec
        Policy.update(spec={**spec, "repository": {"name": "cold"}}).where(Policy.name == "disks").execute()
    assert "ebs:GetSnapshotBlock" in _actions(estate, "prod", "--role", "snapshot")
    assert "ebs:StartSnapshot" in _actions(estate, "prod", "--role", "restore")


def test_the_account_of_a_repository_is_allowed_what_that_needs_in_its_bucket_and_nowhere_else(estate: Cli) -> None:
    """Feature 75, feature C20: locks can be read, so that what is locked is seen; also where no policy uses it."""
    assert estate("iam", "policy", "idle").code == 2
    where = {"account": "idle", "region": "us-east-1", "url": "s3://safe/some/cold"}
    with transaction():
        Repository.create(name="cold", spec={**where, "kms_key": KMS}, created_at=AT)
        Repository.create(name="held", spec={**where, "url": "s3://locked", "lock": "30d"}, created_at=AT)
    found = {one["name"]: one for one in estate("iam", "policy", "idle", "-o", "json").json}
    assert found["snapfleet-repositories"]["role"] == "snapshot"
    allowed = {one["Resource"][0]: one["Action"] for one in found["snapfleet-repositories"]["policy"]["Statement"]}
    assert set(allowed) == {
        "arn:aws:s3:::safe", "arn:aws:s3:::safe/some/cold/*", KMS, "arn:aws:s3:::locked", "arn:aws:s3:::locked/*"
    }  # fmt: skip
    for arn in ("arn:aws:s3:::safe/some/cold/*", "arn:aws:s3:::locked/*"):
        assert {"s3:GetObjectRetention", "s3:GetObjectLegalHold", "s3:DeleteObjectVersion"} <= set(allowed[arn])
        assert ("s3:PutObjectRetention" in allowed[arn]) == ("locked" in arn)
    assert "snapfleet-repositories" not in {one["name"] for one in estate("iam", "policy", "prod", "-o", "json").json}
    assert needed_by("idle")["snapshot"] >= {"s3:GetObjectLegalHold", "kms:Decrypt"}


def test_each_role_can_be_asked_for_alone_and_deletes_only_what_is_ours(estate: Cli) -> None:
    policy = json.loads(estate("iam", "policy", "prod", "--role", "cleanup").out)
    (deleting,) = [one for one in policy["Statement"] if "ec2:DeleteSnapshot" in one["Action"]]
    with transaction():
        installation = Meta.get_by_id("installation").value
    assert deleting["Condition"] == {"StringLike": {"aws:ResourceTag/snapfleet:installation": installation}}
    assert deleting["Resource"] == ["arn:aws:ec2:*::snapshot/*"]
    assert all("Create" not in action or action == "ec2:CreateTags" for action in _actions(
        estate, "prod", "--role", "cleanup"))  # fmt: skip


def test_names_of_what_is_launched_are_of_the_account_itself(estate: Cli) -> None:
    text = estate("iam", "policy", "prod", "--role", "restore").out
    assert "arn:aws:ec2:*:111111111111:volume/*" in text


@pytest.mark.parametrize(("words", "why"), [
    (("nobody",), "There is no account 'nobody'"),
    (("idle",), "No policy uses the account idle"),
])  # fmt: skip
def test_what_has_no_policy_is_refused_with_the_reason(estate: Cli, words: tuple[str, ...], why: str) -> None:
    said = estate("iam", "policy", *words, "-o", "json")
    assert (said.code, why in said.error["text"]) == (2, True)


def test_an_account_of_azure_gets_custom_roles(estate: Cli) -> None:
    """Feature 75: for Azure too, and for its own types alone."""
    with transaction():
        _policy("machines", {"targets": [{"tag": {"a": "b"}, "accounts": ["blue"]}]})
    found = {one["role"]: one["policy"] for one in estate("iam", "policy", "blue", "-o", "json").json}
    assert "Microsoft.Compute/snapshots/delete" in found["cleanup"]["Actions"]
    assert not any(action.endswith("/delete") for action in found["snapshot"]["Actions"] + found["restore"]["Actions"])
    assert found["restore"]["AssignableScopes"] == ["/subscriptions/00000000-0000-0000-0000-000000000001"]


def test_an_account_of_china_gets_names_of_its_own_partition(estate: Cli) -> None:
    with transaction():
        Account.update(role_arn=ROLE.replace("aws:", "aws-cn:")).where(Account.name == "prod").execute()
    text = estate("iam", "policy", "prod", "--role", "cleanup").out
    assert "arn:aws-cn:ec2" in text
    assert "arn:aws:" not in text


def test_a_target_that_names_no_account_is_in_each_that_is_backed_up() -> None:
    spec = {"targets": [{"tag": {"a": "b"}, "types": ["efs", "azure-vm"]}]}
    assert used_by("any", "backup", [spec]) == ({"efs", "azure-vm"}, False)
    assert used_by("any", "dr", [spec]) == (set(), False)


@pytest.mark.long
def test_cloudformation_takes_the_template(tmp_path: Path) -> None:
    """Feature 75: cfn-lint knows the resource types' schemas and AWS's list of actions."""
    assert [str(one) for one in lint(TEMPLATE.read_text())] == []
    broken = template()
    broken["Resources"]["CleanupRole"]["Properties"]["Nonsense"] = 1
    assert lint(yaml.safe_dump(broken))


def test_the_printed_template_is_for_this_installation_and_hides_the_external_id(cli: Cli) -> None:
    printed = cli("iam", "template").out
    made = yaml.safe_load(printed)
    with transaction():
        assert made["Parameters"]["Installation"]["Default"] == Meta.get_by_id("installation").value
    assert made["Parameters"]["ExternalId"]["NoEcho"] is True
    assert "Default" not in made["Parameters"]["ExternalId"]
    trusts = [one["Properties"]["AssumeRolePolicyDocument"]["Statement"][0] for one in made["Resources"].values()
              if one["Type"] == "AWS::IAM::Role"]  # fmt: skip
    assert len(trusts) == 3
    assert all(one["Condition"] == {"StringEquals": {"sts:ExternalId": {"Ref": "ExternalId"}}} for one in trusts)
    assert cli("iam", "template", "-o", "json").json == made


def test_iam_alone_says_what_it_can(cli: Cli) -> None:
    assert "snapfleet iam policy ACCOUNT" in cli("iam").out

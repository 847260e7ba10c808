"""The rights that roles need: least, split by duty, and such that AWS knows every one of them.

AWS's service authorization reference comes with cfn-lint, which checks policies by it.
"""

import json
import re
from functools import cache
from importlib.resources import files
from typing import Any

import pytest

from tasks.resources import TABLE, TYPES
from tasks.resources.limits import CONDITIONS, LIMITS
from tasks.resources.repository import rights_of
from tasks.resources.rights import DUTIES, FEATURES, Place, actions_of, documents, granted, is_read, limits_of

pytestmark = pytest.mark.unit

AWS = [kind for kind in TYPES.values() if kind.cloud == "aws"]
DELETES = re.compile(r":(Batch)?(Delete|Terminate|Deregister|Remove)")
CREATES = re.compile(
    r":(Create(?!Tags)|Copy|Run|Register(?!Scalable)|Restore|Start(?!Instances)|Import|Put|Enable|Authorize)"
)
# RestoreTableFromBackup asks for rights on the items of the table that it makes ("Restoring a table", DynamoDB guide).
ITEMS = {"dynamodb:DeleteItem"}
# One reader less of a snapshot that is lent to several is its policy written anew (PutResourcePolicy).
RESHARES = {"redshift-serverless:PutResourcePolicy"}


@cache
def reference() -> dict[str, Any]:
    found = files("cfnlint.data.AdditionalSpecs").joinpath("Policies.json").read_text()
    return dict(json.loads(found))


def known(action: str) -> dict[str, Any] | None:
    service, name = action.split(":")
    found = reference().get(service, {}).get("Actions", {}).get(name.lower())
    return None if found is None else dict(found)


@pytest.mark.parametrize("kind", AWS, ids=lambda kind: kind.name)
def test_no_role_both_creates_and_deletes(kind: Any) -> None:
    """Feature 75: whoever takes over one role cannot make backups and take them away."""
    for duty in DUTIES:
        actions = set(granted([kind], duty)) - ITEMS
        deletes = {one for one in actions if DELETES.search(one)}
        creates = {one for one in actions if CREATES.search(one)} - RESHARES
        assert not (deletes and (creates - deletes)), (duty, deletes, creates)
        assert bool(deletes) == (duty == "cleanup")


@pytest.mark.parametrize("kind", AWS, ids=lambda kind: kind.name)
def test_every_action_is_one_that_aws_knows(kind: Any) -> None:
    """Feature 75: a misspelt action would allow nothing, and say so at night."""
    actions = {one for feature in FEATURES for one in actions_of(kind, feature)}
    assert {one for one in actions if known(one) is None} == set()


def test_every_right_of_a_repository_is_one_that_aws_knows_for_that_resource() -> None:
    """Feature 75: rights on a bucket are asked of the bucket, those on objects of objects."""
    spec = {"url": "s3://b/p", "lock": "30d", "kms_key": "arn:aws:kms:us-east-1:111111111111:key/k"}
    spec["sse_kms_key"] = "arn:aws:kms:us-east-1:111111111111:key/s"
    kinds = {"arn:aws:s3:::b": "bucket", "arn:aws:s3:::b/p/*": "object"}
    kinds |= {spec["kms_key"]: "key", spec["sse_kms_key"]: "key"}
    for arn, actions in rights_of(spec).items():
        for action in actions:
            found = (known(action) or {}).get("Resources", [])
            assert kinds[arn] in ([found] if isinstance(found, str) else found), action
    assert rights_of({"url": "azure://account/container/p"}) == {}


def test_tags_confine_only_what_aws_checks_them_for() -> None:
    """Feature 75: a condition on a tag that AWS does not look at denies for ever."""
    names = {action for kind in AWS for duty in DUTIES for action in granted([kind], duty)}
    for action, duty in ((action, duty) for action in names for duty in DUTIES):
        for limit in limits_of(action, duty):
            if limit.condition not in ("ours", "tagged"):
                continue
            service = action.split(":")[0]
            found = known(action) or {}
            resources = [found["Resources"]] if isinstance(found["Resources"], str) else found["Resources"]
            shapes = {name: reference()[service]["Resources"][name] for name in resources}
            confined = {
                name for name, shape in shapes.items()
                if "*" in limit.resources or any(_same(pattern, shape) for pattern in limit.resources)
            }  # fmt: skip
            assert confined, (action, limit)
            for name in confined:
                assert "aws:ResourceTag/${TagKey}" in shapes[name]["ConditionKeys"], (action, name)


def _same(pattern: str, shape: dict[str, Any]) -> bool:
    kind = pattern.split(":")[5].split("/")[0]
    return any(f":{kind}/" in one for one in shape["ARNFormats"])


def test_every_limit_and_condition_is_of_an_action_that_a_type_names() -> None:
    named = {one for kind in TABLE.values() for feature in FEATURES for one in actions_of(kind, feature)}
    assert {name for limits in LIMITS.values() for name in (one.condition for one in limits) if name} <= set(CONDITIONS)
    later = {"redshift", "redshift-serverless", "iam"}  # of a type that is being added, and of the check itself
    assert {one.split("/")[-1] for one in LIMITS if one.split("/")[-1].split(":")[0] not in later} - named == set()


@pytest.mark.parametrize("duty", DUTIES)
def test_policies_are_small_enough_for_iam_and_hold_every_action_once_by_limit(duty: str) -> None:
    """Managed policies have at most 6,144 characters (IAM quotas)."""
    actions = granted(AWS, duty)
    made = documents(actions, duty, Place(installation="a" * 16, account="111111111111"))
    for policy in made:
        assert len(json.dumps(policy, separators=(",", ":"))) <= 6_144
    said = [action for policy in made for one in policy["Statement"] for action in one["Action"]]
    assert sorted(said) == sorted(action for action in actions for _ in limits_of(action, duty))


def test_much_is_split_into_several_policies() -> None:
    many = [f"ec2:Describe{'x' * 60}{number}" for number in range(300)]
    made = documents(many, "snapshot", Place())
    assert len(made) > 3
    assert sorted(action for one in made for part in one["Statement"] for action in part["Action"]) == sorted(many)


def test_what_is_deleted_must_carry_the_tag_where_aws_can_look_at_it() -> None:
    """Feature 75, feature 66: nothing of anybody else's is in reach of the role that deletes."""
    untagged = {
        "s3:DeleteObject",  # buckets are confined by their own policies
        "s3:DeleteObjectVersion",
        "backup:DeleteRecoveryPoint",  # recovery points know no tags in conditions
        "redshift-serverless:DeleteResourcePolicy",  # known for no resource; it ends loans
        "dynamodb:DeleteBackup",  # nor do tables' backups: confined to them by name
        "dynamodb:DeleteTable",  # a table gets its tags after it was restored, and may have to go before
        "elasticfilesystem:DeleteFileSystem",  # so does a file system that AWS Backup restored
        "elasticfilesystem:DeleteMountTarget",
    }
    free = {
        action
        for action in granted(AWS, "cleanup")
        if DELETES.search(action) and any(one.condition != "ours" for one in limits_of(action, "cleanup"))
    }
    assert free - untagged == set()


def test_reads_are_in_each_role_that_needs_them_and_a_type_without_a_duty_gets_nothing() -> None:
    kinds = [TYPES["efs"]]
    assert "backup:ListRestoreJobs" in granted(kinds, "snapshot")  # restores are followed by the same polls
    assert all(is_read(one) for one in set(granted(kinds, "snapshot")) & set(granted(kinds, "cleanup"))
               if one not in ("iam:SimulatePrincipalPolicy", "backup:TagResource"))  # fmt: skip
    assert granted([], "cleanup") == ()

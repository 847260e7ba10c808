"""What can never work with buckets is refused when the estate is applied, each with its line. feature 25"""

import pytest

from admin.estate import read_estate
from admin.estate_yaml import EstateRefused

pytestmark = pytest.mark.unit

HEAD = """\
version: 1
accounts:
  - {name: prod, role_arn: "arn:aws:iam::111111111111:role/snapfleet", regions: [us-east-1]}
  - name: vault
    kind: dr
    role_arn: arn:aws:iam::222222222222:role/snapfleet
    regions: [eu-west-1]
    may_delete: false
policies:
"""
BY_ID = "{type: s3, id: %s, region: us-east-1, account: prod, options: {%s}}"


def policy(name: str, source: str, options: str, more: str = "") -> str:
    return f"  - {{name: {name}, generations: 3, targets: [{BY_ID % (source, options)}]{more}}}\n"


def problems(text: str, **known: str) -> list[str]:
    try:
        read_estate(HEAD + text, "e.yaml", versioning=known)
    except EstateRefused as refused:
        return [problem.text for problem in refused.problems]
    return []


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (policy("a", "data", "prefix: x"), "says nothing about where the bucket is kept"),
        (policy("a", "data", "bucket: data"), "data would be kept in itself"),
        (policy("a", "data", "bucket: safe, account: nobody"), "there is no account 'nobody'"),
        (policy("a", "data", "bucket: safe, account: vault, delete: 'yes'"), "vault may not delete anything"),
        (policy("a", "data", "bucket: safe, delete_most: '0'"), "is a percentage from 1 to 100"),
        (policy("a", "data", "bucket: safe, versions: 'yes'"), "safe keeps no versions"),
        (policy("a", "data", "bucket: safe", ", dr: [{region: eu-west-1}]"), "dr entries do not apply to it"),
        (
            policy("a", "data", "bucket: safe") + policy("b", "safe", "bucket: data"),
            "in a circle: data -> safe -> data",
        ),
        (
            policy("a", "data", "bucket: safe") + policy("b", "logs", "bucket: safe, prefix: l/"),
            "would be mixed with it",
        ),
        (
            "  - {name: t, generations: 3, targets: [{tag: {a: b}, types: [s3], options: {bucket: safe}}]}\n",
            "a tag may name several buckets",
        ),
    ],
)
def test_what_cannot_work_is_refused_with_its_reason(text: str, words: str) -> None:
    """feature 25, feature 42"""
    assert [one for one in problems(text, safe="") if words in one], problems(text, safe="")


@pytest.mark.parametrize(
    "text",
    [
        policy("a", "data", "bucket: safe, account: vault, versions: 'yes', delete: dry-run, delete_most: '50'"),
        policy("a", "data", "bucket: safe") + policy("b", "data", "bucket: other, account: vault"),
        policy("a", "data", "bucket: safe, prefix: d/") + policy("b", "logs", "bucket: safe, prefix: l/"),
        policy("a", "data", "bucket: safe") + policy("b", "safe", "bucket: far, account: vault"),
        "  - {name: t, generations: 3, targets: [{tag: {a: b}, types: [s3], "
        "options: {bucket: safe, prefix: '{bucket}/'}}]}\n",
    ],
)
def test_what_can_work_is_taken(text: str) -> None:
    assert problems(text, safe="Enabled") == []

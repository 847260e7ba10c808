"""What a repository is not made in, and what is not taken for whole: each with its reason, over the emulated AWS."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest

from tasks.states import JobState
from tests.deploy.estate import VAULT
from tests.integration.test_repository_pipeline import Archiving, asked, made
from tests.sandbox import Sandbox


@pytest.fixture(autouse=True)
def sound_again(sandbox: Sandbox) -> Iterator[None]:
    """No fault outlives its test."""
    yield
    sandbox.clear_faults()


def no_rights(house: Archiving) -> None:
    house.sandbox.fault("error", operation="PutObject", code="AccessDenied", status=403)


def hungry_rule(house: Archiving) -> None:
    rule = {"ID": "eat", "Status": "Enabled", "Filter": {"Prefix": "main/packs/"}, "Expiration": {"Days": 30}}
    s3: Any = house.sandbox.client(VAULT, service="s3")
    s3.put_bucket_lifecycle_configuration(Bucket="cold", LifecycleConfiguration={"Rules": [rule]})


def hidden_rules(house: Archiving) -> None:
    operation = "GetBucketLifecycleConfiguration"
    house.sandbox.fault("error", operation=operation, code="AccessDenied", status=403)


def somebody_else(house: Archiving) -> None:
    s3: Any = house.sandbox.client(VAULT, service="s3")
    s3.put_object(Bucket="cold", Key="main/probe/not-a-repository", Body=b"x")
    s3.put_object(Bucket="cold", Key="main/snapshots/of-another-program", Body=b"x")


def wrong_clock(house: Archiving) -> None:
    house.clock.advance(timedelta(minutes=20))


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (no_rights, "rights below"),
        (hungry_rule, "Lifecycle rule 'eat'"),
        (wrong_clock, "Set the clock"),
        (hidden_rules, "s3:GetLifecycleConfiguration"),
        (somebody_else, "Choose another prefix"),
    ],
)
def test_a_place_that_would_endanger_archives_is_refused_with_what_to_do(
    archiving: Archiving, harm: Callable[[Archiving], None], words: str
) -> None:
    """feature 82: missing rights, a rule that would eat packs, a clock that is off; nothing looks like a repository."""
    harm(archiving)
    refused = asked(archiving, "create")
    assert (refused.state, words in refused.error_text) == (JobState.FAILED, True)
    found: Any = archiving.sandbox.client(VAULT, service="s3").list_objects_v2(Bucket="cold")
    ours = ("main/repository.json", "main/keys/")
    assert not [one["Key"] for one in found.get("Contents", []) if one["Key"].startswith(ours)]


def test_a_truncated_manifest_is_named_and_neither_restored_from_nor_pruned_around(archiving: Archiving) -> None:
    """feature C13: a part of a manifest is no generation, and while it lies there nothing is deleted."""
    made(archiving)
    archiving.protect()
    archiving.write(1)
    archiving.back_up()
    s3: Any = archiving.sandbox.client(VAULT, service="s3")
    (manifest,) = s3.list_objects_v2(Bucket="cold", Prefix="main/generations/")["Contents"]
    body = s3.get_object(Bucket="cold", Key=manifest["Key"])["Body"].read()
    s3.put_object(Bucket="cold", Key=manifest["Key"], Body=body[: len(body) // 2])
    found = asked(archiving, "verify").result
    assert any(manifest["Key"].removeprefix("main/") in line and "damaged" in line for line in found["told"])
    assert archiving.restored(archiving.archives()[0]).error_code == "object-missing"
    assert asked(archiving, "prune").error_code == "prune-refused"


def test_a_rule_that_would_eat_packs_is_told_by_the_daily_verification_when_it_came_later(archiving: Archiving) -> None:
    """feature 82: with what to do, before anything is eaten."""
    made(archiving)
    assert asked(archiving, "verify").result["problems"] == 0
    hungry_rule(archiving)
    found = asked(archiving, "verify").result
    assert (found["problems"], found["told"]) == (
        1,
        ["Lifecycle rule 'eat' deletes objects of this repository: remove it."],
    )

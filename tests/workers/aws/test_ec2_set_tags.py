"""The tags of a set: every snapshot ends with at most 50, ours among them, and no key is named twice."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workers.aws.ec2_set_tags import tags_of_set
from workers.driver import TAG_INSTALLATION, TAG_JOB

pytestmark = pytest.mark.unit
OURS = {TAG_INSTALLATION: "i1", "snapfleet:run": "r1"}
USERS = st.dictionaries(st.text("abcdefgh", min_size=1, max_size=3), st.text(max_size=5), max_size=50)


def volume(number: int, **tags: str) -> dict[str, Any]:
    return {"id": f"vol-{number}", "tags": tags}


def many(count: int) -> dict[str, str]:
    return {f"user-{n:02}": "v" for n in range(count)}


def test_the_volumes_tags_are_copied_by_aws_and_the_machines_go_beside_them() -> None:
    """CreateSnapshots, CopyTagsFromSource: a key of a volume is left to that volume."""
    made = tags_of_set("k1", OURS, {"Name": "web", "team": "a"}, [volume(1, Name="root"), volume(2)])
    assert made.asked() == {"CopyTagsFromSource": "volume"}
    assert made.tags == {**OURS, TAG_JOB: "k1", "team": "a"}


def test_a_volume_with_fifty_tags_is_taken_without_them_and_says_so() -> None:
    """Tag restrictions: AWS would refuse the whole set."""
    made = tags_of_set("k1", OURS, {"team": "a"}, [volume(1, **many(50)), volume(2, Name="data")])
    assert (made.asked(), made.tags) == ({}, {**OURS, TAG_JOB: "k1", "team": "a"})
    assert len(made.warnings) == 1
    assert "vol-1" in made.warnings[0]
    assert "vol-2" not in made.warnings[0]


def test_the_machines_tags_give_way_to_the_volumes() -> None:
    made = tags_of_set("k1", OURS, {"a": "1", "b": "2", "c": "3"}, [volume(1, **many(45))])
    assert made.copied
    assert set(made.tags) == {*OURS, TAG_JOB, "a", "b"}
    assert made.warnings == ("1 tags of the resource were left out: AWS allows 50.",)


def test_nothing_is_copied_from_a_volume_that_carries_tags_like_ours() -> None:
    """A restored volume does: the tag of an older job on a snapshot would hide whose it is."""
    restored = [volume(1, **{TAG_JOB: "older"}, Name="same"), volume(2, Name="same", other="x")]
    made = tags_of_set("k1", OURS, {"Name": "web"}, restored)
    assert (made.asked(), made.warnings) == ({}, ())
    assert made.tags == {**OURS, TAG_JOB: "k1", "Name": "same"}


def test_tags_that_aws_sets_itself_neither_count_nor_are_copied() -> None:
    own = {f"aws:cloudformation:{n}": "v" for n in range(10)}
    assert tags_of_set("k1", OURS, {}, [volume(1, **own, **many(47))]).copied


@settings(deadline=None)
@given(USERS, st.lists(USERS, min_size=1, max_size=4))
def test_whatever_machine_and_volumes_carry_aws_takes_the_set(
    users: dict[str, str], volumes: list[dict[str, str]]
) -> None:
    made = tags_of_set("k1", OURS, users, [{"id": str(n), "tags": tags} for n, tags in enumerate(volumes)])
    for tags in volumes:
        there = [*made.tags, *(tags if made.copied else ())]
        assert len(there) == len(set(there)) <= 50
    assert made.tags.items() >= {**OURS, TAG_JOB: "k1"}.items()

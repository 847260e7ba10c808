"""What fits on a created object, and what it is found by."""

import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workers.aws.tags import fit_tags, is_ours, name_for, part_key, read_tags, token_for, write_tags
from workers.driver import TAG_INSTALLATION, TAG_JOB

pytestmark = pytest.mark.unit
OURS = {TAG_INSTALLATION: "i1", "snapfleet:run": "r1"}


def test_our_tags_win_and_users_tags_beyond_fifty_are_left_out_with_a_warning() -> None:
    """Everything made can be found again, whatever the source carries."""
    tags, warnings = fit_tags("k1", OURS, {f"user-{n:03}": "v" for n in range(60)})
    assert len(tags) == 50
    assert tags[TAG_JOB] == "k1"
    assert tags[TAG_INSTALLATION] == "i1"
    assert warnings == ["13 tags of the resource were left out: AWS allows 50."]


def test_reserved_tags_and_tags_that_look_like_ours_are_not_carried_over() -> None:
    users = {"aws:cloudformation:stack-name": "s", "AWS:x": "y", TAG_JOB: "older", "snapfleet:outdated": "true"}
    assert fit_tags("k1", OURS, users) == ({**OURS, TAG_JOB: "k1"}, [])


@settings(deadline=None)
@given(st.dictionaries(st.text(max_size=200), st.text(max_size=400), max_size=80))
def test_whatever_a_resource_is_tagged_with_aws_takes_the_result(users: dict[str, str]) -> None:
    tags, _ = fit_tags("k1", OURS, users)
    assert len(tags) <= 50
    assert tags.items() >= {**OURS, TAG_JOB: "k1"}.items()
    assert all(0 < len(name) <= 128 and len(value) <= 256 for name, value in tags.items())
    assert not any(name.lower().startswith("aws:") for name in tags)


@given(st.text(), st.text())
def test_names_and_tokens_are_the_same_for_a_key_and_differ_between_keys(one: str, other: str) -> None:
    assert (name_for(one) == name_for(other)) == (one == other)
    assert (token_for(one) == token_for(other)) == (one == other)
    assert set(name_for(one)) <= set(string.ascii_lowercase + string.digits + "-")
    assert len(name_for(one)) <= 128
    assert len(token_for(one)) <= 64


def test_tags_survive_the_way_to_aws_and_back() -> None:
    tags = {"Name": "web", "empty": "", "ünïcode": "✓"}
    assert read_tags(write_tags(tags)) == tags
    assert read_tags(None) == {}


def test_only_what_carries_an_installation_counts_as_ours() -> None:
    assert is_ours({TAG_INSTALLATION: "i1"})
    assert not is_ours({TAG_JOB: "k1"})
    assert part_key("k1", "snap-1") == "k1/snap-1"

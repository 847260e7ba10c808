"""What Azure may say when it refuses a copy for another one of the disk, and an answer with nulls."""

import pytest
from azure.core.exceptions import HttpResponseError

from workers.azure.interfaces import _interface
from workers.azure.snapshots import Wish, _out_of_turn

pytestmark = pytest.mark.unit


def refusal(status: int, text: str) -> HttpResponseError:
    error = HttpResponseError(message=text)
    error.status_code = status
    return error


def wish(copy: bool = True) -> Wish:
    return Wish("job-1", "/snap/1", "northeurope", "app", copy, {}, {}, False)


@pytest.mark.parametrize(
    ("status", "text", "too_late"),
    [
        (409, "Snapshots of a disk are copied in the order of their creation.", True),
        (400, "A newer snapshot of the disk has been copied to the target region.", True),
        (400, "The source is out of order (CopyStart).", True),
        (409, "Only one snapshot of a disk is copied at a time; they are copied in order.", False),
        (409, "Conflict.", False),
        (409, "In order to copy the snapshot, try again later.", False),
        (400, "Another copy of this disk is running.", False),
        (400, "A CopyStart operation is already in progress.", False),
    ],
)
def test_a_refused_copy_is_out_of_turn_by_its_status_or_its_words(status: int, text: str, too_late: bool) -> None:
    told = _out_of_turn(wish(), refusal(status, text))
    assert told is not None
    assert told.too_late is too_late
    assert told.wait.total_seconds() >= 60


@pytest.mark.parametrize(
    ("status", "text"),
    [(400, "The parameter location is wrong."), (429, "Another copy is running."), (403, "Not in this order.")],
)
def test_what_else_azure_refuses_is_not(status: int, text: str) -> None:
    assert _out_of_turn(wish(), refusal(status, text)) is None


def test_a_snapshot_of_a_disk_has_no_turn() -> None:
    assert _out_of_turn(wish(copy=False), refusal(409, "Another copy is running.")) is None


@pytest.mark.parametrize("shown", [{}, {"properties": None}, {"properties": {"ipConfigurations": None}}])
def test_an_interface_that_shows_null_for_its_addresses_has_none(shown: dict[str, object]) -> None:
    assert _interface(shown) == {"addresses": []}

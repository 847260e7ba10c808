"""What is told to the broker together settles exactly what was settled: never a message that is still worked on."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.acks import Ending, Unsettled

pytestmark = pytest.mark.unit


def test_what_is_done_in_order_is_one_frame() -> None:
    unsettled = Unsettled()
    for tag in range(1, 6):
        unsettled.delivered(tag)
    assert [unsettled.settle(tag, Ending.DONE) for tag in (3, 1, 2)] == [True, False, False]
    assert unsettled.take() == ([], 3, [])


def test_a_slow_message_in_front_holds_up_no_other() -> None:
    unsettled = Unsettled()
    for tag in range(1, 6):
        unsettled.delivered(tag)
    for tag in (5, 2):
        unsettled.settle(tag, Ending.DONE)
    assert unsettled.take() == ([], 0, [2, 5])
    unsettled.settle(1, Ending.DONE)
    assert unsettled.take() == ([], 1, [])


def test_what_cannot_be_sent_any_more_leaves_the_next_one_to_call_again() -> None:
    unsettled = Unsettled()
    unsettled.delivered(1)
    assert unsettled.settle(1, Ending.DONE)
    unsettled.forget()
    assert unsettled.settle(1, Ending.DONE)


@settings(deadline=None)
@given(st.data())
def test_the_broker_ends_with_what_was_settled_and_nothing_else(data: st.DataObject) -> None:
    """In any order, in any portions, some rejected: against a broker that settles as AMQP says."""
    count = data.draw(st.integers(1, 12))
    unsettled, at_broker, ended = Unsettled(), dict.fromkeys(range(1, count + 1), ""), dict[int, str]()
    for tag in at_broker:
        unsettled.delivered(tag)
    for tag in data.draw(st.permutations(range(1, data.draw(st.integers(1, count)) + 1))):
        ended[tag] = str(data.draw(st.sampled_from(Ending)))
        unsettled.settle(tag, Ending(ended[tag]))
        if data.draw(st.booleans()):
            _apply(unsettled, at_broker)
    _apply(unsettled, at_broker)
    assert {tag: ending for tag, ending in at_broker.items() if ending} == ended


def _apply(unsettled: Unsettled, at_broker: dict[int, str]) -> None:
    frames = unsettled.take()
    for tag, ending in frames.rejected:
        assert not at_broker[tag]
        at_broker[tag] = str(ending)
    for tag in [one for one, ending in at_broker.items() if one <= frames.up_to and not ending]:
        at_broker[tag] = str(Ending.DONE)
    for tag in frames.single:
        assert not at_broker[tag]
        at_broker[tag] = str(Ending.DONE)

"""The sandbox's XML writers, built once and by whoever comes first."""

import sys
import threading
from collections.abc import Iterator

import pytest

from deploy.sandbox import wire

pytestmark = pytest.mark.unit
ANSWER = {"Reservations": [{"Instances": [{"InstanceId": "i-1", "Tags": [{"Key": "Name", "Value": "a & b"}]}]}]}


@pytest.fixture
def hurried() -> Iterator[None]:
    """Threads take turns after every few lines."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("hurried")
def test_requests_that_are_the_first_of_their_kind_together_are_answered_alike() -> None:
    """A writer that was half built used to call itself for ever."""
    wire.operation_model("ec2", "DescribeInstances")
    wire._writers.clear()
    start, answers = threading.Barrier(8), list[bytes]()

    def ask() -> None:
        start.wait()
        answers.append(wire.write_result("ec2", "DescribeInstances", ANSWER, "r-1"))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 8
    assert len(set(answers)) == 1
    assert b"<value>a &amp; b</value>" in answers[0]

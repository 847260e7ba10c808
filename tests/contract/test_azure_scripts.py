"""Scripts in the guests of Azure's machines: once for a key, never waited for, and their words are not trusted."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from tasks import errors
from tasks.states import OperationState
from tests.azure import TAGS, AzureRig
from tests.azure_specs import swagger
from workers.driver import Operation, Progress, RunsScripts, Script

DONE, FAILED, RUNNING = OperationState.DONE, OperationState.FAILED, OperationState.RUNNING
FREEZE = Script("before", "fsfreeze -f /data", 60)


def begin(azure: AzureRig, script: Script = FREEZE, key: str = "job-1") -> Operation:
    driver: Any = azure.driver
    assert isinstance(driver, RunsScripts)
    return driver.start_script(azure.resource("az-web-1"), script, key, TAGS)


def ask(azure: AzureRig, operation: Operation) -> Progress:
    (answer,) = azure.ask((operation,))
    return answer


def test_a_script_runs_once_for_its_key_and_its_output_is_kept(azure: AzureRig) -> None:
    """Feature 26: the place for scripts around a backup; beginning it returns at once."""
    azure.cloud.ask("POST", "config", {"script_seconds": 0.5})
    first, again = begin(azure), begin(azure)
    assert (first.external_id, len(azure.cloud.calls("PUT", "runCommands"))) == (again.external_id, 1)
    assert ask(azure, first).state is RUNNING
    azure.cloud.ask("POST", "advance", {"seconds": 1})
    answer = ask(azure, first)
    assert (answer.state, answer.detail["exit_code"]) == (DONE, 0)
    assert answer.detail["output"] == "ran: fsfreeze -f /data"
    begin(azure, replace(FREEZE, name="after"))
    assert len(azure.cloud.calls("PUT", "runCommands")) == 2


def test_a_lost_answer_runs_nothing_twice(azure: AzureRig) -> None:
    azure.cloud.fault("drop_after", method="PUT", type="runCommands")
    with pytest.raises(errors.Transient):
        begin(azure)
    begin(azure)
    assert len(azure.cloud.calls("PUT", "runCommands")) == 1


@pytest.mark.parametrize(("must", "state"), [(True, FAILED), (False, DONE)])
def test_a_script_that_fails_fails_what_it_is_for_only_where_it_must(
    azure: AzureRig, must: bool, state: OperationState
) -> None:
    azure.cloud.ask("POST", "config", {"script_seconds": 0.0})
    azure.cloud.fault("fail_operation", method="PUT", type="runCommands", message="no such mount\x1b[31m\n")
    answer = ask(azure, begin(azure, replace(FREEZE, must=must)))
    assert (answer.state, answer.detail["script"], answer.detail["exit_code"]) == (state, "Failed", 1)
    assert answer.detail["error"] == "no such mount\\x1b[31m\\n", "what a guest says is cleaned"


def test_a_script_that_takes_too_long_is_ended_and_an_agent_that_says_nothing_is_given_up(azure: AzureRig) -> None:
    azure.cloud.ask("POST", "config", {"script_seconds": 3600.0})
    late = begin(azure)
    azure.cloud.ask("POST", "advance", {"seconds": 61})
    assert ask(azure, late).detail["script"] == "TimedOut"
    silent = begin(azure, replace(FREEZE, seconds=7200))
    assert silent.external_id == late.external_id, "the same key is the same script"
    mute = begin(azure, replace(FREEZE, seconds=7200), "job-2")
    azure.clock.advance(timedelta(hours=2, minutes=6))
    answer = ask(azure, mute)
    assert (answer.state, answer.detail["script"]) == (FAILED, "Silent")


def test_its_run_command_is_taken_off_the_machine_and_nothing_that_is_not_ours(azure: AzureRig) -> None:
    driver: Any = azure.driver
    made = begin(azure)
    theirs = replace(made, account=replace(azure.account, installation="another"))
    with pytest.raises(errors.Invalid):
        driver.end_script(theirs)
    with pytest.raises(errors.NotReady):
        driver.end_script(made)
    assert driver.end_script(made) is True
    assert azure.cloud.things("runCommands") == []


def test_a_disk_has_no_guest(azure: AzureRig) -> None:
    driver: Any = azure.driver
    with pytest.raises(errors.Invalid):
        driver.start_script(azure.resource("az-web-1-0"), FREEZE, "job-1", TAGS)


def test_what_is_sent_is_as_the_swagger_says(azure: AzureRig) -> None:
    begin(azure)
    (call,) = azure.cloud.calls("PUT", "runCommands")
    known = {one.id: one for one in swagger.operations()}
    assert swagger.request_errors(known["VirtualMachineRunCommands_CreateOrUpdate"], call["body"]) == []

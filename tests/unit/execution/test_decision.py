"""How a delivery is settled, for every ending of an attempt and everything that the log of its task can say."""

from itertools import product

import pytest

from app.tasks.execution.decision import Append, Decision, Ending, LogState, Settle, decide

ENDED_OTHERWISE = {Ending.COMPLETED, Ending.OBSOLETE}
ALL = [
    pytest.param(ending, log, left, id=f"{ending}-{log}-{left}")
    for ending, log, left in product(Ending, LogState, (True, False))
]


@pytest.mark.parametrize(("ending", "log", "left"), ALL)
def test_a_task_message_goes_only_after_the_end_of_its_task(ending: Ending, log: LogState, left: bool) -> None:
    decision = decide(ending, log, has_attempts_left=left)
    ends = decision.append in {Append.FAILED, Append.OUTCOME}
    is_over = ending in ENDED_OTHERWISE or log is LogState.ENDED or decision.dead_letter
    may_end = ending not in {Ending.STOPPED, Ending.STALE, Ending.FENCED, Ending.UNREADABLE}
    assert (decision.settle is Settle.END) == (may_end and (ends or is_over))


@pytest.mark.parametrize(("ending", "log", "left"), ALL)
def test_nothing_is_appended_to_a_log_that_another_writer_has_or_that_has_ended(
    ending: Ending, log: LogState, left: bool
) -> None:
    decision = decide(ending, log, has_attempts_left=left)
    if ending in {Ending.FENCED, Ending.UNREADABLE, *ENDED_OTHERWISE} or log in {
        LogState.ENDED,
        LogState.UNREAD,
        LogState.TAKEN,
    }:
        is_lost = (ending, log) == (Ending.PERMANENT, LogState.TAKEN)  # the other worker, for good
        assert decision.append is (Append.FAILED if is_lost else None)
    if ending is Ending.INVALID:
        assert decision.append is (Append.FAILED if log is LogState.EMPTY else None)
    if ending is Ending.STOPPED:
        assert decision.append is (Append.QUEUED if log is LogState.RUNNING else None)


@pytest.mark.parametrize(("ending", "log", "left"), ALL)
def test_a_task_is_retried_only_if_that_can_help_and_attempts_are_left(
    ending: Ending, log: LogState, left: bool
) -> None:
    decision = decide(ending, log, has_attempts_left=left)
    if decision.append is Append.RETRYING:
        assert (ending, left, decision.settle) == (Ending.TRANSIENT, True, Settle.RETRY)


@pytest.mark.parametrize(("ending", "log", "left"), ALL)
def test_a_fenced_worker_gives_back_only_a_task_whose_log_has_vanished(
    ending: Ending, log: LogState, left: bool
) -> None:
    decision = decide(ending, log, has_attempts_left=left)
    assert decision.clean_up == (ending is Ending.FENCED and log is not LogState.EMPTY)
    if ending is Ending.FENCED:
        gone = {LogState.DELETED, LogState.CANCELLED}
        settle = Settle.RESTORE if log is LogState.EMPTY else Settle.ACKNOWLEDGE if log in gone else Settle.LEAVE
        assert (decision.append, decision.settle) == (None, settle)


@pytest.mark.parametrize(
    ("ending", "log", "left", "decision"),
    [
        (Ending.COMPLETED, LogState.ENDED, True, Decision(None, Settle.END)),
        (Ending.OBSOLETE, LogState.UNREAD, False, Decision(None, Settle.END)),
        (Ending.STOPPED, LogState.RUNNING, True, Decision(Append.QUEUED, Settle.RETURN)),
        (Ending.STOPPED, LogState.UNSURE, True, Decision(None, Settle.LEAVE)),
        (Ending.STALE, LogState.UNREAD, False, Decision(None, Settle.RETURN)),
        (Ending.TRANSIENT, LogState.RUNNING, True, Decision(Append.RETRYING, Settle.RETRY)),
        (Ending.TRANSIENT, LogState.RUNNING, False, Decision(Append.FAILED, Settle.END)),
        (Ending.TRANSIENT, LogState.OUTCOME, True, Decision(Append.OUTCOME, Settle.END)),
        (Ending.TRANSIENT, LogState.UNREAD, False, Decision(None, Settle.RETRY)),
        (Ending.TRANSIENT, LogState.TAKEN, True, Decision(None, Settle.RETRY)),
        (Ending.PERMANENT, LogState.TAKEN, True, Decision(Append.FAILED, Settle.END)),
        (Ending.UNREADABLE, LogState.RUNNING, True, Decision(None, Settle.LEAVE)),
        (Ending.UNREADABLE, LogState.UNREAD, False, Decision(None, Settle.RETRY)),
        (Ending.INVALID, LogState.EMPTY, False, Decision(Append.FAILED, Settle.END)),
        (Ending.INVALID, LogState.TAKEN, False, Decision(None, Settle.END, dead_letter=True)),
        (Ending.INVALID, LogState.LATER_VERSION, False, Decision(None, Settle.RETRY)),
    ],
)
def test_the_decision(ending: Ending, log: LogState, left: bool, decision: Decision) -> None:
    assert decide(ending, log, has_attempts_left=left) == decision

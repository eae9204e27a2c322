"""What becomes of a message, by how the work on its task ended."""

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast
from unittest.mock import AsyncMock

import pytest
from natscribe.schemas.errors import ErrorCode, ErrorDetail
from natscribe.schemas.progress import State

from app.runtime.errors import FencedError, MessageGoneError, PermanentError, TransientError
from app.storage.jetstream.records import UnreadableError
from app.tasks.execution.attempt import TaskAttempt
from app.tasks.execution.delivery import Delivery
from app.tasks.execution.retries import delay_after
from app.tasks.execution.settlement import Settlement
from tests.fakes.delivery import FakeLetters, FakeMessage, delivery
from tests.fakes.messages import event as progress

TRANSIENT = TransientError(ErrorCode.ENGINE_FAILED, "The engine died.")
PERMANENT = PermanentError(ErrorCode.WORKER_LOST, "The worker died.")


@dataclass
class FakeAttempt:
    """Records what it appends, unless it is fenced."""

    number: int = 1
    state: State = State.RUNNING
    fenced: bool = False
    has_attempts_left: bool = True
    is_running: bool = True
    has_appended: bool = True
    is_unsure: bool = False
    cleaned_up: bool = False
    audio_seconds: float | None = None
    done: list[str] = field(default_factory=list)

    @property
    def record(self) -> SimpleNamespace:
        return SimpleNamespace(event=progress(self.state, 2, error=PERMANENT.detail))

    async def retry(self, *_: object) -> None:
        self._append(State.RETRYING)

    async def fail(self, _: ErrorDetail) -> None:
        self._append(State.FAILED)

    async def release(self) -> None:
        self._append(State.QUEUED)

    async def end_with_stored_outcome(self) -> bool:
        return False

    async def clean_up(self, _: object) -> None:
        self.cleaned_up = True

    def _append(self, state: State) -> None:
        if self.fenced:
            raise FencedError
        self.state = state
        self.done.append(state)


def of(attempt: FakeAttempt | None) -> tuple[Settlement, Delivery, FakeMessage]:
    """A delivery of a task that runs, what settles it, and its message."""
    message = FakeMessage(attempt.done if attempt else [])
    running = SimpleNamespace(event=progress(State.RUNNING, 2))
    parts: dict[str, Any] = {
        "log": SimpleNamespace(last=AsyncMock(return_value=running), outcome=AsyncMock(return_value=None)),
        "dead_letters": FakeLetters(message.done),
        "messages": SimpleNamespace(
            delete=AsyncMock(),
            note_retry=AsyncMock(side_effect=lambda _: message.done.append("retry noted")),
        ),
        "reminders": None,
        "projection": None,
    }
    settled = delivery(message)
    settled.attempt = cast("TaskAttempt | None", attempt)
    return Settlement(**parts, max_attempts=4, retry_delay=30), settled, message


async def fail(attempt: FakeAttempt, error: Exception) -> State | None:
    settlement, failed, _ = of(attempt)
    return (await settlement.settle(failed, error)).state


async def test_a_retry_is_appended_before_the_message_is_delayed() -> None:
    attempt = FakeAttempt()
    assert await fail(attempt, TRANSIENT) is State.RETRYING
    assert attempt.done == ["retrying", "nak", "retry noted"]


async def test_a_message_is_delayed_by_the_time_of_its_retry() -> None:
    settlement, delayed, message = of(FakeAttempt(2))
    await settlement.settle(delayed, TRANSIENT)
    assert 60 <= message.delays[0] <= 75


@pytest.mark.parametrize(
    ("attempt", "first", "jitter", "delay"),
    [
        pytest.param(1, 30, 0.0, 30, id="the first"),
        pytest.param(2, 30, 0.0, 60, id="it doubles"),
        pytest.param(3, 30, 0.0, 120, id="it doubles again"),
        pytest.param(1, 30, 1.0, 37.5, id="the jitter adds up to a quarter"),
        pytest.param(3, 3000, 0.0, 3600, id="an hour at most"),
    ],
)
def test_the_delay_of_a_retry(attempt: int, first: float, jitter: float, delay: float) -> None:
    assert delay_after(attempt, first, jitter) == delay


@pytest.mark.parametrize(("has_attempts_left", "error"), [(False, TRANSIENT), (True, PERMANENT)])
async def test_a_failure_is_appended_then_stored_as_a_dead_letter_then_acknowledged(
    has_attempts_left: bool, error: Exception
) -> None:
    attempt = FakeAttempt(has_attempts_left=has_attempts_left)
    assert await fail(attempt, error) is State.FAILED
    assert attempt.done == ["failed", "letter", "ack"]


@pytest.mark.parametrize("state", [State.COMPLETED, State.FAILED, State.CANCELLED])
@pytest.mark.parametrize("error", [TRANSIENT, PERMANENT])
async def test_nothing_is_appended_behind_an_end(state: State, error: Exception) -> None:
    attempt = FakeAttempt(state=state)
    assert await fail(attempt, error) is state
    assert attempt.done == ["letter", "ack"]


@pytest.mark.parametrize(("has_attempts_left", "error"), [(True, TRANSIENT), (False, TRANSIENT), (True, PERMANENT)])
async def test_a_fenced_worker_settles_nothing(has_attempts_left: bool, error: Exception) -> None:
    attempt = FakeAttempt(has_attempts_left=has_attempts_left, fenced=True)
    assert await fail(attempt, error) is None
    assert (attempt.done, attempt.cleaned_up) == ([], True)


async def test_a_stopping_worker_releases_its_task_at_once() -> None:
    settlement, stopping, message = of(FakeAttempt())
    await settlement.release(stopping)
    assert (message.done, message.delays) == (["queued", "nak"], [0])


@pytest.mark.parametrize("begun", [True, False])
async def test_a_message_without_an_attempt_is_released_without_an_append(begun: bool) -> None:
    # Given a message that has just come, or one that the task stream seems to lack: its task was deleted, or the
    # read was out of date
    settlement, released, message = of(None)
    # When it is settled, then JetStream may deliver it again
    await (settlement.settle(released, MessageGoneError()) if begun else settlement.release(released))
    assert message.done == ["nak"]


@pytest.mark.parametrize(
    ("attempt", "done"), [(None, ["nak"]), (FakeAttempt(is_running=False), ["nak"]), (FakeAttempt(), [])]
)
async def test_a_message_whose_log_only_a_later_version_can_read_is_returned_unless_it_runs(
    attempt: FakeAttempt | None, done: list[str]
) -> None:
    settlement, returned, message = of(attempt)
    assert (await settlement.settle(returned, UnreadableError("progress"))).state is None
    assert message.done == done

"""What becomes of a message, by how the work on its task ended."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from types import SimpleNamespace
from typing import cast

import pytest
from nats.aio.msg import Msg
from natscribe.schemas.errors import ErrorCode, ErrorDetail
from natscribe.schemas.progress import ProgressEvent, State
from natscribe.schemas.wire import Kind
from redis.asyncio import Redis

from app.dead_letters.store import DeadLetterStore
from app.errors import FencedError, NotHeldError, PermanentError, TaskError, TransientError
from app.execution.attempt import TaskAttempt
from app.execution.settlement import Settlement
from app.queue.stored_message import StoredMessage
from app.redis_store.projection import RedisProjection
from app.task_log.log import TaskLog
from app.telemetry.metrics import Meter

TRANSIENT = TransientError(ErrorCode.ENGINE_FAILED, "The engine died.")
PERMANENT = PermanentError(ErrorCode.AUDIO_UNREADABLE, "No sound.")


@dataclass
class Story:
    """What was done, in order."""

    done: list[str] = field(default_factory=list)
    retry_delays: list[float] = field(default_factory=list)
    fenced: bool = False
    deleted: bool = False
    cleaned_up: bool = False
    held: bool = False  # whether the task stream has the message


@dataclass
class FakeMessage:
    story: Story
    subject: str = "tasks.transcription.high"
    headers: dict[str, str] = field(default_factory=dict)
    data: bytes = b"{}"

    @property
    def metadata(self) -> SimpleNamespace:
        return SimpleNamespace(sequence=SimpleNamespace(stream=7), timestamp=datetime.now(UTC), num_delivered=1)

    async def ack(self) -> None:
        self.story.done.append("ack")

    async def nak(self, delay: float = 0) -> None:
        self.story.done.append("nak")
        self.story.retry_delays.append(delay)


@dataclass
class FakeLetters:
    story: Story

    async def put(self, *_: object, **__: object) -> None:
        self.story.done.append("letter")

    async def delete_all(self, _: str) -> None:
        self.story.done.append("no letter")


@dataclass
class FakeLog:
    """There, as long as nobody has deleted the task."""

    story: Story

    async def last(self, _: str) -> object:
        return None if self.story.deleted else FakeRecord(event(State.RUNNING))


@dataclass
class FakeRecord:
    event: ProgressEvent


def event(state: State) -> ProgressEvent:
    return ProgressEvent(
        task_id="t1",
        kind=Kind.TRANSCRIPTION,
        state=state,
        max_attempts=4,
        sequence=2,
        error=PERMANENT.detail,
        time=datetime.now(UTC),
    )


@dataclass
class FakeAttempt:
    story: Story
    number: int
    state: State = State.RUNNING
    may_go_without_speakers: bool = False
    runs: bool = True

    @property
    def record(self) -> FakeRecord:
        return FakeRecord(event(self.state))

    async def retry(self, *_: object) -> None:
        self._append(State.RETRYING)

    async def fail(self, _: ErrorDetail) -> None:
        self._append(State.FAILED)

    async def release(self) -> None:
        self._append(State.QUEUED)

    async def end_as_decided(self) -> bool:
        return False

    async def clean_up(self, _: object) -> None:
        self.story.cleaned_up = True

    def _append(self, state: State) -> None:
        if self.story.fenced:
            raise FencedError
        self.state = state
        self.story.done.append(state)


async def held(story: Story, subject: str, sequence: int) -> StoredMessage | None:
    return StoredMessage(subject, sequence, datetime.now(UTC), {}, b"{}") if story.held else None


def settlement(story: Story, *, max_attempts: int = 4, retry_delay: float = 30, jitter: float = 0.0) -> Settlement:
    return Settlement(
        cast("TaskLog", FakeLog(story)),
        cast("DeadLetterStore", FakeLetters(story)),
        RedisProjection(Redis()),  # nothing is asked of it
        Meter(),
        max_attempts=max_attempts,
        retry_delay=retry_delay,
        held=partial(held, story),
        jitter=lambda: jitter,
    )


async def settled(how: Settlement, attempt: FakeAttempt, error: TaskError) -> State | None:
    message = cast("Msg", FakeMessage(attempt.story))
    return (await how.failed(message, cast("TaskAttempt", attempt), error, begun=True)).state


async def fail(story: Story, number: int, error: TaskError, *, jitter: float = 0.0) -> State | None:
    return await settled(settlement(story, jitter=jitter), FakeAttempt(story, number), error)


async def test_a_retry_is_appended_before_the_message_is_delayed() -> None:
    story = Story()
    assert await fail(story, 1, TRANSIENT) is State.RETRYING
    assert story.done == ["retrying", "nak"]


async def test_a_task_that_is_deleted_while_it_fails_leaves_no_dead_letter() -> None:
    story = Story(deleted=True)
    await fail(story, 1, PERMANENT)
    assert story.done == ["failed", "letter", "no letter", "ack"]


async def test_the_delay_doubles() -> None:
    story = Story()
    for number in (1, 2, 3):
        await fail(story, number, TRANSIENT)
    assert story.retry_delays == [30, 60, 120]


async def test_the_jitter_adds_up_to_a_quarter() -> None:
    story = Story()
    await fail(story, 1, TRANSIENT, jitter=1.0)
    assert story.retry_delays == [37.5]


@pytest.mark.parametrize(("number", "error"), [(4, TRANSIENT), (1, PERMANENT)])
async def test_a_failure_is_appended_then_kept_as_a_dead_letter_then_acknowledged(
    number: int, error: TaskError
) -> None:
    story = Story()
    assert await fail(story, number, error) is State.FAILED
    assert story.done == ["failed", "letter", "ack"]


@pytest.mark.parametrize("state", [State.COMPLETED, State.FAILED, State.CANCELLED])
@pytest.mark.parametrize("error", [TRANSIENT, PERMANENT])
async def test_nothing_is_appended_behind_an_end(state: State, error: TaskError) -> None:
    story = Story()
    assert await settled(settlement(story), FakeAttempt(story, 1, state), error) is state
    assert story.done == ["ack"]


@pytest.mark.parametrize(("number", "error"), [(1, TRANSIENT), (4, TRANSIENT), (1, PERMANENT)])
async def test_a_fenced_worker_settles_nothing(number: int, error: TaskError) -> None:
    story = Story(fenced=True)
    assert await fail(story, number, error) is None
    assert story.done == []
    assert story.cleaned_up


async def test_a_task_whose_log_is_empty_is_delivered_again_while_its_message_is_there() -> None:
    # Given an attempt that finds no log: the stream of logs was changed
    story = Story(fenced=True, deleted=True, held=True)
    # When it is settled, then nothing of the task is removed, and its message is delivered again
    assert await fail(story, 1, TRANSIENT) is None
    assert story.done == ["nak"]
    assert not story.cleaned_up


async def test_a_stopping_worker_releases_its_task_at_once() -> None:
    story = Story()
    attempt = cast("TaskAttempt", FakeAttempt(story, 1))
    await settlement(story).release(cast("Msg", FakeMessage(story)), attempt)
    assert story.done == ["queued", "nak"]
    assert story.retry_delays == [0]


async def test_a_message_without_an_attempt_is_released_without_an_append() -> None:
    story = Story()
    await settlement(story).release(cast("Msg", FakeMessage(story)), None)
    assert story.done == ["nak"]


async def test_a_message_that_the_stream_seems_not_to_hold_is_returned_not_removed() -> None:
    # Given a message that a read of the task stream has not found: its task was deleted, or the read was out of date
    story = Story()
    message = cast("Msg", FakeMessage(story))
    # When it is settled, then JetStream may deliver it again
    await settlement(story).failed(message, None, NotHeldError(), begun=True)
    assert story.done == ["nak"]


async def test_a_retry_waits_an_hour_at_most() -> None:
    story = Story()
    assert await settled(settlement(story, retry_delay=3000), FakeAttempt(story, 3), TRANSIENT) is State.RETRYING
    assert story.retry_delays == [3600]


async def test_the_last_attempt_is_followed_by_another_where_only_the_speakers_are_missing() -> None:
    story = Story()
    attempt = FakeAttempt(story, 4, may_go_without_speakers=True)
    assert await settled(settlement(story), attempt, TRANSIENT) is State.RETRYING

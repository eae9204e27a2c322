"""Tasks: the messages of each task type reach their handler, which appends the updates of the engine."""

import pytest
from faststream.nats import NatsBroker
from natscribe.schemas import subjects
from natscribe.schemas.diarization import DiarizationTask
from natscribe.schemas.live import LiveTask
from natscribe.schemas.transcription import TranscriptionTask
from natscribe.schemas.wire import Priority, TaskType

from app.speech.updates import Checkpoint, Task
from tests.handlers.conftest import UPDATES, Parts

pytestmark = pytest.mark.asyncio(loop_scope="session")

TASK = {"task_id": "t1", "audio_file_id": "meeting.flac", "user_id": 7}
LIVE_TASK = {"task_id": "t1", "user_id": 7, "audio": {"codec": "pcm_s16le"}}


@pytest.mark.parametrize("priority", Priority)
@pytest.mark.parametrize(
    ("task_type", "task", "engine"),
    [
        (TaskType.TRANSCRIPTION, TranscriptionTask.model_validate(TASK), "transcriber"),
        (TaskType.DIARIZATION, DiarizationTask.model_validate(TASK), "diarizer"),
        (TaskType.LIVE, LiveTask.model_validate(LIVE_TASK), "live_transcriber"),
    ],
)
async def test_the_engine_of_the_lane_continues_from_the_checkpoint(
    broker: NatsBroker, parts: Parts, task_type: TaskType, priority: Priority, task: Task, engine: str
) -> None:
    # Given a task with a checkpoint
    parts.attempt.checkpoint = Checkpoint(processed_seconds=30.0)
    # When its message is delivered, from any of the queues
    await broker.publish(task.model_dump(mode="json"), subjects.tasks(task_type, priority))
    # Then its engine alone continues from the checkpoint, and its updates are appended in order
    checkpoint = None if task_type is TaskType.DIARIZATION else parts.attempt.checkpoint
    for name in ("transcriber", "diarizer", "live_transcriber"):
        assert getattr(parts, name).began == ([(task, checkpoint)] if name == engine else [])
    assert parts.attempt.appended == [*UPDATES]


@pytest.mark.parametrize("queue", [TaskType.TRANSCRIPTION, TaskType.DIARIZATION])
async def test_a_failed_append_stops_the_handler(broker: NatsBroker, parts: Parts, queue: TaskType) -> None:
    # Given a task that another worker has taken over
    parts.attempt.fails_with = RuntimeError("fenced")
    # When the first update is refused
    with pytest.raises(RuntimeError, match="fenced"):
        await broker.publish(TASK, subjects.tasks(queue, Priority.NORMAL))
    # Then nothing more is appended, and the error is raised to the middleware that settles the message
    assert parts.attempt.appended == [UPDATES[0]]


@pytest.mark.parametrize("queue", [TaskType.TRANSCRIPTION, TaskType.DIARIZATION])
async def test_an_invalid_task_reaches_no_engine(broker: NatsBroker, parts: Parts, queue: TaskType) -> None:
    with pytest.raises(ValueError, match="user_id"):
        await broker.publish(TASK | {"user_id": None}, subjects.tasks(queue, Priority.NORMAL))
    assert parts.transcriber.began == parts.diarizer.began == []

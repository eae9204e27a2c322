"""An operator deletes dead letters that are not to be replayed."""

from functools import partial

from nats.js import JetStreamContext
from natscribe.client import Client
from natscribe.schemas.errors import ErrorCode
from natscribe.schemas.progress import State
from natscribe.schemas.wire import Kind

from app.errors import PermanentError
from app.main import Worker
from app.settings import Settings
from tests.constants import Constants
from tests.fakes.engine import FakeEngine
from tests.integration.conftest import Publisher
from tests.waiting import eventually

NONE = {"deleted": 0, "more_after": None}


async def test_dead_letters_are_deleted_with_or_without_a_task_id(
    publisher: Publisher, worker: Worker, engine: FakeEngine, js: JetStreamContext
) -> None:
    # Given a task that failed for good, and two messages that are none
    engine.fail_with = [PermanentError(ErrorCode.AUDIO_UNREADABLE, "It is no recording.")]
    await publisher.publish("t1")
    await publisher.until("t1", State.FAILED)
    for body in (b"{", b'{"task_id": "no id"}'):
        await js.publish("tasks.transcription.normal", body)
    await eventually(partial(_are_left, js, 3))
    # When an operator deletes those that were invalid
    assert await publisher.ask("dead_letters.delete", code="invalid_message") == {"deleted": 2, "more_after": None}
    # Then the other one is left, and can be replayed or deleted, which leaves its task as it is
    assert await letters_left(js) == 1
    assert await publisher.ask("dead_letters.delete", kind="diarization") == NONE
    assert await publisher.ask("dead_letters.delete", task_id="t1") == NONE | {"deleted": 1}
    assert await letters_left(js) == 0
    assert (await publisher.ask("tasks.status", task_id="t1"))["state"] == "failed"


async def test_many_dead_letters_are_deleted_in_several_answers(
    settings: Settings, worker: Worker, js: JetStreamContext, constants: Constants
) -> None:
    # Given several dead letters, the wanted ones last, and time for one in each answer
    constants(ANSWER_WITHIN_S=-1.0, PAGE_SIZE=1)
    for kind, bodies in (("diarization", (b"{", b"[")), ("transcription", (b"{", b"[", b"1"))):
        for body in bodies:
            await js.publish(f"tasks.{kind}.normal", body)
        await eventually(partial(_are_left, js, len(bodies) if kind == "diarization" else 5))
    # When a client has them deleted
    # Then it asks again until all were looked at
    async with Client(settings) as client:
        assert await client.delete_dead_letters(kind=Kind.TRANSCRIPTION) == 3
    assert await letters_left(js) == 2


async def _are_left(js: JetStreamContext, count: int) -> bool:
    return await letters_left(js) == count


async def letters_left(js: JetStreamContext) -> int:
    return (await js.stream_info("transcription_dead_letters")).state.messages

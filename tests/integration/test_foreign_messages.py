"""What others write on the service's own subjects: it disturbs nothing else, and ends where it stands."""

import json

import pytest
from nats.aio.client import Client
from nats.js import JetStreamContext

from app.main import Service
from schemas.dead_letters import DeadLetter
from schemas.progress import State
from tests.fakes.engine import FakeEngine
from tests.integration.conftest import Publisher, queue_is_empty
from tests.integration.wire import Wire
from tests.waiting import eventually

GARBAGE = [b"", b"\xff\x00", b"{}", b"[]", b'{"task_id": "t1"}']
EVENT = {
    "task_id": "t1",
    "kind": "transcription",
    "state": "queued",
    "max_attempts": 4,
    "sequence": 1,
    "time": "2026-01-01T00:00:00Z",
}


@pytest.fixture
def wire() -> Wire:
    """Nobody listens here: these tests themselves say what the document does not know."""
    return Wire()


async def letter_of(js: JetStreamContext) -> DeadLetter:
    async def there() -> int:
        return (await js.stream_info("transcription_dead_letters")).state.messages

    await eventually(there)
    found = await js.get_last_msg("transcription_dead_letters", "dead_letters.transcription")
    return DeadLetter.model_validate_json(found.data or b"")


@pytest.mark.parametrize("garbage", [*GARBAGE, json.dumps(EVENT).encode()])
async def test_a_task_whose_log_is_not_ours_is_put_aside(
    publisher: Publisher, worker: Service, js: JetStreamContext, garbage: bytes
) -> None:
    # Given something on a task's subject that the service did not write
    await js.publish("progress.t1", garbage)
    # When the task is published
    await publisher.publish("t1")
    # Then there is a letter that says what to do, and the queue runs empty
    letter = await letter_of(js)
    assert (letter.task_id, letter.error.code) == ("t1", "internal")
    assert "another id" in letter.error.message
    await eventually(lambda: queue_is_empty(js))
    # And requests are told, not blamed
    for subject in ("tasks.status", "tasks.cancel", "tasks.result"):
        assert (await publisher.ask(subject, task_id="t1"))["error"]["code"] == "internal"
    # And after deleting it the id is free
    assert await publisher.ask("tasks.delete", task_id="t1") == {"deleted": True}
    await publisher.publish("t1")
    await publisher.until("t1", State.COMPLETED)


@pytest.mark.parametrize("garbage", GARBAGE)
async def test_a_task_goes_on_behind_what_others_wrote_in_its_log(
    publisher: Publisher, worker: Service, js: JetStreamContext, engine: FakeEngine, garbage: bytes
) -> None:
    # Given a task that is tried again in a moment
    engine.may_go_on.clear()
    await publisher.publish("t1")
    await publisher.until("t1", State.RUNNING)
    # When somebody else writes into its log
    await js.publish("progress.t1", garbage)
    engine.may_go_on.set()

    # Then it ends all the same, behind that
    async def ended() -> bool:
        return (await publisher.ask("tasks.status", task_id="t1"))["state"] == "completed"

    await eventually(ended)


async def test_the_projection_goes_on_behind_garbage(
    publisher: Publisher, worker: Service, js: JetStreamContext, redis: object
) -> None:
    # Given garbage on subjects of the service's own
    for subject in ("progress.x", "results.x", "segments.x"):
        for garbage in (*GARBAGE, json.dumps(EVENT).encode()):
            await js.publish(subject, garbage)
    # Then no consumer holds on to it
    await publisher.publish("t1")
    await publisher.until("t1", State.COMPLETED)

    async def settled() -> bool:
        found = await js.consumers_info("transcription_progress") + await js.consumers_info("transcription_results")
        return all(info.num_pending == 0 and info.num_ack_pending == 0 for info in found)

    await eventually(settled)


async def test_what_breaks_inside_is_no_invalid_request(
    publisher: Publisher, worker: Service, js: JetStreamContext, nc: Client
) -> None:
    await publisher.publish("t1")
    await publisher.until("t1", State.COMPLETED)
    await js.publish("results.t1", b"{}")
    answer = await publisher.ask("tasks.result", task_id="t1")
    assert answer["error"]["code"] == "internal"


async def test_a_replay_of_another_task_opens_nothing(
    publisher: Publisher, worker: Service, js: JetStreamContext
) -> None:
    # Given a task that has failed
    await publisher.publish("t1", audio_file_id="nowhere.flac")
    await publisher.until("t1", State.FAILED)
    failed = (await js.get_last_msg("transcription_progress", "progress.t1")).seq
    # When another task is published under its id, as if it were a replay
    other = {"task_id": "t1", "audio_file_id": "meeting.flac", "user_id": 7}
    headers = {"Natscribe-Replay-Of": str(failed)}
    await js.publish("tasks.transcription.high", json.dumps(other).encode(), headers=headers)
    await eventually(lambda: queue_is_empty(js))
    # Then the failure stands
    assert (await js.get_last_msg("transcription_progress", "progress.t1")).seq == failed

"""Messages that are no tasks: kept with the reason, said where there is an id, and the worker goes on."""

import json

import pytest
from nats.js import JetStreamContext
from structlog.testing import capture_logs

from app.main import Worker
from schemas.dead_letters import DeadLetter
from schemas.errors import ErrorCode
from schemas.progress import State
from tests.integration.conftest import Publisher, queue_is_empty
from tests.waiting import eventually

SUBJECT = "tasks.transcription.normal"


async def letter(js: JetStreamContext) -> DeadLetter:
    async def newest() -> DeadLetter | None:
        info = await js.stream_info("transcription_dead_letters")
        if not info.state.messages:
            return None
        message = await js.get_last_msg("transcription_dead_letters", "dead_letters.transcription")
        return DeadLetter.model_validate_json(message.data or b"")

    found = await eventually(newest)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b"", "Invalid JSON"),
        (b"\xff\xfe\x00", "Invalid JSON"),
        (b"not json", "Invalid JSON"),
        (b"[]", "it is no JSON object"),
        (b"null", "it is no JSON object"),
        (b"{}", "task_id: Field required"),
        (b'{"task_id":"bad id","audio_file_id":"a","user_id":1}', "task_id: use letters, digits, - and _, at most 64"),
        (b'{"task_id":5,"audio_file_id":"a","user_id":1}', "task_id: Input should be a valid string"),
        (b"[" * 100_000, "Invalid JSON"),
    ],
)
async def test_what_is_no_task_becomes_a_dead_letter(
    js: JetStreamContext, worker: Worker, publisher: Publisher, body: bytes, problem: str
) -> None:
    # When bytes are published that are no task
    await js.publish(SUBJECT, body)
    # Then they are kept with the reason
    found = await letter(js)
    assert found.error.code is ErrorCode.INVALID_MESSAGE
    assert problem in found.error.message
    assert (found.task_id, found.subject, found.attempts) == (None, SUBJECT, 0)
    # And the worker goes on
    await publisher.publish("after")
    await publisher.until("after", State.COMPLETED)


async def test_an_invalid_task_with_an_id_is_said_to_have_failed(
    js: JetStreamContext, worker: Worker, publisher: Publisher
) -> None:
    # When a task carries a misspelt option
    await publisher.publish("t1", word_timestamp=True)
    # Then its log says why it failed, and its letter too
    events = await publisher.until("t1", State.FAILED)
    assert [event.sequence for event in events] == [1]
    assert events[0].error is not None
    assert "word_timestamp: Extra inputs are not permitted" in events[0].error.message
    assert (await letter(js)).task_id == "t1"
    # And the status can be asked for
    status = await publisher.ask("tasks.status", task_id="t1")
    assert (status["state"], status["task"]) == ("failed", None)


async def test_an_invalid_task_with_a_known_id_changes_nothing(
    js: JetStreamContext, worker: Worker, publisher: Publisher
) -> None:
    await publisher.publish("t1")
    events = await publisher.until("t1", State.COMPLETED)
    await publisher.publish("t1", min_speakers=3, max_speakers=2)
    assert "min_speakers must not be above max_speakers" in (await letter(js)).error.message
    assert (await publisher.until("t1", State.COMPLETED)) == events


async def test_a_large_body_is_cut_in_its_letter(js: JetStreamContext, worker: Worker) -> None:
    await js.publish(SUBJECT, json.dumps({"task_id": "t1", "x": "y" * 600_000}).encode())
    found = await letter(js)
    assert found.body_truncated
    assert len(found.body) == 1024 * 1024 // 4


@pytest.mark.parametrize("body", [b"\x00" * 900_000, b'"' * 900_000, "\u0416".encode() * 400_000])
async def test_a_letter_always_fits_into_a_message(
    js: JetStreamContext, worker: Worker, publisher: Publisher, body: bytes
) -> None:
    # When a body grows in JSON, and its headers are many and long
    headers = {f"X-{number}": "y" * 1000 for number in range(40)} | {"traceparent": "a" * 15_000}
    await js.publish(SUBJECT, body[: 1024 * 1024 - 140_000], headers=headers)
    # Then there is a letter all the same, and the queue runs empty
    found = await letter(js)
    assert found.body_truncated
    assert len(found.headers) <= 32
    await eventually(lambda: queue_is_empty(js))


async def test_a_trace_that_is_none_goes_no_further(js: JetStreamContext, worker: Worker, publisher: Publisher) -> None:
    body = json.dumps({"task_id": "t1", "audio_file_id": "meeting.flac", "user_id": 1}).encode()
    await js.publish(SUBJECT, body, headers={"traceparent": "a" * 50_000})
    await publisher.until("t1", State.COMPLETED)
    assert "traceparent" not in ((await js.get_last_msg("transcription_progress", "progress.t1")).headers or {})


async def test_a_valid_task_outlives_a_worker_that_cannot_take_it(
    js: JetStreamContext, worker: Worker, publisher: Publisher
) -> None:
    # Given a worker that lacks a part
    transcriber = worker.app.context.get("transcriber")
    worker.app.context.reset_global("transcriber")
    # When a valid task is delivered to it
    with capture_logs() as lines:
        await publisher.publish("t1")

        async def came_back() -> bool:
            return "task_unopened" in {line["event"] for line in lines}

        await eventually(came_back)
    # Then it is no dead letter, and is done when the part is there
    worker.app.context.set_global("transcriber", transcriber)
    await publisher.until("t1", State.COMPLETED)
    assert (await js.stream_info("transcription_dead_letters")).state.messages == 0


async def test_another_content_type_is_named(js: JetStreamContext, worker: Worker) -> None:
    body = json.dumps({"task_id": "t1", "audio_file_id": "meeting.flac", "user_id": 1}).encode()
    await js.publish(SUBJECT, body, headers={"content-type": "text/plain"})
    assert "content-type is not application/json" in (await letter(js)).error.message

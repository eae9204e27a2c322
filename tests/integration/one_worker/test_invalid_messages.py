"""Messages that are no tasks: stored with the reason, reported if they have an id, and the worker continues."""

import json
from collections.abc import Awaitable, Callable

import pytest
from nats.js import JetStreamContext
from natscribe.schemas.dead_letters import DeadLetter
from natscribe.schemas.errors import ErrorCode
from natscribe.schemas.progress import State

from tests.integration.conftest import Publisher, queue_is_empty
from tests.integration.hostile import surprises
from tests.waiting import eventually

SUBJECT = "tasks.transcription.normal"
Letter = Callable[..., Awaitable[DeadLetter]]


@pytest.fixture
async def dead_letter_of(js: JetStreamContext) -> Letter:
    """The dead letter of a task, or of a message that is no task, stored after the start of the test."""
    before = (await js.stream_info("transcription_dead_letters")).state.last_seq

    async def find(task_id: str | None) -> DeadLetter | None:
        last = (await js.stream_info("transcription_dead_letters")).state.last_seq
        for sequence in range(before + 1, last + 1):
            message = await js.get_msg("transcription_dead_letters", sequence)
            dead_letter = DeadLetter.model_validate_json(message.data or b"")
            if dead_letter.task_id == task_id:
                return dead_letter
        return None

    async def make_dead_letter(task_id: str | None = None) -> DeadLetter:
        dead_letter = await eventually(lambda: find(task_id))
        assert dead_letter is not None
        return dead_letter

    return make_dead_letter


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b"", "Invalid JSON"),
        (b"\xff\xfe\x00", "Invalid JSON"),
        (b"not json", "Invalid JSON"),
        (b"[]", "it is no JSON object"),
        (b"null", "it is no JSON object"),
        (b"{}", "task_id: this field is missing, add it"),
        (b'{"task_id":"bad id","audio_file_id":"a","user_id":1}', "task_id: use letters, digits, - and _, at most 64"),
        (b'{"task_id":5,"audio_file_id":"a","user_id":1}', "task_id: Input should be a valid string"),
        pytest.param(b"[" * 100_000, "Invalid JSON", id="nested too deeply"),
    ],
)
async def test_what_is_no_task_becomes_a_dead_letter(
    publisher: Publisher, dead_letter_of: Letter, task_id: str, body: bytes, problem: str
) -> None:
    # When bytes are published that are no task
    await publisher.js.publish(SUBJECT, body)
    # Then they are stored with the reason
    dead_letter = await dead_letter_of()
    assert dead_letter.error.code is ErrorCode.INVALID_MESSAGE
    assert problem in dead_letter.error.message
    assert (dead_letter.task_id, dead_letter.subject, dead_letter.attempts) == (None, SUBJECT, 0)
    # And the worker continues
    await publisher.reaching(State.COMPLETED, task_id)


async def test_an_invalid_task_with_an_id_has_failed(publisher: Publisher, task_id: str) -> None:
    letters = (await publisher.js.stream_info("transcription_dead_letters")).state.last_seq
    # When a task carries a misspelt option
    await publisher.publish(task_id, word_timestamp=True)
    # Then its log says why it failed
    events = await publisher.until(task_id, State.FAILED)
    assert [event.sequence for event in events] == [1]
    assert events[0].error is not None
    assert "word_timestamp: there is no such field, did you mean word_timestamps?" in events[0].error.message
    # And the status can be requested
    status = await publisher.request("tasks.status", task_id=task_id)
    assert (status["state"], status["task"]) == ("failed", None)
    # And its publisher knows, so that there is nothing for an operator
    await eventually(lambda: queue_is_empty(publisher.js))
    assert (await publisher.js.stream_info("transcription_dead_letters")).state.last_seq == letters


async def test_a_new_task_that_claims_to_be_a_replay_fails(publisher: Publisher, task_id: str) -> None:
    # When a new task is published with the header that a replay has
    body = json.dumps({"task_id": task_id, "audio_file_id": "meeting.flac", "user_id": 7}).encode()
    await publisher.js.publish(SUBJECT, body, headers={"Natscribe-Replay-Of": "3"})
    # Then it fails without having run, because it may be the replay of a deleted task, and its error says why
    (event,) = await publisher.until(task_id, State.FAILED)
    assert event.error is not None
    assert event.error.code is ErrorCode.INVALID_MESSAGE
    assert "Natscribe-Replay-Of" in event.error.message


@pytest.mark.parametrize("number", range(len(surprises(""))))
async def test_a_task_that_surprises_a_parser_ends(publisher: Publisher, task_id: str, number: int) -> None:
    # When the value of a field is something at which parsers of JSON differ
    await publisher.js.publish(SUBJECT, surprises(task_id)[number])
    # Then its client is not left waiting
    events = [event async for event in publisher.events(task_id)]
    if events[-1].state is State.FAILED:
        assert events[-1].error is not None
        assert events[-1].error.code is ErrorCode.INVALID_MESSAGE
    # And the service knows the task, whichever end it has
    assert (await publisher.request("tasks.status", task_id=task_id))["state"] == events[-1].state


async def test_an_invalid_task_with_a_known_id_changes_nothing(
    publisher: Publisher, dead_letter_of: Letter, task_id: str
) -> None:
    events = await publisher.reaching(State.COMPLETED, task_id)
    await publisher.publish(task_id, min_speakers=3, max_speakers=2)
    assert "min_speakers must not be above max_speakers" in (await dead_letter_of(task_id)).error.message
    assert (await publisher.until(task_id, State.COMPLETED)) == events


async def test_a_large_body_is_truncated_in_its_dead_letter(js: JetStreamContext, dead_letter_of: Letter) -> None:
    await js.publish(SUBJECT, json.dumps({"x": "y" * 600_000}).encode())
    dead_letter = await dead_letter_of()
    assert dead_letter.body_truncated
    assert len(dead_letter.body) == 1024 * 1024 // 4


@pytest.mark.parametrize(
    "body",
    [b"\x00" * 900_000, b'"' * 900_000, "\u0416".encode() * 400_000],
    ids=["zeros", "quotes", "letters of two bytes"],
)
async def test_a_dead_letter_always_fits_into_a_message(
    publisher: Publisher, dead_letter_of: Letter, body: bytes
) -> None:
    # When a body grows in JSON, and its headers are many and long
    headers = {f"X-{number}": "y" * 1000 for number in range(40)} | {"traceparent": "a" * 15_000}
    await publisher.js.publish(SUBJECT, body[: 1024 * 1024 - 140_000], headers=headers)
    # Then there is a dead letter nevertheless, and the queue runs empty
    dead_letter = await dead_letter_of()
    assert dead_letter.body_truncated
    assert len(dead_letter.headers) <= 32
    await eventually(lambda: queue_is_empty(publisher.js))


async def test_an_invalid_trace_is_not_repeated(publisher: Publisher, task_id: str) -> None:
    body = json.dumps({"task_id": task_id, "audio_file_id": "meeting.flac", "user_id": 1}).encode()
    await publisher.js.publish(SUBJECT, body, headers={"traceparent": "a" * 50_000})
    await publisher.until(task_id, State.COMPLETED)
    assert "traceparent" not in (
        (await publisher.js.get_last_msg("transcription_progress", f"progress.{task_id}")).headers or {}
    )


async def test_another_content_type_is_named(publisher: Publisher, task_id: str) -> None:
    body = json.dumps({"task_id": task_id, "audio_file_id": "meeting.flac", "user_id": 1}).encode()
    await publisher.js.publish(SUBJECT, body, headers={"content-type": "text/plain"})
    error = (await publisher.until(task_id, State.FAILED))[-1].error
    assert error is not None
    assert "content-type is not application/json" in error.message

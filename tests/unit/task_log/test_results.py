"""A result is a message as long as that fits with all its headers, else an object."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from natscribe.jetstream.large_results import HEADROOM_BYTES
from natscribe.schemas import headers as names
from natscribe.schemas.progress import State
from natscribe.schemas.transcription import TranscriptionResult

from app.storage.jetstream.records import UnreadableError
from app.tasks.task_log.record import Metadata, Record
from app.tasks.task_log.results import SEGMENTS_PER_STEP, ResultStore
from tests.fakes.engine import segment
from tests.fakes.messages import event, transcript
from tests.fakes.nats import InMemoryNats
from tests.fakes.parts import Parts
from tests.fakes.task_log import InMemoryTaskLog

MAX_PAYLOAD = 100_000
NOW = datetime.now(UTC)
LAST = Record(event(), Metadata(None, 1, "tasks.transcription.high", NOW), 1)
LONGEST_HEADERS = 13 * 1024  # bytes: a name of 1,024 characters of which JSON makes twelve bytes each, and the rest


def store_in(nats: InMemoryNats, log: InMemoryTaskLog, max_payload: int = 0) -> ResultStore:
    """A store of results; without a `max_payload` each result is an object."""
    nats.max_payload = max_payload
    return ResultStore(nats.client, log)


def stored_object(nats: InMemoryNats) -> bytes:
    """The content of the only object; empty if there is none."""
    return b"".join(chunk.body for chunk in nats.streams["OBJ_results"].of("$O.results.C.>"))


@pytest.mark.parametrize("room", [0, 1, LONGEST_HEADERS])
async def test_a_result_that_leaves_no_room_for_headers_is_an_object(nats: InMemoryNats, room: int) -> None:
    # Given a result that fits into a message by itself, but not with its headers
    log = InMemoryTaskLog()
    result = transcript("x" * (MAX_PAYLOAD - room - len(transcript("").model_dump_json())))
    # When it is published
    await store_in(nats, log, MAX_PAYLOAD).publish(result, LAST)
    # Then the message names the object that holds it
    (published,) = log.outcomes("t1")
    assert isinstance(published, TranscriptionResult)
    assert published.object is not None
    assert published.text == ""
    assert stored_object(nats) == result.model_dump_json().encode()


async def test_a_result_that_fits_is_a_message(nats: InMemoryNats) -> None:
    log = InMemoryTaskLog()
    largest = MAX_PAYLOAD - HEADROOM_BYTES - len(transcript("").model_dump_json())
    await store_in(nats, log, MAX_PAYLOAD).publish(transcript("x" * largest), LAST)
    (published,) = log.outcomes("t1")
    assert isinstance(published, TranscriptionResult)
    assert published.object is None
    assert nats.streams["OBJ_results"].messages == []


async def test_embeddings_are_those_of_one_task_message(parts: Parts) -> None:
    # Given embeddings of a task, and a later message with its id
    record = await parts.reaching(State.RUNNING, "t1")
    owner, store = record.metadata.owner, parts.results.embeddings
    later = replace(owner, task_sequence=owner.task_sequence + 1)
    for removed_by in (owner, None):
        await store.put(b"{}", record)
        # When those of the later one are searched for, or removed, then there are none
        assert await store.find("t1", of=later) is None
        await store.delete("t1", of=later)
        assert await store.find("t1", of=owner) == b"{}"
        # And they go with their own task, or with all of this id
        await store.delete("t1", of=removed_by)
        assert await store.find("t1", of=owner) is None


@pytest.mark.parametrize(
    "headers",
    [{}, {names.CREATED_AT: "2026-11-24T09:30:00"}, {names.TASK: '{"later": true}'}, {names.TASK_SEQUENCE: "x"}],
)
async def test_embeddings_of_another_version_are_neither_missing_nor_deleted(
    parts: Parts, nats: InMemoryNats, headers: dict[str, str]
) -> None:
    # Given embeddings whose headers this version cannot read
    record = await parts.reaching(State.RUNNING, "t1")
    written = record.metadata.headers() | headers if headers else {}
    nats.streams["KV_embeddings"].publish("$KV.embeddings.t1", b"{}", written, nats.now)
    store = parts.results.embeddings
    # Then looking for them and deleting them stop
    with pytest.raises(UnreadableError, match=r"\$KV\.embeddings\.t1"):
        await store.find("t1", of=record.metadata.owner)
    with pytest.raises(UnreadableError):
        await store.delete("t1", of=record.metadata.owner)
    assert nats.streams["KV_embeddings"].messages != []


@pytest.mark.parametrize("segments", [0, 1, SEGMENTS_PER_STEP, 5 * SEGMENTS_PER_STEP + 1])
async def test_a_result_is_serialized_as_its_json(nats: InMemoryNats, segments: int) -> None:
    # Given a result whose text resembles its JSON
    parts = [segment(number, '"segments":[]') for number in range(segments)]
    result = transcript('"segments":[]', segments=parts)
    # When it is published as an object
    await store_in(nats, InMemoryTaskLog()).publish(result, LAST)
    # Then the object is its JSON
    assert stored_object(nats).decode() == result.model_dump_json()


async def test_while_a_long_result_is_written_others_get_their_turn(nats: InMemoryNats) -> None:
    # Given a result with many segments, and something else that continues
    store, turns = store_in(nats, InMemoryTaskLog()), 0
    result = transcript(segments=[segment(0)] * (10 * SEGMENTS_PER_STEP))
    publishing = asyncio.create_task(store.publish(result, LAST))
    # When it is published
    while not publishing.done():
        turns += 1
        await asyncio.sleep(0)
    await publishing
    # Then that continued between any two parts of it
    assert turns >= 10

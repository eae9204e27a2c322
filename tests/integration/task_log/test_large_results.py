"""Results too large for a message: the message names the stored object, whichever worker was frozen meanwhile."""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from nats.aio.client import Client
from nats.js import JetStreamContext
from nats.js.api import PubAck
from natscribe.schemas.transcription import TranscriptionResult

from app.fleet.stream_guard import provisioning
from app.runtime.errors import FencedError
from app.settings import Settings
from app.tasks.task_log.log import TaskLog
from app.tasks.task_log.record import Metadata, Record, TaskMessageId
from app.tasks.task_log.results import ResultStore
from tests.fakes.messages import event, transcript
from tests.publishers import publishers

NOW = datetime.now(UTC)
LAST = Record(event(), Metadata(None, 1, "tasks.transcription.high", NOW), 1)
NOTE = "$O.results.M."


Publish = Callable[[str, str], Coroutine[Any, Any, None]]


@pytest.fixture
async def publish(settings: Settings, nc: Client, js: JetStreamContext) -> Publish:
    """Publish a large text in the name of a worker; to be fenced is no error."""
    await provisioning.provision(js, settings)

    async def as_worker(worker: str, text: str) -> None:
        log = TaskLog(nc, publishers(nc), settings.stream_names, worker)
        store = ResultStore(nc, log)
        with suppress(FencedError):
            await store.publish(transcript(text * nc.max_payload), LAST)

    return as_worker


@pytest.fixture
def frozen(monkeypatch: pytest.MonkeyPatch) -> tuple[asyncio.Event, asyncio.Event]:
    """Freeze the first worker at the object's note: its pieces are stored. Set when it is frozen; set to thaw it."""
    is_frozen, thawed = asyncio.Event(), asyncio.Event()
    original = JetStreamContext.publish

    async def held(self: JetStreamContext, subject: str, *arguments: Any, **options: Any) -> PubAck:
        if subject.startswith(NOTE) and not is_frozen.is_set():
            is_frozen.set()
            await thawed.wait()
        return await original(self, subject, *arguments, **options)

    monkeypatch.setattr(JetStreamContext, "publish", held)
    return is_frozen, thawed


async def published(js: JetStreamContext) -> tuple[TranscriptionResult, TranscriptionResult]:
    """The result's message, and the object of that name, which the library checks against its own note."""
    message = await js.get_last_msg("transcription_results", "results.t1")
    result = TranscriptionResult.model_validate_json(message.data or b"")
    stored_object = await (await js.object_store("results")).get("t1")
    assert result.object is not None
    assert (result.object.digest, result.object.size) == (stored_object.info.digest, stored_object.info.size)
    return result, TranscriptionResult.model_validate_json(stored_object.data or b"")


async def pieces(js: JetStreamContext) -> set[str]:
    """The subjects of the objects of which the bucket has chunks."""
    info = await js.stream_info("OBJ_results", subjects_filter="$O.results.C.>")
    return set(info.state.subjects or {})


@pytest.mark.parametrize("in_time", [True, False])
async def test_a_worker_that_comes_back_publishes_its_result_only_in_time(
    js: JetStreamContext, publish: Publish, frozen: tuple[asyncio.Event, asyncio.Event], in_time: bool
) -> None:
    is_frozen, thawed = frozen
    # Given a worker that was frozen while it stored a large result
    first = asyncio.create_task(publish("first", "a"))
    await is_frozen.wait()
    # When it comes back before or after another one has published a result
    if not in_time:
        await publish("second", "b")
    thawed.set()
    await first
    if in_time:
        await publish("second", "b")
    # Then message and object are the result that was published first, and nothing else is stored
    result, whole = await published(js)
    assert whole.text[0] == ("a" if in_time else "b")
    assert result.created_at == whole.created_at
    assert len(await pieces(js)) == 1


@pytest.mark.parametrize("left_by", [1, 5])
async def test_an_object_of_an_earlier_task_stream_is_replaced(
    nc: Client, js: JetStreamContext, settings: Settings, left_by: int
) -> None:
    # Given an object that a worker has left, of a message of a task stream that was recreated since
    await provisioning.provision(js, settings)
    log = TaskLog(nc, publishers(nc), settings.stream_names, "w")
    store = ResultStore(nc, log)
    result = transcript("a" * nc.max_payload)
    earlier = TaskMessageId(NOW - timedelta(days=1), left_by)
    await store.store_object(result, result.model_dump_json().encode(), of=earlier)
    # When the first message of the new stream, with the same id, has a result
    await store.publish(transcript("b" * nc.max_payload), LAST)
    # Then that is the one which is found, and the removal of the earlier one leaves it
    await store.delete("t1", of=earlier)
    stored_result = await store.find(replace(LAST, stream_sequence=2))
    assert stored_result is not None
    assert (await store.load_segments(stored_result)).text[0] == "b"  # type: ignore[union-attr]

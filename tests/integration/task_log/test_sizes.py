"""Results around the largest size of a message: whole in the message where it fits, else an object; never silence."""

import json
from collections.abc import Awaitable, Callable

import pytest
from nats.aio.client import Client
from nats.js import JetStreamContext
from natscribe.schemas.progress import State

from app.main import Worker
from tests.constants import Constants
from tests.fakes.engine import FakeEngine
from tests.integration.conftest import Publisher
from tests.waiting import DEADLINE

ROOM = 16 * 1024  # bytes: for the headers of a message and what FastStream adds to a reply
Transcribe = Callable[[str, int], Awaitable[dict[str, object]]]


@pytest.fixture
def transcribe(publisher: Publisher, worker: Worker, engine: FakeEngine, js: JetStreamContext) -> Transcribe:
    """Run a task with a given number of characters of text in two segments; return its published result."""

    async def done(task_id: str, characters: int) -> dict[str, object]:
        engine.windows, engine.text = 2, "x" * (characters // 2)
        await publisher.reaching(State.COMPLETED, task_id)
        message = await js.get_last_msg("transcription_results", f"results.{task_id}")
        result: dict[str, object] = json.loads(message.data or b"")
        return result

    return done


async def request(nc: Client, task_id: str, fmt: str) -> bytes:
    return (
        await nc.request("tasks.result", json.dumps({"task_id": task_id, "format": fmt}).encode(), timeout=DEADLINE)
    ).data


@pytest.mark.parametrize("below", [0, 1, 100, 1000, ROOM + 100])
async def test_a_result_of_any_size_arrives(
    nc: Client, js: JetStreamContext, transcribe: Transcribe, below: int
) -> None:
    # Given a result that is `below` bytes smaller than the largest message: its text is in it twice
    envelope = len(json.dumps(await transcribe("s", 10), separators=(",", ":"))) - 2 * 10
    characters = (nc.max_payload - below - envelope) // 2
    # When it is published and requested
    result = await transcribe("t", characters)
    reply = json.loads(await request(nc, "t", "json"))
    # Then it is all there, or all in the object that both name
    assert reply == result
    if below > ROOM:
        assert result["object"] is None
    else:
        assert (result["text"], result["segments"]) == ("", [])
        result = json.loads((await (await js.object_store("results")).get("t")).data or b"")
    assert len(str(result["text"])) == pytest.approx(characters, abs=2)


@pytest.mark.parametrize("below", [0, 1, 100, 1000, ROOM + 100])
async def test_a_text_of_any_size_arrives(nc: Client, js: JetStreamContext, transcribe: Transcribe, below: int) -> None:
    # Given a text that is `below` bytes smaller than the largest message
    characters = nc.max_payload - below - 2  # two lines
    await transcribe("t", characters)
    # When it is requested as text
    reply = await request(nc, "t", "txt")
    # Then that is the text, or names the object that contains it
    if below > ROOM:
        assert len(reply) == pytest.approx(nc.max_payload - below, abs=2)
        assert reply.startswith(b"xxx")
    else:
        named = json.loads(reply)["object"]
        whole = json.loads((await (await js.object_store(named["bucket"])).get(named["name"])).data or b"")
        assert len(whole["text"]) == pytest.approx(characters, abs=2)


async def test_a_message_of_the_largest_size_is_scheduled_like_any_other(
    nc: Client, worker: Worker, publisher: Publisher, constants: Constants
) -> None:
    # Given a worker that requests no more bytes at once than a message may have
    constants(MAX_REPLY_BYTES=0)
    # When a task is published that has them all, then it completes
    task = json.dumps({"task_id": "t2", "audio_file_id": "meeting.flac", "user_id": 7}).encode()
    await publisher.js.publish("tasks.transcription.normal", task.ljust(nc.max_payload - 64))
    await publisher.until("t2", State.COMPLETED)

"""An operator deletes dead letters that are not to be replayed."""

from functools import partial

from nats.js import JetStreamContext
from natscribe.client import Client
from natscribe.schemas.wire import Kind

from app.main import Worker
from app.settings import Settings
from tests.constants import Constants
from tests.waiting import eventually

NONE = {"deleted": 0, "more_after": None}


async def test_many_dead_letters_are_deleted_in_several_requests(
    settings: Settings, worker: Worker, js: JetStreamContext, constants: Constants
) -> None:
    # Given several dead letters, the chosen ones last, and time for one in each request
    constants(REPLY_WITHIN_S=-1.0, PAGE_SIZE=1)
    for kind, bodies in (("diarization", (b"{", b"[")), ("transcription", (b"{", b"[", b"1"))):
        for body in bodies:
            await js.publish(f"tasks.{kind}.normal", body)
        await eventually(partial(_are_left, js, len(bodies) if kind == "diarization" else 5))
    # When a client deletes them
    # Then the client repeats the request until all were checked
    async with Client(settings) as client:
        assert await client.delete_dead_letters(kind=Kind.TRANSCRIPTION) == 3
    assert await remaining_dead_letters(js) == 2


async def _are_left(js: JetStreamContext, count: int) -> bool:
    return await remaining_dead_letters(js) == count


async def remaining_dead_letters(js: JetStreamContext) -> int:
    return (await js.stream_info("transcription_dead_letters")).state.messages

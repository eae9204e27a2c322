"""No text reaches a stream, an object, Redis or a client before it has passed all filters."""

import json
import zlib
from collections.abc import AsyncIterator, Iterable
from contextlib import suppress
from itertools import product
from typing import Any

import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import NoRespondersError
from nats.js import JetStreamContext
from nats.js.errors import NotFoundError
from natscribe.schemas import subjects
from natscribe.schemas.diarization import Turn
from natscribe.schemas.progress import State
from natscribe.schemas.requests import ResultFormat
from natscribe.schemas.transcription import Segment, TranscribeOptions
from redis.asyncio import Redis

from app.engines.cores import Cores
from app.engines.messages import Loaded
from app.engines.text import filters
from app.engines.windows import Window, WindowReply, WindowRequest
from app.settings import Settings
from app.speech.window_sharing import sharing
from app.speech.window_sharing.sharing import engine_fingerprint, engine_hash
from tests.constants import Constants
from tests.fakes.engine import MODEL, SAMPLES, FakeEngine, live_diarization
from tests.integration.conftest import Publisher, StartWorker
from tests.integration.live.test_live import Speaker
from tests.waiting import DEADLINE, eventually, patiently

SPOKEN, SHOWN = b"secret", b"redacted"
FORMATS = [form for form in ResultFormat if form is not ResultFormat.RTTM]  # it has no text


def shown(text: str) -> str:
    return text.replace(SPOKEN.decode(), SHOWN.decode())


def redacted(segments: Iterable[Segment], _options: TranscribeOptions) -> list[Segment]:
    """A filter like one that removes names: it changes each word, and the text of the words."""
    return [
        segment.model_copy(
            update={
                "text": shown(segment.text),
                "words": [word.model_copy(update={"word": shown(word.word)}) for word in segment.words or ()],
            }
        )
        for segment in segments
    ]


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"cache_ttl": 3600.0})


@pytest.fixture
def engine() -> FakeEngine:
    engine = FakeEngine()
    engine.text = f"{SPOKEN.decode()} {SPOKEN.decode()}"
    engine.live_speakers = [live_diarization(Turn(start=0, end=30, speaker="SPEAKER_00"))] * 2
    return engine


@pytest.fixture(autouse=True)
def _filters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filters, "FILTERS", [*filters.FILTERS, redacted])
    monkeypatch.setattr(Cores, "free", lambda _self, _wanted: True)  # the worker may help others
    monkeypatch.setattr(sharing, "CHECK_IDLE_EVERY_S", 0.02)


async def stored(js: JetStreamContext) -> AsyncIterator[tuple[str, bytes]]:
    """The subject and the body of each message of each stream, buckets included."""
    for info in await js.streams_info():
        name, state = str(info.config.name), info.state
        for sequence in range(max(state.first_seq, 1), state.last_seq + 1):
            with suppress(NotFoundError):  # deleted
                message = await js.get_msg(name, sequence)
                yield message.subject or "", message.data or b""


async def cached(redis: Any) -> AsyncIterator[tuple[str, bytes]]:
    """The key and the plain content of each value of Redis."""
    async for key in redis.scan_iter():
        values: list[bytes] = []
        match await redis.type(key):
            case b"string":
                values = [await redis.get(key)]
            case b"hash":
                values = await redis.hvals(key)
            case b"stream":
                values = [value for _, fields in await redis.xrange(key) for value in fields.values()]
            case b"set":
                values = await redis.smembers(key)
            case b"zset":
                values = await redis.zrange(key, 0, -1)
            case kind:
                pytest.fail(f"{key} is a {kind}: read it here")
        for value in values:
            yield f"redis {key!r}", plain(value)


def plain(value: bytes) -> bytes:
    """What a value says that may be compressed."""
    try:
        return zlib.decompress(value)
    except zlib.error:
        return value


async def shared(nc: Client, settings: Settings) -> bytes:
    """The reply of an idle worker to another one that shares a window."""
    request = WindowRequest(
        window=Window(regions=[(0.0, 10.0)], samples=SAMPLES),
        model=MODEL,
        fingerprint=engine_fingerprint(Loaded(model=MODEL)),
    )
    subject = subjects.windows(engine_hash(settings))

    async def is_transcribed() -> bytes | None:
        with suppress(NoRespondersError):
            reply = await nc.request(subject, request.model_dump_json().encode(), timeout=patiently(DEADLINE))
            return reply.data if WindowReply.model_validate_json(reply.data).text is not None else None
        return None

    return await eventually(is_transcribed)


@pytest.mark.parametrize("headroom", [0.1, 1.0], ids=["results as messages", "results as objects"])
async def test_all_text_has_passed_all_filters(
    headroom: float,
    constants: Constants,
    start_worker: StartWorker,
    engine: FakeEngine,
    publisher: Publisher,
    binary_redis: Redis,
    settings: Settings,
) -> None:
    nc, speaker, seen = publisher.nc, Speaker(publisher), list[tuple[str, bytes]]()

    async def note(message: Msg) -> None:
        seen.append(("partials", message.data))

    # Given a client that receives partial results, and a worker
    await nc.subscribe(subjects.partials("*"), cb=note)
    constants(HEADROOM_BYTES=int(headroom * nc.max_payload))
    async with start_worker(engine):
        # When it transcribes a window of another worker
        seen.append(("window", await shared(nc, settings)))
        # And recordings, with and without speakers, translated, and from the cache
        options = {"plain": {}, "translated": {"translate": True}, "diarized": {"diarize": True}, "cached": {}}
        for task_id, of_task in options.items():
            await publisher.reaching(State.COMPLETED, task_id, **of_task)
        # And live audio
        await speaker.begin(diarize=True)
        await speaker.say(15)
        await eventually(lambda: any(place == "partials" for place, _ in seen))
        await speaker.ends(1)
        # And clients request the results
        for task_id, form in product([*options, speaker.task_id], FORMATS):
            body = json.dumps({"task_id": task_id, "format": form}).encode()
            reply = await nc.request(subjects.RESULT, body, timeout=patiently(DEADLINE))
            seen.append((f"reply {form}", reply.data))
    # Then no text is anywhere as it was spoken
    seen += [item async for item in stored(publisher.js)]
    seen += [item async for item in cached(binary_redis)]
    assert [place for place, body in seen if SPOKEN in body] == []
    # And the text that the filter has left is where text is
    places = {place.split(".")[0] for place, body in seen if SHOWN in body}
    results = {"$O"} if headroom == 1 else {"results", *(f"reply {form}" for form in FORMATS)}
    assert {"window", "partials", "segments"} | results <= places
    assert any(place.startswith("redis") for place in places)

"""Voices by name: a person who was named once is named in later recordings, until the name is forgotten."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from functools import partial
from hashlib import sha256
from typing import Any

import pytest
from nats.aio.client import Client as Nats
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from nats.js.errors import NotFoundError
from natscribe.schemas import subjects
from natscribe.schemas.progress import State
from natscribe.schemas.wire import Kind, Priority, TaskType
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from redis.asyncio import Redis

from app.main import Worker
from app.settings import Settings
from app.tasks.task_log.log import TaskLog
from tests.constants import Constants
from tests.fakes.engine import FakeEngine, live_diarization, voice_of
from tests.integration.conftest import Publisher, StartWorker
from tests.integration.live.test_live import Speaker
from tests.integration.places import places_with
from tests.publishers import publishers
from tests.waiting import DEADLINE, eventually

CONSENT = {"by": "Anna Berg", "at": "2026-11-24T09:30:00Z"}


@pytest.fixture(autouse=True)
def _in_a_bucket(settings: Settings, constants: Constants) -> None:
    settings.audio_store = "nats://audio"
    constants(TOMBSTONE_S=1)


async def done(publisher: Publisher, task_id: str, **options: Any) -> None:
    """A task that has completed, with a recording of its own."""
    await (await publisher.js.object_store("audio")).put(f"{task_id}.flac", task_id.encode())
    await publisher.reaching(State.COMPLETED, task_id, audio_file_id=f"{task_id}.flac", **options)


async def enroll(publisher: Publisher, task_id: str, **request: Any) -> dict[str, Any]:
    fields = {"user_id": 7, "task_id": task_id, "name": "Anna", "consent": CONSENT} | request
    return await publisher.request(subjects.ENROLL, **fields)


async def refused(publisher: Publisher, task_id: str, **request: Any) -> tuple[str, str]:
    """The error of an enrolment."""
    error = (await enroll(publisher, task_id, **request))["error"]
    return error["code"], error["message"]


async def equals(read: Callable[[], Awaitable[object]], expected: object) -> bool:
    return await read() == expected


async def named(publisher: Publisher, task_id: str) -> dict[str, str]:
    """Who the speakers of a task are."""
    result = await publisher.request(subjects.RESULT, task_id=task_id)
    return {label: voice["name"] for label, voice in result["voices"].items()}


async def written(publisher: Publisher, task_id: str, result_format: str) -> str:
    """The result of a task as text."""
    body = json.dumps({"task_id": task_id, "format": result_format}).encode()
    return (await publisher.nc.request(subjects.RESULT, body, timeout=DEADLINE)).data.decode()


@pytest.fixture
async def anna(publisher: Publisher, worker: Worker, engine: FakeEngine) -> str:
    """A voice that was enrolled from the first speaker of a call, and speaks again as the second one of another."""
    await done(publisher, "call", diarize=True, identify=True)
    voice = await enroll(publisher, "call", speaker="SPEAKER_00")
    engine.people = ["cecile", "anna"]
    await done(publisher, "next", diarize=True, identify=True)
    return str(voice["voice"])


async def test_a_person_who_was_named_once_is_named_in_the_next_recording(publisher: Publisher, anna: str) -> None:
    # Given a person who was named in a call, and speaks in two other recordings beside an unknown person
    await done(publisher, "turns", kind=Kind.DIARIZATION, identify=True)
    # Then she is named, and the unknown person is not
    assert await named(publisher, "next") == {"SPEAKER_00": "unknown", "SPEAKER_01": "Anna"}
    assert await named(publisher, "turns") == {"SPEAKER_00": "unknown", "SPEAKER_01": "Anna"}
    # And the published result has her id alone
    stored = json.loads((await publisher.js.get_last_msg("transcription_results", "results.next")).data or b"")
    assert stored["voices"]["SPEAKER_01"] | {"score": None} == {"voice": anna, "name": None, "score": None}


async def test_formats_for_people_show_names_and_rttm_keeps_labels(publisher: Publisher, anna: str) -> None:
    assert "Anna: " in await written(publisher, "next", "txt")
    assert "Anna: " in await written(publisher, "next", "srt")
    assert "<v Anna>" in await written(publisher, "next", "vtt")
    assert ">Anna<" in await written(publisher, "next", "html")
    assert "SPEAKER_00: " in await written(publisher, "next", "txt")  # two unknown people stay two
    rttm = await written(publisher, "next", "rttm")
    assert "Anna" not in rttm
    assert "SPEAKER_01" in rttm


async def test_the_voices_of_a_user_are_listed_without_what_they_are_compared_with(
    publisher: Publisher, anna: str
) -> None:
    listed = await publisher.request(subjects.VOICES, user_id=7)
    (voice,) = listed["voices"]
    assert (voice["voice"], voice["name"], voice["consent"]) == (anna, "Anna", CONSENT)
    assert [(reference["task_id"], reference["seconds"]) for reference in voice["references"]] == [("call", 15)]
    assert voice["comparable"] is True
    assert voice_of("anna") not in json.dumps(listed)
    assert (await publisher.request(subjects.VOICES, user_id="7"))["voices"] == []


async def test_a_new_voice_is_stored_once_though_a_reply_was_lost(
    publisher: Publisher, anna: str, worker: Worker
) -> None:
    # Given a voice that is stored
    store = worker.container.voice_store
    stored = await store.find(7, anna)
    assert stored is not None
    # When it is stored as a new one again, because the reply of NATS was lost
    await store.add(stored.voice)
    # Then it is there once, as it was
    assert await store.find(7, anna) == stored


async def test_a_new_voice_whose_request_dies_expires(
    publisher: Publisher, anna: str, worker: Worker, constants: Constants
) -> None:
    # Given a voice that is stored, and one whose worker dies before it has confirmed it
    constants(UNCONFIRMED_S=3)
    store = worker.container.voice_store
    stored = await store.find(7, anna)
    assert stored is not None
    await store.add(stored.voice.model_copy(update={"voice": "0" * 32}))
    assert await store.find(7, "0" * 32) is not None

    # Then the second one expires
    async def expired() -> bool:
        return await store.find(7, "0" * 32) is None

    await eventually(expired)
    assert await store.find(7, anna) == stored


async def test_no_data_of_a_forgotten_voice_is_left(
    publisher: Publisher, anna: str, js: JetStreamContext, redis: Redis, nc: Nats
) -> None:
    # Given a person who is named in a result, and a subscriber
    forgotten_events: asyncio.Queue[Msg] = asyncio.Queue()
    await nc.subscribe(subjects.forgotten("*"), cb=forgotten_events.put)
    # When the voice is forgotten
    reply = await publisher.request(subjects.FORGET, user_id=7, voice=anna)
    assert reply["voice"] == anna
    # Then the event reports it, and neither name nor embedding is anywhere
    event = await asyncio.wait_for(forgotten_events.get(), DEADLINE)
    assert event.subject == f"voices.forgotten.{anna}"
    hers = ("Anna", voice_of("anna"), f"natscribe:heard:{sha256(b'call').hexdigest()}")
    assert await places_with(js, redis, *hers) == []
    # And the result has no names
    assert await named(publisher, "next") == {"SPEAKER_00": "unknown", "SPEAKER_01": "unknown"}
    assert (await publisher.request(subjects.FORGET, user_id=7, voice=anna))["error"]["code"] == "not_found"


async def test_embeddings_go_with_their_task(publisher: Publisher, worker: Worker, js: JetStreamContext) -> None:
    await done(publisher, "call", diarize=True, identify=True)
    assert (await js.stream_info("KV_embeddings")).state.messages == 1
    await publisher.request(subjects.DELETE, task_id="call")
    assert (await js.stream_info("KV_embeddings")).state.messages == 0
    code, message = await refused(publisher, "call", speaker="SPEAKER_00")
    assert (code, "No task call is known" in message) == ("not_found", True)


@pytest.fixture
async def call(publisher: Publisher, worker: Worker) -> str:
    """A task with two speakers."""
    await done(publisher, "call", diarize=True, identify=True)
    return "call"


async def test_the_error_of_an_enrolment_says_what_is_missing(publisher: Publisher, call: str) -> None:
    code, message = await refused(publisher, call)
    assert (code, "2 speakers: select one" in message) == ("invalid_request", True)
    assert (await refused(publisher, call, speaker="SPEAKER_07"))[0] == "not_found"
    assert (await refused(publisher, call, speaker="SPEAKER_00", user_id=8))[0] == "not_found"
    assert (await refused(publisher, call, speaker="SPEAKER_00", name=None))[0] == "invalid_request"
    assert (await refused(publisher, call, speaker="SPEAKER_00", name=None, voice="0" * 32))[0] == "not_found"
    for missing in ({"consent": None}, {"consent": {"by": "Anna"}}, {"consent": {"at": CONSENT["at"]}}):
        code, message = await refused(publisher, call, speaker="SPEAKER_00", **missing)
        assert (code, missing, "consent" in message) == ("invalid_request", missing, True)
    for name in ("", "   ", "\u200f", "\ufeff", "An\x1bna", "An\u202ena", "A" * 65):
        code, message = await refused(publisher, call, speaker="SPEAKER_00", name=name)
        assert (code, name, "name: " in message) == ("invalid_request", name, True), message
    assert (await publisher.request(subjects.VOICES, user_id=7))["voices"] == []


async def test_a_task_without_identify_stores_no_embeddings(
    publisher: Publisher, worker: Worker, js: JetStreamContext
) -> None:
    # Given a task with speakers that does not request their names
    await done(publisher, "call", diarize=True)
    # Then nothing of their voices is stored, and an enrolment fails with a reason
    assert (await js.stream_info("KV_embeddings")).state.messages == 0
    code, message = await refused(publisher, "call", speaker="SPEAKER_00")
    assert (code, "`identify: true`" in message) == ("not_found", True)


async def test_a_full_bucket_enrols_nobody_and_is_named(publisher: Publisher, call: str, js: JetStreamContext) -> None:
    # Given a bucket in which an administrator leaves no room
    config = (await js.stream_info("KV_voices")).config
    await js.update_stream(config.evolve(max_bytes=1))
    # When a person is enrolled, then the reply says which bucket is full, and no voice is stored
    code, message = await refused(publisher, call, speaker="SPEAKER_00")
    assert (code, "no room in the bucket voices" in message) == ("internal", True)
    assert (await publisher.request(subjects.VOICES, user_id=7))["voices"] == []


@pytest.mark.parametrize("channels", ["auto", "separate"])
async def test_channels_that_are_speakers_have_names_too(
    publisher: Publisher, anna: str, engine: FakeEngine, channels: str
) -> None:
    # Given a call with a channel for each side, of which the second one is a person who was named before
    engine.channels, engine.differ = 2, True
    await done(publisher, "sides", diarize=True, identify=True, channels=channels)
    # Then she is named, and every speaker has a channel
    result = await publisher.request(subjects.RESULT, task_id="sides")
    assert (result["channels"], result["speakers"], result["voices_error"]) == (2, 2, None)
    assert await named(publisher, "sides") == {"SPEAKER_00": "unknown", "SPEAKER_01": "Anna"}
    # And the other side is enrolled from its channel
    cecile = await enroll(publisher, "sides", speaker="SPEAKER_00", name="Cecile")
    assert [reference["speaker"] for reference in cecile["references"]] == ["SPEAKER_00"]
    engine.people = ["anna", "cecile"]
    await done(publisher, "later", diarize=True, identify=True, channels=channels)
    assert await named(publisher, "later") == {"SPEAKER_00": "Anna", "SPEAKER_01": "Cecile"}


async def live(publisher: Publisher, task_id: str, **options: Any) -> None:
    """A live task that has completed, with half a minute of audio."""
    audio = {"codec": "pcm_s16le", "sample_rate": 8000}
    task = {"task_id": task_id, "user_id": 7, "audio": audio, "diarize": True, "identify": True} | options
    await publisher.js.publish(subjects.tasks(TaskType.LIVE, Priority.NORMAL), json.dumps(task).encode())
    for number in range(30):
        headers = {"Nats-Msg-Id": f"{task_id}-{number}"} | ({"Natscribe-End": "true"} if number == 29 else {})
        await publisher.js.publish(subjects.live_audio(task_id), bytes(16_000), headers=headers)
    await publisher.until(task_id, State.COMPLETED)


async def test_live_speakers_are_named_while_they_speak_until_they_are_forgotten(
    publisher: Publisher, engine: FakeEngine, settings: Settings, anna: str
) -> None:
    # Given a live task in which Anna speaks after somebody else, and an engine that knows both from the start
    speaker = Speaker(publisher)
    engine.live_speakers = [live_diarization(embedded=engine.embedded()) for _ in range(2)]
    await speaker.begin(diarize=True, identify=True)

    async def voices() -> list[dict[str, str | None]]:
        log = TaskLog(publisher.nc, publishers(publisher.nc), settings.stream_names, "reader")
        events = [message.event async for message in log.speakers("live-1")]
        return [{label: voice.voice for label, voice in event.voices.items()} for event in events if event.voices]

    # When she has spoken, then an event has the id of her voice
    await speaker.say(10)
    await eventually(partial(equals, voices, [{"SPEAKER_01": anna}]))
    # And when she is forgotten while the task runs, then the next event says so
    await publisher.request(subjects.FORGET, user_id=7, voice=anna)
    await speaker.say(10)
    await eventually(partial(equals, voices, [{"SPEAKER_01": anna}, {"SPEAKER_01": None}]))
    await speaker.ends(1)
    assert await named(publisher, "live-1") == {"SPEAKER_00": "unknown", "SPEAKER_01": "unknown"}


async def test_the_speakers_of_a_live_task_are_named_at_its_end(publisher: Publisher, anna: str) -> None:
    await live(publisher, "live")
    assert await named(publisher, "live") == {"SPEAKER_00": "unknown", "SPEAKER_01": "Anna"}
    assert (await enroll(publisher, "live", speaker="SPEAKER_00", name="Cecile"))["name"] == "Cecile"


@pytest.mark.foreign  # with traces, replies have a header of theirs
async def test_no_embedding_is_in_logs_traces_or_metrics(
    publisher: Publisher,
    start_worker: StartWorker,
    engine: FakeEngine,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    # Given a worker whose spans are stored
    spans, traces = InMemorySpanExporter(), TracerProvider()
    traces.add_span_processor(SimpleSpanProcessor(spans))
    async with start_worker(engine, traces) as worker:
        # When a person is enrolled, renamed, refused, named in results and forgotten
        await live_through(publisher)
        log_text = caplog.text + "".join(capfd.readouterr())
        traced = "".join(span.to_json() for span in spans.get_finished_spans())
        counted = worker.container.meter.exposition().decode()
    # Then there is much to read, and nothing of the name, the embedding or the score in it
    assert "task_delivery_ended" in log_text
    assert "diarizing" in traced
    assert "task_success_total" in counted
    for text in (log_text, traced, counted):
        for secret in ("Xanthippe", voice_of("anna", 1), voice_of("anna", 2), "score"):
            assert secret not in text


async def live_through(publisher: Publisher) -> None:
    """Enrol, refuse, rename, name and forget a person."""
    await done(publisher, "call", diarize=True, identify=True)
    voice = (await enroll(publisher, "call", speaker="SPEAKER_00", name="Xanthippe"))["voice"]
    await publisher.request(subjects.RENAME, user_id=7, voice=voice, name="Xanthippe Berg")
    for wrong in ({"speaker": "SPEAKER_07"}, {"name": "Xanthippe\n"}, {}):
        await refused(publisher, "call", **{"speaker": "SPEAKER_00", "name": "Xanthippe"} | wrong)
    await done(publisher, "next", diarize=True, identify=True)
    assert "Xanthippe Berg" in (await named(publisher, "next")).values()
    await publisher.request(subjects.FORGET, user_id=7, voice=voice)


async def test_a_client_outside_reads_no_bucket_by_its_name(publisher: Publisher, call: str) -> None:
    # Given a task with embeddings, then nothing of them is in what followers read
    for stream in ("transcription_results", "transcription_progress", "transcription_segments"):
        sequence = 1
        while True:
            try:
                message = await publisher.js.get_msg(stream, sequence)
            except NotFoundError:
                break
            assert voice_of("anna").encode() not in (message.data or b"")
            sequence += 1

"""The speakers of a live task: in its segments, in the events after them, and with the next worker."""

import json
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from nats.aio.client import Client
from nats.js import JetStreamContext
from nats.js.errors import NotFoundError
from natscribe.schemas import subjects
from natscribe.schemas.diarization import Turn
from natscribe.schemas.live import SpeakersEvent
from natscribe.schemas.progress import State

from app.engines.messages import LiveDiarization
from app.main import Worker
from app.settings import Settings
from app.tasks.task_log.log import TaskLog
from tests.fakes.engine import FakeEngine, live_diarization
from tests.integration.conftest import Publisher, StartWorker, parsed
from tests.integration.live.test_live import Speaker, spoken
from tests.publishers import publishers
from tests.waiting import eventually

ANN, BOB, CYD = "SPEAKER_00", "SPEAKER_01", "SPEAKER_02"


def found(*turns: tuple[float, float, str], **fields: Any) -> LiveDiarization:
    return live_diarization(*(Turn(start=start, end=end, speaker=speaker) for start, end, speaker in turns), **fields)


async def labels(nc: Client, settings: Settings) -> list[str | None]:
    return [each.speaker for event in await spoken(nc, settings, "live-1") for each in event.segments]


async def events(js: JetStreamContext) -> list[SpeakersEvent]:
    """The events up to the last one of the task, read by the name of their stream."""
    subscription = await js.subscribe("speakers.live-1", stream="transcription_speakers", ordered_consumer=True)
    stored: list[SpeakersEvent] = []
    while not stored or stored[-1].settled_until < 30:
        message = await subscription.next_msg(timeout=5)
        assert (message.headers or {})["ce-type"] == "natscribe.speakers.v1"
        stored.append(SpeakersEvent.model_validate_json(message.data))
    await subscription.unsubscribe()
    return stored


async def has(count: int, nc: Client, settings: Settings) -> bool:
    return len(await labels(nc, settings)) == count


@pytest.fixture
def speaker(publisher: Publisher) -> Speaker:
    return Speaker(publisher)


async def test_segments_have_speakers_and_what_changes_is_an_event(
    publisher: Publisher, speaker: Speaker, engine: FakeEngine, worker: Worker, nc: Client, settings: Settings
) -> None:
    # Given an engine that takes one person for two, and another one for the first
    engine.live_speakers = [
        found((0, 9, ANN)),
        found((0, 9, ANN), (10, 19, BOB)),
        found((0, 4.5, CYD), (4.5, 9, ANN), (10, 19, ANN), (20, 29, CYD), merged={BOB: ANN}),
    ]
    await speaker.begin(diarize=True, max_speakers=3)
    for count in (1, 2, 3):
        await speaker.say(10)
        await eventually(partial(has, count, nc, settings))
    await speaker.ends(1)
    # Then each segment has the speaker who was known when it was transcribed
    assert (await labels(nc, settings))[:3] == [ANN, BOB, CYD]
    # And the first event says whose the words are, and who is the same
    stored = await events(publisher.js)
    assert [event.sequence for event in stored] == list(range(1, len(stored) + 1))
    assert stored[0].turns == [Turn(start=0, end=4, speaker=CYD)]
    assert json.loads(stored[0].model_dump_json())["same"] == [{"speaker": BOB, "is": ANN}]
    # And it is counted
    registry = worker.container.meter.registry
    assert registry.get_sample_value("natscribe_live_speakers_total") == 3
    assert registry.get_sample_value("natscribe_live_relabelled_seconds_total") == 4
    # And at the end all is settled
    assert stored[-1].settled_until == 31
    # And the bounds of the task hold
    assert [options and options.max_speakers for options in engine.speaker_options] == [3]


async def test_the_next_worker_knows_the_speakers(
    publisher: Publisher,
    speaker: Speaker,
    start_worker: StartWorker,
    nc: Client,
    settings: Settings,
    crashes_end_slots: None,
) -> None:
    # Given a worker that has recognized two people, and stops
    before = FakeEngine()
    before.live_speakers = [found((0, 9, ANN), state="a"), found((0, 9, CYD), (10, 19, BOB), state="b")]
    async with start_worker(before):
        await speaker.begin(diarize=True)
        for count in (1, 2):
            await speaker.say(10)
            await eventually(partial(has, count, nc, settings))
        log = TaskLog(nc, publishers(nc), settings.stream_names, "reader")

        async def has_event() -> bool:
            return [message.event.sequence async for message in log.speakers("live-1")] == [1]

        await eventually(has_event)
    # When another one continues
    after = FakeEngine()
    after.live_speakers = [found((10, 19, BOB), (20, 29, ANN), state="c")]
    async with start_worker(after):
        await speaker.say(10)
        await eventually(partial(has, 3, nc, settings))
        await speaker.ends(1)
    # Then it knows them, and which labels are taken
    (options,) = after.speaker_options
    assert options is not None
    assert (options.states, options.labels) == (["b"], 3)
    assert (await labels(nc, settings))[:3] == [ANN, BOB, ANN]
    assert [event.sequence for event in await events(publisher.js)] == [1, 2]
    # And what they sound like is no longer stored
    with pytest.raises(NotFoundError):
        await publisher.js.get_last_msg("KV_embeddings", "$KV.embeddings.live-1=")


async def test_each_channel_has_its_own_speakers(
    publisher: Publisher, speaker: Speaker, engine: FakeEngine, worker: Worker, nc: Client, settings: Settings
) -> None:
    # Given a call with two people in the first channel, of whom the second one is recognized later
    nobody = found()
    two = found((0, 9, ANN), (10, 19, CYD), labels=[ANN, CYD])
    engine.live_speakers = [found((0, 4.5, ANN)), nobody, found((0, 9, ANN)), nobody, two, nobody]
    engine.in_channel = 2
    audio = {"codec": "pcm_s16le", "sample_rate": 8000, "channels": 2}
    await speaker.begin(diarize=True, audio=audio)
    for count in (1, 2, 3):
        await speaker.say(20)
        await eventually(partial(has, count, nc, settings))
    await speaker.ends(2)
    # Then a channel has one speaker, until there is another one
    assert (await labels(nc, settings))[:3] == [ANN, ANN, None]
    # And the event names the channel
    first, *_ = await events(publisher.js)
    assert (first.channel, first.turns) == (0, [Turn(start=10, end=19, speaker=CYD)])
    # And the result has the labels that were published
    result = parsed(await publisher.js.get_last_msg("transcription_results", "results.live-1"))
    assert {ANN, CYD} == {part["speaker"] for part in result["segments"]}


async def test_events_of_an_earlier_task_with_the_same_id_are_removed(
    publisher: Publisher,
    speaker: Speaker,
    start_worker: StartWorker,
    nc: Client,
    settings: Settings,
    crashes_end_slots: None,
) -> None:
    # Given a live task whose worker stops, and an event of an earlier task with its id
    async with start_worker(FakeEngine()):
        await speaker.begin(diarize=True)
        await publisher.until("live-1", State.RUNNING)
    log = TaskLog(nc, publishers(nc), settings.stream_names, "earlier")
    last = await log.last("live-1")
    assert last is not None
    earlier = replace(last.metadata, created_at=last.metadata.created_at - timedelta(days=1))
    event = SpeakersEvent(task_id="live-1", sequence=1, turns=[], same=[], voices={}, settled_until=900)
    await log.append_speakers(event, earlier, after=0)
    # When another worker continues
    engine = FakeEngine()
    engine.live_speakers = [found((0, 9, ANN), state="a")]
    async with start_worker(engine):
        await speaker.ends(31)
    # Then the events are those of this task
    assert [event.settled_until for event in await events(publisher.js)] == [31]


async def test_erasure_leaves_nothing_about_speakers(
    publisher: Publisher, speaker: Speaker, engine: FakeEngine, worker: Worker, nc: Client, settings: Settings
) -> None:
    # Given a live task that runs, with an event and a state
    engine.live_speakers = [found((0, 9, ANN), state="a"), found((0, 9, BOB), (10, 19, BOB), state="b")]
    await speaker.begin(diarize=True)
    for count in (1, 2):
        await speaker.say(10)
        await eventually(partial(has, count, nc, settings))

    async def has_both() -> bool:
        js = publisher.js
        await js.get_last_msg("KV_embeddings", "$KV.embeddings.live-1=")
        return bool(await js.get_last_msg("transcription_speakers", "speakers.live-1"))

    async def stored() -> bool:
        try:
            return await has_both()
        except NotFoundError:
            return False

    await eventually(stored)
    # When it is deleted
    await nc.request(subjects.DELETE, json.dumps({"task_id": "live-1"}).encode(), timeout=20)
    # Then neither remains
    for stream in ("KV_embeddings", "transcription_speakers"):

        async def is_empty(stream: str = stream) -> bool:
            return (await publisher.js.stream_info(stream)).state.messages == 0

        await eventually(is_empty)


async def test_text_continues_without_a_bucket_for_the_state(
    publisher: Publisher, speaker: Speaker, engine: FakeEngine, worker: Worker, nc: Client, settings: Settings
) -> None:
    # Given that NATS has no room for what the speakers sound like
    bucket = (await publisher.js.stream_info("KV_embeddings")).config
    await publisher.js.update_stream(bucket.evolve(max_bytes=1))
    engine.live_speakers = [found((0, 9, ANN), state="a" * 1000)]
    # When somebody speaks, then the text has its speaker
    await speaker.begin(diarize=True)
    await speaker.say(10)
    await eventually(partial(has, 1, nc, settings))
    assert await labels(nc, settings) == [ANN]
    await speaker.ends(1)

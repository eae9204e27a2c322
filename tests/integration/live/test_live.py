"""Live tasks: audio that is published while people speak becomes text, whatever happens to the worker."""

import json
from collections.abc import Sequence
from functools import partial

import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from nats.js.object_store import ObjectStore
from natscribe.schemas import subjects
from natscribe.schemas.live import Partial
from natscribe.schemas.progress import ProgressEvent, State
from natscribe.schemas.transcription import SegmentsEvent
from natscribe.schemas.wire import Kind, Priority, TaskType

from app.fleet.stream_guard.provisioning import provision
from app.main import Worker
from app.settings import Settings
from app.tasks.task_log.log import TaskLog
from tests.constants import Constants
from tests.fakes.engine import FakeEngine, segment
from tests.integration.conftest import Publisher, StartWorker, parsed, queue_is_empty
from tests.publishers import publishers
from tests.waiting import eventually

RATE = 8000
FRAME = bytes(2 * RATE)  # a second


class Speaker:
    """A client that publishes a live task and its audio."""

    def __init__(self, publisher: Publisher, task_id: str = "live-1") -> None:
        self._publisher, self._js = publisher, publisher.js
        self.task_id = task_id
        self.sent = 0

    async def begin(self, priority: Priority = Priority.NORMAL, **options: object) -> None:
        audio = {"codec": "pcm_s16le", "sample_rate": RATE}
        task = {"task_id": self.task_id, "user_id": 7, "audio": audio} | options
        await self._js.publish(subjects.tasks(TaskType.LIVE, priority), json.dumps(task).encode())

    async def say(self, seconds: int, *, end: bool = False) -> None:
        for number in range(seconds):
            headers = {"Nats-Msg-Id": f"{self.task_id}-{self.sent}"}
            if end and number == seconds - 1:
                headers["Natscribe-End"] = "true"
            await self._js.publish(subjects.live_audio(self.task_id), FRAME, headers=headers)
            self.sent += 1

    async def ends(self, seconds: int) -> list[ProgressEvent]:
        """Say something for the last time; return the events of the completed task."""
        await self.say(seconds, end=True)
        return await self._publisher.until(self.task_id, State.COMPLETED)


@pytest.fixture
def speaker(publisher: Publisher) -> Speaker:
    return Speaker(publisher)


@pytest.fixture
async def bucket(settings: Settings, js: JetStreamContext) -> ObjectStore:
    """Where the service keeps recordings."""
    settings.audio_store = "nats://audio"
    await provision(js, settings)
    return await js.object_store("audio")


async def spoken(nc: Client, settings: Settings, task_id: str) -> list[SegmentsEvent]:
    return [
        batch.event async for batch in TaskLog(nc, publishers(nc), settings.stream_names, "reader").segments(task_id)
    ]


def starts(events: Sequence[SegmentsEvent]) -> list[float]:
    return [part.start for event in events for part in event.segments]


async def test_audio_becomes_text_utterance_by_utterance(
    publisher: Publisher, speaker: Speaker, worker: Worker, nc: Client, settings: Settings
) -> None:
    # Given a live task, and 25 seconds of audio in three utterances
    await speaker.begin()
    await speaker.say(12)

    async def first_text() -> bool:
        return starts(await spoken(nc, settings, "live-1")) == [0.0]

    # Then the first text is there while the audio continues
    await eventually(first_text)
    # When the audio ends
    events = await speaker.ends(13)
    # Then all of it is text, once, and the task is a transcription like any other
    assert starts(await spoken(nc, settings, "live-1")) == [segment(number).start for number in range(3)]
    result = parsed(await publisher.js.get_last_msg("transcription_results", "results.live-1"))
    assert (result["text"], result["duration"]) == ("one two one two one two", 25.0)
    assert (result["kind"], result["source"], result["audio_sha256"]) == (Kind.TRANSCRIPTION, "live", None)
    assert result["audio_error"] is None
    assert {event.kind for event in events} == {Kind.TRANSCRIPTION}
    assert [event.sequence for event in events] == list(range(1, len(events) + 1))
    assert all(event.lag_seconds is not None for event in events if event.processed_seconds is not None)


async def more(partials: Sequence[Partial], than: int) -> bool:
    return len(partials) > than


async def test_partial_results_are_published_while_a_person_speaks(
    publisher: Publisher, speaker: Speaker, worker: Worker, nc: Client
) -> None:
    # Given a client that follows the partial results
    partials: list[Partial] = []

    async def note(message: Msg) -> None:
        partials.append(Partial.model_validate_json(message.data))

    await nc.subscribe(subjects.partials("live-1"), cb=note)
    # When an utterance continues
    await speaker.begin()
    for _ in range(4):
        await speaker.say(2)
        await eventually(partial(more, partials, len(partials)))
    # Then its text so far is shown, and words on which two passes agree are stable
    assert {partial.start for partial in partials} == {0.0}
    assert partials[0].stable == ""
    assert partials[-1].stable == partials[-1].text == "one two"
    # And all ends well
    await speaker.ends(1)


async def test_another_worker_processes_only_the_last_audio_again(
    publisher: Publisher,
    speaker: Speaker,
    start_worker: StartWorker,
    nc: Client,
    settings: Settings,
    crashes_end_slots: None,
) -> None:
    # Given a stream of four minutes with a gap, which is text up to its last seconds
    async def has_text(number: int) -> bool:
        return starts(await spoken(nc, settings, "live-1"))[-1:] == [segment(number).start]

    async with start_worker(FakeEngine()):
        await speaker.begin(diarize=True)
        await speaker.say(20)
        speaker.sent += 10
        await speaker.say(215)
        await eventually(partial(has_text, 23))
    # When another worker continues
    engine = FakeEngine()
    async with start_worker(engine):
        await speaker.ends(5)
    # Then it begins in the last minute or two, and nothing is lost, doubled or moved
    assert engine.live_starts[0] >= 120
    assert starts(await spoken(nc, settings, "live-1")) == [segment(number).start for number in range(25)]
    result = parsed(await publisher.js.get_last_msg("transcription_results", "results.live-1"))
    assert result["duration"] == 250.0
    assert {"start": 20.0, "end": 30.0} in result["untranscribed"]
    # And the speakers are found in the whole audio
    assert result["speakers"] == 2


async def test_several_live_tasks_run_beside_a_recording(
    publisher: Publisher, worker: Worker, engine: FakeEngine
) -> None:
    # Given a recording that is being transcribed
    engine.may_go_on.clear()
    await publisher.reaching(State.RUNNING, "t1")
    # When three streams begin and end
    speakers = [Speaker(publisher, f"live-{number}") for number in range(3)]
    for speaker in speakers:
        await speaker.begin()
        await speaker.say(5)
    for speaker in speakers:
        await publisher.until(speaker.task_id, State.RUNNING)
    for speaker in speakers:
        await speaker.ends(5)
    # Then the recording ends as well
    engine.may_go_on.set()
    await publisher.until("t1", State.COMPLETED)
    assert engine.live_streams == {}


async def test_a_deleted_live_task_leaves_no_audio(
    bucket: ObjectStore, publisher: Publisher, speaker: Speaker, worker: Worker
) -> None:
    # Given a live task that has ended, and a recording that happens to have its name
    await bucket.put("live-1", b"of somebody else")
    await speaker.begin()
    await speaker.ends(3)
    # When it is deleted
    await publisher.request("tasks.delete", task_id="live-1")
    # Then its frames are gone, and the recording is not
    assert (await publisher.js.stream_info("transcription_live")).state.messages == 0
    assert (await bucket.get("live-1")).data == b"of somebody else"


async def test_frames_that_come_after_the_erasure_of_their_task_are_erased_too(
    publisher: Publisher, start_worker: StartWorker, constants: Constants
) -> None:
    # Given a service that checks for such frames often, and a live task that continues
    constants(ERASE_LATE_FRAMES_EVERY_S=0.1, WITHOUT_TASK_S=0.3)
    erased, other = Speaker(publisher, "erased"), Speaker(publisher, "other")
    async with start_worker(FakeEngine()):
        await other.begin()
        await other.say(3)
        # When a client sends on after its task was deleted
        await erased.begin()
        await erased.ends(2)
        await publisher.request("tasks.delete", task_id="erased")
        await erased.say(5)

        # Then these frames go, too, and those of the other task stay
        async def only_the_other() -> bool:
            state = (await publisher.js.stream_info("transcription_live", subjects_filter="live.audio.*")).state
            return state.subjects == {"live.audio.other": 3}

        await eventually(only_the_other)
        await other.ends(1)


async def test_a_cancelled_live_task_ends_at_once(
    publisher: Publisher, speaker: Speaker, worker: Worker, engine: FakeEngine
) -> None:
    await speaker.begin()
    await speaker.say(3)
    await publisher.until("live-1", State.RUNNING)
    await publisher.request("tasks.cancel", task_id="live-1")
    await publisher.until("live-1", State.CANCELLED)
    await eventually(lambda: engine.live_streams == {})


async def test_a_stream_that_is_cancelled_while_the_model_loads_leaves_the_load_to_others(
    publisher: Publisher, speaker: Speaker, worker: Worker, engine: FakeEngine
) -> None:
    # Given a model that is being loaded for a stream
    engine.may_load.clear()
    await speaker.begin()
    await eventually(lambda: engine.loads == 1)
    # When the stream is cancelled
    await publisher.request("tasks.cancel", task_id="live-1")
    await publisher.until("live-1", State.CANCELLED)
    await eventually(lambda: queue_is_empty(publisher.js))
    # Then the model is still loaded to its end
    engine.may_load.set()
    await eventually(lambda: engine.loads == 0)


async def test_a_client_may_be_silent_for_longer_than_a_task_may_pause(
    publisher: Publisher, speaker: Speaker, settings: Settings, start_worker: StartWorker, constants: Constants
) -> None:
    # Given a service whose tasks may pause for less time than its clients
    constants(SILENCE_REPORT_EVERY_S=0.2)
    settings.task_timeout = 3.0
    async with start_worker(FakeEngine()):
        # When a client is silent for longer than that
        await speaker.begin(idle_seconds=5)
        await speaker.say(11)
        events = await publisher.until("live-1", State.COMPLETED)
    # Then its task ends with its text, in its first attempt
    assert {event.state for event in events} <= {State.QUEUED, State.RUNNING, State.COMPLETED}

"""Transcripts, with speakers: the engine's jobs, what runs beside what, and which updates come of it."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from itertools import pairwise
from pathlib import Path
from typing import cast
from unittest.mock import AsyncMock, Mock

import pytest
from natscribe.schemas.diarization import DiarizationTask, Turn
from natscribe.schemas.errors import ErrorCode
from natscribe.schemas.progress import Stage
from natscribe.schemas.transcription import (
    Channels,
    Interval,
    TranscribeOptions,
    TranscriptionResult,
    TranscriptionTask,
)

from app.engines.cores import Cores
from app.engines.messages import (
    DiarizationDone,
    Diarize,
    Job,
    Load,
    Reply,
    StageAdvanced,
    Transcribe,
)
from app.engines.window_queue import WindowQueue
from app.runtime.cancellation import cancel_all
from app.runtime.errors import PermanentError, TransientError
from app.settings import Settings
from app.speech.diarizer import BackgroundDiarization, Diarizer
from app.speech.recordings.cache import TranscriptCache
from app.speech.recordings.transcriber import Transcriber
from app.speech.updates import Append, Checkpoint, Embeddings, NewText, Progress, Result, TaskUpdate, processed
from app.speech.voices.identification import Identification
from app.storage.recordings.recording import Recording, RecordingStore
from app.storage.redis.cache import Cache
from tests.fakes.cache import MemoryCache
from tests.fakes.engine import MODEL, FakeEngine, segment
from tests.waiting import eventually

TASK = TranscriptionTask(task_id="t1", audio_file_id="meeting.flac", user_id=7, diarize=True)
SHA = "0" * 64
DIED = TransientError(ErrorCode.ENGINE_FAILED, "The engine died.")


class OneRecording:
    """A recording that is always there."""

    @asynccontextmanager
    async def fetch(self, audio_file_id: str) -> AsyncIterator[Recording]:
        yield Recording(Path(audio_file_id), SHA)


class WatchedEngine(FakeEngine):
    """Transcribes the window `at` only after diarization started, where it `waits`."""

    def __init__(self, *, waits: bool = False, at: int = 2) -> None:
        super().__init__(windows=4)
        self.waits = waits
        self.at = at
        self.searches = asyncio.Event()
        self.order: list[str] = []
        self.search_fails = False
        self.later: list[Turn] = []  # turns after those of the text

    async def transcribes(self, number: int) -> None:
        if self.waits and number == self.at:
            await self.searches.wait()
        self.order.append(f"window {number}")

    async def run(self, job: Job) -> AsyncGenerator[Reply, None]:
        if isinstance(job, Diarize):
            self.order.append("search")
            self.fail_with = [DIED] if self.search_fails else []
            self.searches.set()
        async with aclosing(super().run(job)) as replies:
            async for reply in replies:
                if isinstance(reply, DiarizationDone):
                    yield reply.model_copy(update={"turns": [*reply.turns, *self.later]})
                else:
                    yield reply


@pytest.fixture
def cores(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Whether cores are free at each measurement, the last one indefinitely."""
    are_free = [True]
    monkeypatch.setattr(Cores, "free", lambda _self, _wanted: are_free.pop(0) if len(are_free) > 1 else are_free[0])
    return are_free


RECORDINGS = cast("RecordingStore", OneRecording())


def diarizer(engine: FakeEngine, memory: MemoryCache) -> Diarizer:
    identification = Identification(AsyncMock(**{"comparable.return_value": []}), Settings(_env_file=None))
    cache, chunks = cast("Cache", memory), AsyncMock(**{"load.return_value": []})
    return Diarizer(RECORDINGS, engine, cache, chunks, identification=identification)


def transcriber(engine: FakeEngine, memory: MemoryCache) -> Transcriber:
    sharing, transcripts = Mock(**{"idle_workers.return_value": None}), TranscriptCache(cast("Cache", memory))
    windows = WindowQueue(engine, at_once=1, largest=1)
    return Transcriber(
        RECORDINGS, engine, transcripts, diarizer(engine, memory), windows=windows, sharing=sharing, engine_threads=1
    )


async def updates_of(
    engine: FakeEngine,
    checkpoint: Checkpoint = Checkpoint(),  # noqa: B008 -- frozen
    task: TranscriptionTask = TASK,
    memory: MemoryCache | None = None,
) -> list[TaskUpdate | Result]:
    updates: list[TaskUpdate | Result] = []

    async def append(update: TaskUpdate) -> None:
        updates.append(update)

    async with asyncio.timeout(5):
        result = await transcriber(engine, memory or MemoryCache()).transcribe(task, checkpoint, append)
        return [*updates, result]


@asynccontextmanager
async def run_up_to(engine: FakeEngine, is_last: Callable[[Progress], bool]) -> AsyncIterator[Progress]:
    """A run that has come to an update, and is cancelled when the block ends."""
    reached: asyncio.Future[Progress] = asyncio.get_running_loop().create_future()

    async def append(update: TaskUpdate) -> None:
        if isinstance(update, Progress) and is_last(update) and not reached.done():
            reached.set_result(update)

    run = asyncio.create_task(transcriber(engine, MemoryCache()).transcribe(TASK, Checkpoint(), append))
    try:
        async with asyncio.timeout(5):
            yield await reached
    finally:
        await cancel_all([run])


def result_in(updates: list[TaskUpdate | Result]) -> TranscriptionResult:
    assert isinstance(updates[-1], TranscriptionResult)
    return updates[-1]


async def test_diarization_runs_beside_the_transcription_if_a_core_is_free(cores: list[bool]) -> None:
    # Given an engine that would wait indefinitely if one came after the other
    engine = WatchedEngine(waits=True)
    # When a recording is transcribed with speakers
    updates = await updates_of(engine)
    # Then all is found
    assert [segment.speaker for segment in result_in(updates).segments[:2]] == ["SPEAKER_00", "SPEAKER_01"]
    assert engine.order.index("search") < engine.order.index("window 2")


async def test_speech_that_has_a_speaker_and_no_words_is_listed(cores: list[bool]) -> None:
    # Given an engine that detects a person for long after the last word
    engine = WatchedEngine()
    engine.later = [Turn(start=100, end=103, speaker="SPEAKER_01")]

    # When a recording is transcribed with speakers, then that is listed
    assert Interval(start=100, end=103) in result_in(await updates_of(engine)).untranscribed


async def test_a_core_that_is_free_later_is_used_later(cores: list[bool]) -> None:
    # Given a machine on which no core is free until the second measurement
    cores[:] = [False, True]
    engine = WatchedEngine(waits=True, at=3)
    # When a recording is transcribed with speakers, then diarization starts between the second window and the last
    await updates_of(engine)
    assert engine.order.index("window 1") < engine.order.index("search") < engine.order.index("window 3")


@pytest.mark.parametrize(("free", "done"), [(False, 0.0), (True, 10.0)], ids=["no core is free", "resumed"])
async def test_otherwise_diarization_runs_last(cores: list[bool], free: bool, done: float) -> None:
    # Given no free core, or an attempt that continues after a lost one
    cores[:] = [free]
    engine = WatchedEngine()
    earlier = (segment(0),) if done else ()
    checkpoint = Checkpoint(
        language="en",
        processed_seconds=done,
        segments=earlier,
        audio_sha256=SHA if done else None,
        after_failure=bool(done),
    )
    # When a recording is transcribed with speakers
    updates = await updates_of(engine, checkpoint)
    # Then all text comes before that begins
    assert engine.order[-1] == "search"
    assert result_in(updates).speakers == 2


async def test_after_a_worker_that_was_stopped_diarization_runs_beside_the_rest(cores: list[bool]) -> None:
    # Given an attempt that continues where a worker was stopped
    engine = WatchedEngine()
    # When the rest is transcribed
    checkpoint = Checkpoint(language="en", processed_seconds=10.0, segments=(segment(0),), audio_sha256=SHA)
    updates = await updates_of(engine, checkpoint)
    # Then diarization runs beside it
    assert engine.order[-1] != "search"
    assert result_in(updates).speakers == 2


@pytest.mark.parametrize("free", [True, False])
async def test_progress_counts_both_and_never_falls(cores: list[bool], free: bool) -> None:
    # Given either order, when a recording is transcribed with speakers
    cores[:] = [free]
    updates = await updates_of(WatchedEngine(waits=free))
    # Then progress never falls, and is whole only at the end
    yielded = [update for update in updates if isinstance(update, Progress)]
    assert all(before.fraction <= after.fraction for before, after in pairwise(yielded))
    assert [update.stage for update in yielded if update.fraction == 1.0][-1] is Stage.MERGING
    # And speakers are the stage only when the text is complete, so that it can be saved without them
    last_text = max(index for index, update in enumerate(updates) if isinstance(update, NewText))
    stages = [update.stage for update in updates[:last_text] if isinstance(update, Progress)]
    assert Stage.DIARIZING not in stages
    assert Stage.DIARIZING in [update.stage for update in updates[last_text:] if isinstance(update, Progress)]


@pytest.mark.parametrize("free", [True, False])
async def test_a_failed_diarization_costs_no_text(cores: list[bool], free: bool) -> None:
    # Given a diarizer that dies, beside the transcription or after it
    cores[:] = [free]
    engine = WatchedEngine(waits=free)
    engine.search_fails = True
    # When a recording is transcribed with speakers
    result = result_in(await updates_of(engine))
    # Then there is the whole text, and the reason why it has no speakers
    assert result.text == " ".join(["one two"] * 4)
    assert result.speakers is None
    assert result.diarization_error == DIED.detail


async def test_ending_a_transcription_ends_the_diarization(cores: list[bool]) -> None:
    # Given a diarization that continues beside the transcription, and neither ever ends
    under_way: list[type] = []

    class Endless(WatchedEngine):
        async def transcribes(self, number: int) -> None:
            await super().transcribes(number)
            if number == 3:
                await asyncio.Event().wait()

        async def run(self, job: Job) -> AsyncGenerator[Reply, None]:
            under_way.append(type(job))
            try:
                async with aclosing(super().run(job)) as replies:
                    async for reply in replies:
                        yield reply
                        if isinstance(job, Diarize):
                            await asyncio.Event().wait()
            finally:
                under_way.remove(type(job))

    async def both_go_on() -> bool:
        return Diarize in under_way and Transcribe in under_way

    async def nothing_goes_on() -> bool:
        return not under_way

    # When the attempt ends
    async with run_up_to(Endless(waits=True), lambda progress: progress.processed_seconds == 30):
        await eventually(both_go_on)
    # Then nothing of it continues
    await eventually(nothing_goes_on)


async def test_progress_of_diarization_counts_while_text_is_transcribed(cores: list[bool]) -> None:
    # Given a diarization that is half done before the second window is transcribed
    class HalfDone(WatchedEngine):
        async def run(self, job: Job) -> AsyncGenerator[Reply, None]:
            if isinstance(job, Diarize):
                yield StageAdvanced(stage=Stage.DIARIZING, processed_seconds=20, duration_seconds=40)
                self.searches.set()
                await asyncio.Event().wait()
            async with aclosing(super().run(job)) as replies:
                async for reply in replies:
                    yield reply

    # When all text is there, then three quarters of the work are done
    async with run_up_to(HalfDone(waits=True), lambda progress: progress.processed_seconds == 40) as update:
        assert update.fraction == pytest.approx(0.75)


async def test_diarization_reports_its_progress_while_it_runs() -> None:
    # Given a diarization that is half done
    half, may_end = Progress(Stage.DIARIZING, 0.5), asyncio.Event()

    async def find(append: Append) -> DiarizationDone:
        await append(half)
        await may_end.wait()
        return DiarizationDone(turns=[], duration_seconds=30, model=MODEL)

    # When it is waited for, then that is reported before it ends
    reported = []
    async with asyncio.timeout(5):
        async for update in BackgroundDiarization(find).progress():
            reported.append(update)
            may_end.set()
    assert reported == [half]


@pytest.mark.parametrize(("wanted", "bounds"), [(None, [None, None]), (2, [1, 1]), (3, [2, 1])])
async def test_each_channel_is_diarized_alone_with_the_speakers_that_are_left(
    wanted: int | None, bounds: list[int | None]
) -> None:
    # Given a call of half a minute with people on each channel, when both are diarized
    engine, task = FakeEngine(), TASK.model_copy(update={"max_speakers": wanted})
    updates = list[TaskUpdate]()

    async def append(update: TaskUpdate) -> None:
        updates.append(update)

    search = diarizer(engine, MemoryCache())
    done = await search.turns(task, Recording(Path("call.flac"), SHA), 2, append)
    # Then the engine has the channels one after the other, and progress counts over both
    jobs = [(job.channel, job.min_speakers, job.max_speakers) for job in engine.jobs if isinstance(job, Diarize)]
    assert jobs == [(0, None, bounds[0]), (1, None, bounds[1])]
    assert [update.processed_seconds for update in updates if isinstance(update, Progress)] == [7.5, 22.5]
    # And the embeddings that tell echoes from people are not for who requests no voices
    assert {"SPEAKER_00", "SPEAKER_01"} <= {turn.speaker for turn in done.turns}
    assert done.embedded is None


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("identify", [False, True])
async def test_several_people_in_each_channel_are_found_after_the_text(identify: bool, fails: bool) -> None:
    # Given a call with two people on each channel, who take turns of 5 s
    engine = WatchedEngine()
    engine.channels, engine.in_channel, engine.search_fails = 2, 2, fails
    task = TASK.model_copy(update={"channels": Channels.SEPARATE, "identify": identify})
    # When it is transcribed, then the text is half of the work
    updates = await updates_of(engine, task=task)
    progress = [update for update in updates if isinstance(update, Progress) and update.stage is Stage.TRANSCRIBING]
    assert progress[-1].fraction == 0.5
    # And each channel has its two people, or one if the diarization has failed
    result = result_in(updates)
    speakers = {channel: {part.speaker for part in result.segments if part.channel == channel} for channel in (0, 1)}
    both = {0: {"SPEAKER_00", "SPEAKER_02"}, 1: {"SPEAKER_01", "SPEAKER_03"}}
    assert speakers == ({0: {"SPEAKER_00"}, 1: {"SPEAKER_01"}} if fails else both)
    assert (result.speakers, result.diarization_error) == ((2, DIED.detail) if fails else (4, None))
    assert set(result.voices or ()) == (both[0] | both[1] if identify and not fails else set())
    assert result.voices_error == (DIED.detail if identify and fails else None)
    # And embeddings are stored only on request
    assert any(isinstance(update, Embeddings) for update in updates) is (identify and not fails)


async def test_a_result_is_cached_if_all_of_it_is(cores: list[bool]) -> None:
    # Given a recording that is transcribed with speakers again and again
    engine, memory = WatchedEngine(), MemoryCache()

    async def is_cached() -> bool:
        return result_in(await updates_of(engine, memory=memory)).cached

    # Then only the one is cached of which nothing was computed
    assert [await is_cached(), await is_cached()] == [False, True]
    memory.values.clear()
    assert not await is_cached()
    memory.pieces.clear()
    assert not await is_cached()
    memory.values.clear()
    engine.search_fails = True
    assert not await is_cached()


async def test_cached_turns_are_not_computed_again() -> None:
    # Given a diarization without voices that is done twice, and then with them
    search, updates = diarizer(FakeEngine(), MemoryCache()), list[TaskUpdate]()

    async def append(update: TaskUpdate) -> None:
        updates.append(update)

    tasks = [
        DiarizationTask(task_id="d1", audio_file_id="meeting.flac", user_id=7, identify=identify)
        for identify in (False, False, True)
    ]
    results = [await search.diarize(task, append) for task in tasks]
    # Then its turns are found once for each, and only who requests voices gets them
    assert [(result.cached, result.voices is not None) for result in results] == [
        (False, False),
        (True, False),
        (False, True),
    ]
    assert results[0].segments == results[1].segments
    # And their progress is reported
    assert updates[0] == processed(Stage.DIARIZING, 15, 30)


async def test_all_options_reach_the_engine() -> None:
    # Given a task with options
    options = TranscribeOptions(model="large", vocabulary=("Natscribe",), translate=True)
    task = TranscriptionTask(task_id="t1", audio_file_id="meeting.flac", user_id=7, **options.model_dump())
    # When it is done
    await updates_of(engine := FakeEngine(), task=task)
    # Then the model is loaded for them, and each window is transcribed with them
    assert isinstance(engine.received[0], Load)
    options_of_jobs = [job.options for job in engine.received if isinstance(job, Load | Transcribe)]
    assert options_of_jobs == [options] * 4
    # And nothing is diarized
    assert not any(isinstance(job, Diarize) for job in engine.received)


async def test_an_unknown_model_is_reported_before_anything_else() -> None:
    # Given a recording that is damaged, and a model that does not exist
    engine, unknown = FakeEngine(), PermanentError(ErrorCode.UNKNOWN_MODEL, "no such model")
    engine.load_failure = unknown
    engine.fail_with = [PermanentError(ErrorCode.AUDIO_UNREADABLE, "The recording is damaged.")]
    # When it is transcribed, then the model is at fault
    with pytest.raises(PermanentError) as caught:
        await updates_of(engine)
    assert caught.value is unknown

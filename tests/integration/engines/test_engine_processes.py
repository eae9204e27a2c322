"""The engine's processes beside each other."""

import asyncio
from base64 import b64encode
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from pathlib import Path

import numpy as np
import pytest
from natscribe.schemas.errors import ErrorCode
from natscribe.schemas.live import LiveAudio

from app.engines.audio.mixing import SAMPLE_RATE
from app.engines.messages import (
    CloseLiveStream,
    Diarize,
    FindWindows,
    Job,
    LiveAudioProcessed,
    Load,
    ProcessLiveAudio,
    Reply,
    Transcribe,
    WindowFound,
    WindowSearchDone,
    WindowsTranscribed,
)
from app.engines.process import engine_processes
from app.engines.process.child_process import EngineProcess
from app.engines.process.engine_processes import EngineProcesses
from app.engines.windows import Window
from app.runtime.errors import TransientError
from app.settings import Settings
from tests.audio import CLIPS, Samples, load, silence, write
from tests.waiting import eventually

from .children import children, replies


@pytest.fixture
async def engine(engine_settings: Settings) -> AsyncIterator[EngineProcesses]:
    engine = EngineProcesses(engine_settings)
    yield engine
    await engine.close()
    assert children() == []


@pytest.fixture(scope="module")
def reading(tmp_path_factory: pytest.TempPathFactory) -> Path:
    speech = np.concatenate([piece for clip in CLIPS for piece in (load(clip), silence(2.5))])
    return write(tmp_path_factory.mktemp("reading") / "reading.flac", speech, "flac")


async def test_loading_that_hangs_can_be_given_up(engine: EngineProcesses) -> None:
    # Given an engine whose processes do nothing any more while they load
    loading = asyncio.create_task(engine.load())
    await eventually(lambda: len(children()) == 2)
    for child in children():
        child.suspend()
    # When that is not wanted any more, then it ends, and so do they
    loading.cancel()
    await asyncio.wait([loading], timeout=10)
    assert loading.cancelled()
    assert children() == []


async def test_windows_are_transcribed_while_more_are_detected(engine: EngineProcesses, reading: Path) -> None:
    # Given an engine that detects the windows of a recording
    async with aclosing(engine.run(FindWindows(path=reading))) as listening:
        async for message in listening:
            if isinstance(message, WindowFound):
                break
        assert isinstance(message, WindowFound)
        # When its first window is transcribed, and it is diarized
        transcribed, diarized = await asyncio.gather(
            replies(engine, Transcribe(windows=[message.window], previous=[None])),
            replies(engine, Diarize(path=CLIPS[1])),
        )
        # Then both are done, and window detection continues to its end
        rest = [reply async for reply in listening]
    assert isinstance(transcribed[-1], WindowsTranscribed)
    assert transcribed[-1].texts[0].segments[0].text
    assert diarized
    assert isinstance(rest[-1], WindowSearchDone)
    assert len(children()) == 3


async def test_what_the_first_task_needs_is_loaded_ahead_and_only_what_is_not_wanted_ends(
    engine: EngineProcesses, reading: Path
) -> None:
    # Given an engine that was not started
    before = engine.loaded
    # When it loads, then the model is loaded, and a process for detection and one for transcription wait
    await engine.load()
    assert before is None
    assert engine.loaded is not None
    assert len(children()) == 2
    # And given that it detects the windows of a recording
    run = engine.run(FindWindows(path=reading))
    await anext(run)
    # When no request needs that any longer
    await run.aclose()
    # Then the window detector is gone, and the model is still loaded
    assert len(children()) == 1
    assert engine.loaded is not None
    # And the next recording is processed by a new one
    assert isinstance((await replies(engine, FindWindows(path=CLIPS[1])))[-1], WindowSearchDone)


async def test_detection_is_ready_though_the_model_cannot_be_loaded(engine_settings: Settings) -> None:
    # Given a service whose model is missing
    settings = engine_settings.model_copy(update={"transcription_model": "no-such-model"})
    engine = EngineProcesses(settings)
    # When it loads, then that is an error, nothing is left under way, and it is not ready
    with pytest.raises(Exception, match="no-such-model"):
        await engine.load()
    assert engine.loaded is None
    assert await replies(engine, FindWindows(path=CLIPS[1]))
    with pytest.raises(Exception, match="no-such-model"):
        await replies(engine, Load())
    await engine.close()


def live(samples: Samples, stream: str, *, first: bool = False, end: bool = False) -> ProcessLiveAudio:
    data = b64encode((samples * 32767).astype("<i2").tobytes()).decode()
    return ProcessLiveAudio(stream=stream, audio=LiveAudio(), first=first, data=data, end=end)


async def processed(engine: EngineProcesses, job: ProcessLiveAudio | CloseLiveStream) -> LiveAudioProcessed:
    (reply,) = await replies(engine, job)
    assert isinstance(reply, LiveAudioProcessed)
    return reply


async def test_live_streams_take_turns_and_their_utterances_are_transcribed(engine: EngineProcesses) -> None:
    # Given an engine without a live stream, in which a process for them is not started
    await engine.load()
    assert len(children()) == 2
    # When a speaker is sent in quarters of a second, and another stream is silent
    speech, quarter = np.concatenate([load(CLIPS[1]), silence(1)]), SAMPLE_RATE // 4
    windows, shown = list[Window](), 0
    for at in range(0, len(speech), quarter):
        reading = await processed(engine, live(speech[at : at + quarter], "reading", first=at == 0))
        quiet = await processed(engine, live(silence(0.25), "quiet", first=at == 0))
        windows += reading.windows
        shown += len(reading.open)
    # Then one more process runs both, and there is nothing in the silence
    assert len(children()) == 3
    assert (quiet.windows, quiet.open) == ([], [])
    assert shown > len(windows) > 0
    # And the utterances have text
    (done,) = await replies(engine, Transcribe(windows=windows, previous=[None] * len(windows)))
    assert isinstance(done, WindowsTranscribed)
    assert all(text.segments for text in done.texts)


async def test_a_live_stream_survives_a_job_that_is_given_up(engine: EngineProcesses) -> None:
    # Given two live streams
    for name in ("given up", "other"):
        await processed(engine, live(silence(1), name, first=True))
    # When a job of one is given up before its reply
    await give_up(engine, live(silence(30), "given up"))
    # Then the other one continues, and so could this one, until it is closed
    assert (await processed(engine, live(silence(1), "other"))).seconds == 2
    assert (await processed(engine, live(silence(1), "given up"))).seconds == 32
    assert (await processed(engine, CloseLiveStream(stream="given up"))).complete_until == []


async def give_up(engine: EngineProcesses, job: Job) -> None:
    """Begin a job, and give it up before its reply."""
    giving_up = asyncio.create_task(replies(engine, job))
    await asyncio.sleep(0)
    giving_up.cancel()
    await asyncio.wait([giving_up])
    assert giving_up.cancelled()


@pytest.fixture
async def hanging(engine: EngineProcesses) -> EngineProcesses:
    """An engine with the live stream `a`, whose process hangs."""
    await processed(engine, live(silence(1), "a", first=True))
    (child,) = children()
    child.suspend()
    return engine


async def test_a_live_process_that_hangs_is_replaced(hanging: EngineProcesses, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_processes, "MAX_LIVE_JOB_S", 0.2)
    # When a job gets no reply, then it fails for now, and nothing is left of the process
    with pytest.raises(TransientError) as caught:
        await processed(hanging, live(silence(1), "a"))
    assert caught.value.detail.code is ErrorCode.ENGINE_FAILED
    assert children() == []
    # And another process takes the stream from its beginning
    monkeypatch.undo()
    assert (await processed(hanging, live(silence(1), "a", first=True))).seconds == 1


class SlowProcess(EngineProcess):
    """Processes jobs without a child process, slowly."""

    async def run(self, _: Job) -> AsyncGenerator[Reply, None]:
        async with self.turn:
            await asyncio.sleep(0.1)
        yield LiveAudioProcessed(seconds=1, windows=[], open=[], complete_until=[])

    turn = asyncio.Lock()


async def test_jobs_that_wait_for_others_do_not_hang(
    engine_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a process of live streams, and a limit of thirty times what a job takes
    monkeypatch.setattr(engine_processes, "EngineProcess", SlowProcess)
    monkeypatch.setattr(engine_processes, "MAX_LIVE_JOB_S", 3.0)
    engine = EngineProcesses(engine_settings)
    # When forty streams have audio at once, so that the last job waits for longer than that
    outcomes = await asyncio.gather(*(processed(engine, live(silence(0), f"stream {number}")) for number in range(40)))
    # Then all are processed
    assert len(outcomes) == 40
    await engine.close()


async def test_closing_does_not_wait_for_a_live_job(hanging: EngineProcesses) -> None:
    # Given a live stream whose process hangs, and a job that was given up
    await give_up(hanging, live(silence(1), "a"))
    # When the engine is closed, then nothing is left
    async with asyncio.timeout(10):
        await hanging.close()
    assert children() == []

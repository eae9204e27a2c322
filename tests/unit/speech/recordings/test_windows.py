"""The windows of a recording with an engine that replies from a script: what comes of its replies, in which order."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import cast

import pytest
from natscribe.schemas.errors import ErrorCode
from natscribe.schemas.progress import Stage

from app.engines.engine import Engine
from app.engines.messages import (
    FindWindows,
    Job,
    RecordingOpened,
    Reply,
    StageAdvanced,
    WindowFound,
    WindowSearchAdvanced,
    WindowSearchDone,
)
from app.engines.windows import Window
from app.runtime.errors import TransientError
from app.speech.recordings.windows import RecordingWindows

DIED = TransientError(ErrorCode.ENGINE_FAILED, "The engine died.")
RECORDING = Path("meeting.flac")


def window(at: float) -> Window:
    """Two pieces of speech with a second between them."""
    return Window(regions=[(at, at + 4), (at + 5, at + 10)], samples="")


def found_at(at: float) -> WindowFound:
    return WindowFound(window=window(at))


def advanced(seconds: float, complete_until: float | None = None) -> WindowSearchAdvanced:
    return WindowSearchAdvanced(seconds=seconds, complete_until=seconds if complete_until is None else complete_until)


OPENED = RecordingOpened(duration_seconds=99, channels=2)
# Stereo, 100 s, of which the last 60 have a window every 10 s.
REPLIES: Sequence[Reply] = [
    OPENED,
    advanced(32),
    *(found_at(at) for at in range(40, 90, 10)),
    advanced(96, complete_until=90),
    found_at(90),
    advanced(100),
    WindowSearchDone(duration_seconds=100),
]


class ScriptedEngine:
    """Replies as the script says; remembers its jobs, and how much of the script was read."""

    def __init__(self, script: Sequence[Reply | Exception]) -> None:
        self._script = script
        self.jobs: list[Job] = []
        self.read = 0
        self.running = False

    async def run(self, job: Job) -> AsyncGenerator[Reply, None]:
        self.jobs.append(job)
        self.running = True
        try:
            for reply in self._script:
                await asyncio.sleep(0)
                if isinstance(reply, Exception):
                    raise reply
                self.read += 1
                yield reply
        finally:
            self.running = False


def read_by(engine: ScriptedEngine, job: FindWindows) -> RecordingWindows:
    return RecordingWindows(cast("Engine", engine), job)


def source_of(*script: Reply | Exception, start_at: float = 0.0) -> RecordingWindows:
    return read_by(ScriptedEngine(script), FindWindows(path=RECORDING, start_at=start_at))


async def all_of(source: RecordingWindows) -> list[StageAdvanced | Window]:
    return [item async for item in source.windows()]


def decoding(seconds: float, duration: float) -> StageAdvanced:
    return StageAdvanced(stage=Stage.DECODING, processed_seconds=seconds, duration_seconds=duration)


def transcribing(seconds: float, duration: float) -> StageAdvanced:
    return StageAdvanced(stage=Stage.TRANSCRIBING, processed_seconds=seconds, duration_seconds=duration)


async def test_windows_and_the_silence_before_them_come_in_the_order_of_the_recording() -> None:
    # Given a recording with a silence and six windows, when its windows are read
    source = source_of(*REPLIES)
    items = await all_of(source)
    # Then the silence counts as processed, and each window comes in its place
    assert items == [decoding(0, 99), transcribing(32, 99), *(window(at) for at in range(40, 100, 10))]
    # And it is known which channel was processed
    assert (source.duration, source.channels, source.channel) == (100, 2, None)


async def test_the_stage_comes_before_the_first_window() -> None:
    # Given a recording with speech at its beginning, when its windows are read
    items = await all_of(source_of(OPENED, found_at(0), found_at(10), advanced(32, complete_until=20)))
    # Then the stage is not decoding any more while the first window is transcribed, and that is reported once
    assert items == [decoding(0, 99), transcribing(0, 99), window(0), window(10)]


async def test_progress_comes_where_nobody_speaks() -> None:
    # Given speech with silence before and after it
    silences = [advanced(96), advanced(160)]
    source = source_of(
        advanced(32),
        found_at(40),
        advanced(64, complete_until=50),
        *silences,
        WindowSearchDone(duration_seconds=160),
    )
    # When its windows are read, then the silence counts as processed, in its place
    assert await all_of(source) == [transcribing(32, 32), window(40), transcribing(96, 96), transcribing(160, 160)]


async def test_a_block_that_settles_nothing_new_is_no_progress() -> None:
    # Given long speech before and after a window, of which no block contains the end
    before, after = (
        [advanced(32, complete_until=30), advanced(64, complete_until=30)],
        [advanced(96, complete_until=50), advanced(128, complete_until=50)],
    )
    # When its windows are read, then each second counts once
    assert await all_of(source_of(*before, found_at(40), *after)) == [transcribing(30, 32), window(40)]


async def test_a_resumed_run_begins_after_what_is_done() -> None:
    # Given a run that has done 70 s
    source = source_of(OPENED, advanced(32), advanced(64), found_at(70), advanced(96, complete_until=90), start_at=70)
    # When another one continues, then no progress falls behind
    assert await all_of(source) == [decoding(70, 99), transcribing(70, 99), window(70)]


async def test_the_job_reaches_the_engine() -> None:
    # Given a job for one channel, when its windows are read
    engine = ScriptedEngine([])
    job = FindWindows(path=RECORDING, start_at=12.5, channel=1)
    await all_of(read_by(engine, job))
    # Then the engine has that job
    assert engine.jobs == [job]


@pytest.mark.parametrize("header", [0.0, 40.0, 99.0])
async def test_the_duration_is_the_best_that_is_known(header: float) -> None:
    # Given a recording of which the header says nothing, or too little, or too much
    opened = RecordingOpened(duration_seconds=header, channels=1)
    source = source_of(opened, advanced(32), advanced(64), WindowSearchDone(duration_seconds=70))
    # When its windows are read
    durations = [source.duration]
    async for item in source.windows():
        assert isinstance(item, StageAdvanced)
        assert item.duration_seconds == source.duration
        durations.append(source.duration)
    # Then its duration is never less than what was decoded, and at the end it is what was decoded
    assert durations == [0, header, max(header, 32), max(header, 64)]
    assert source.duration == 70


@pytest.mark.parametrize("channel", [None, 1])
async def test_the_channels_are_known_before_the_first_progress(channel: int | None) -> None:
    # Given a recording of which one channel is processed, or all mixed
    source = source_of(RecordingOpened(duration_seconds=99, channels=2, channel=channel), *REPLIES[1:])
    # When the first progress comes
    async with aclosing(source.windows()) as items:
        await anext(items)
    # Then both the number of channels and the channel are known
    assert (source.channels, source.channel) == (2, channel)


async def test_an_error_of_the_engine_comes_after_the_windows_before_it() -> None:
    # Given an engine that dies
    engine = ScriptedEngine([OPENED, found_at(0), DIED])
    # When its windows are read
    items = read_by(engine, FindWindows(path=RECORDING)).windows()
    before = [await anext(items) for _ in range(3)]
    with pytest.raises(TransientError) as caught:
        await anext(items)
    # Then its windows are there, and then its error
    assert before[-1] == window(0)
    assert caught.value is DIED
    assert not engine.running


async def test_a_long_recording_is_read_only_as_its_windows_are_taken() -> None:
    # Given a recording of many windows
    engine = ScriptedEngine([OPENED, *(found_at(at * 10) for at in range(1000))])
    # When three of them are taken
    async with aclosing(read_by(engine, FindWindows(path=RECORDING)).windows()) as items:
        taken = 0
        async for item in items:
            taken += isinstance(item, Window)
            if taken == 3:
                break
        # Then the engine has found no more
        assert engine.read == 4
        assert engine.running
    # And when the others are no longer needed, then it stops
    assert not engine.running

"""A run over the windows of a source, with transcribers that reply from a script."""

import asyncio
import random
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass, field
from typing import cast

import pytest
from natscribe.schemas.errors import ErrorCode
from natscribe.schemas.progress import Stage
from natscribe.schemas.transcription import Interval, Segment, TranscribeOptions

from app.engines.engine import Engine
from app.engines.messages import Job, Reply, StageAdvanced, Transcribe, WindowsTranscribed
from app.engines.window_queue import Rank, WindowQueue
from app.engines.windows import Window, WindowText
from app.runtime.cancellation import despite_cancellation
from app.runtime.errors import PermanentError, TransientError
from app.speech import window_pipeline as run_module
from app.speech.window_pipeline import MAX_SEGMENTS_PER_TEXT, WindowPipeline, append_or_merge
from app.speech.window_sharing.idle_workers import IdleWorkerLostError
from tests.waiting import patiently

WITHIN = 10  # seconds
MANY_STEPS = 2000  # of the event loop: more than all that can continue does
OPTIONS = TranscribeOptions(vocabulary=("Natscribe",))
DAMAGED = PermanentError(ErrorCode.AUDIO_UNREADABLE, "The recording is damaged.")
DIED = TransientError(ErrorCode.ENGINE_FAILED, "The engine died.")


def window(number: int) -> Window:
    return Window(regions=[(number * 10.0, number * 10.0 + 10)], samples="")


def number_of(window: Window) -> int:
    return int(window.regions[0][0] // 10)


@dataclass
class ScriptedSource:
    """Gives windows, one by one; each `failing` is raised instead of the next one."""

    windows_in_all: int
    failing: Exception | None = None
    start: int = 0
    read: int = 0
    open: int = 0

    async def windows(self) -> AsyncGenerator[StageAdvanced | Window, None]:
        self.open += 1
        try:
            yield StageAdvanced(stage=Stage.DECODING, processed_seconds=self.start * 10, duration_seconds=None)
            for number in range(self.start, self.windows_in_all):
                await asyncio.sleep(0)
                self.read += 1
                yield window(number)
            if self.failing is not None:
                raise self.failing
        finally:
            self.open -= 1


Spoken = Sequence[str | None]  # the language of each window; null: unclear, so that of the window before is taken


@dataclass(eq=False)
class ScriptedTranscriber:
    """Knows what is spoken; takes some steps of the event loop over each window, or waits until it may continue."""

    spoken: Spoken
    room: int = 4
    workers: int = 1
    steps: Callable[[], int] = lambda: 1
    lost: Callable[[], bool] = lambda: False
    failure: Exception | None = None
    may_reply: asyncio.Event = field(default_factory=asyncio.Event)
    requested: list[tuple[int, str | None]] = field(default_factory=list)
    ranks: list[Rank] = field(default_factory=list)
    options: set[TranscribeOptions] = field(default_factory=set)
    busy: int = 0
    most: int = 0  # windows that it has had at the same time

    def __post_init__(self) -> None:
        self.may_reply.set()

    async def transcribe(
        self, window: Window, options: TranscribeOptions, previous: str | None, rank: Rank
    ) -> WindowText:
        number = number_of(window)
        self.requested.append((number, previous))
        self.ranks.append(rank)
        self.options.add(options)
        self.busy += 1
        self.most = max(self.most, self.busy)
        try:
            await self.may_reply.wait()
            for _ in range(self.steps()):
                await asyncio.sleep(0)
            if self.lost():
                raise IdleWorkerLostError
            if self.failure is not None:
                raise self.failure
        finally:
            self.busy -= 1
        language = self.spoken[number] or previous
        segment = Segment(start=number * 10, end=number * 10 + 10, text=f"{number}", language=language)
        settled = self.spoken[number] is not None
        missing = [Interval(start=number * 10, end=number * 10 + 1)]
        return WindowText(
            segments=[segment], untranscribed=missing, language=language, settled=settled, end=number * 10 + 10
        )


def run_over(
    source: ScriptedSource,
    own: ScriptedTranscriber,
    idle_workers: ScriptedTranscriber | None = None,
    language: str | None = None,
) -> WindowPipeline:
    return WindowPipeline(source.windows(), own, idle_workers, OPTIONS, language)


async def all_of(run: WindowPipeline) -> list[StageAdvanced | WindowText]:
    async with asyncio.timeout(patiently(WITHIN)):
        return [item async for item in run.texts()]


def segments(items: Sequence[StageAdvanced | WindowText]) -> list[Segment]:
    return [segment for item in items if isinstance(item, WindowText) for segment in item.segments]


def languages(items: Sequence[StageAdvanced | WindowText]) -> list[str | None]:
    return [segment.language for segment in segments(items)]


async def many_steps() -> None:
    for _ in range(MANY_STEPS):
        await asyncio.sleep(0)


async def test_texts_come_in_the_order_of_the_source() -> None:
    # Given an engine that takes different times over windows
    chance = random.Random(1)  # noqa: S311 -- no secret
    source, own = ScriptedSource(30), ScriptedTranscriber(["en"] * 30, steps=lambda: chance.randrange(20))
    # When a recording is transcribed
    items = await all_of(run_over(source, own))
    # Then all is there in order, what has no text included, behind the progress that came first
    assert isinstance(items[0], StageAdvanced)
    assert [segment.text for segment in segments(items)] == [str(number) for number in range(30)]
    missing = [interval.start for text in items if isinstance(text, WindowText) for interval in text.untranscribed]
    assert missing == [number * 10 for number in range(30)]
    # And the options reached the engine, and nothing is left open
    assert own.options == {OPTIONS}
    assert source.open == own.busy == 0


async def test_texts_that_are_ready_together_are_one() -> None:
    # Given an engine that replies to four windows at the same moment
    own = ScriptedTranscriber(["en"] * 4)
    own.may_reply.clear()
    run = asyncio.create_task(all_of(run_over(ScriptedSource(4), own)))
    await many_steps()
    # When it does
    own.may_reply.set()
    items = await run
    # Then they are one text, which ends where the last of them does
    texts = [item for item in items if isinstance(item, WindowText)]
    assert [(len(text.segments), text.end) for text in texts] == [(4, 40)]


def test_texts_of_two_channels_are_never_one() -> None:
    # Given texts that are ready together, of two people who speak by turns
    items: list[StageAdvanced | WindowText] = []
    # When they are joined
    for second, channel in enumerate([0, 0, 1, 0]):
        append_or_merge(items, WindowText(segments=[], end=second, channel=channel))
    # Then each says of one channel alone how far its text reaches
    assert [(item.channel, item.end) for item in items if isinstance(item, WindowText)] == [(0, 1), (1, 2), (0, 3)]


async def test_the_engine_has_no_more_windows_than_it_has_room_for() -> None:
    own = ScriptedTranscriber(["en"] * 30, room=3, steps=lambda: 50)
    await all_of(run_over(ScriptedSource(30), own))
    assert own.most == 3


async def test_a_long_recording_is_not_read_far_ahead_of_the_engine() -> None:
    # Given a recording of a thousand windows, and an engine at its first
    source, own = ScriptedSource(1000), ScriptedTranscriber(["en"] * 1000)
    own.may_reply.clear()
    run = asyncio.create_task(all_of(run_over(source, own)))
    # When everything else has time
    await many_steps()
    # Then few windows are held
    assert source.read <= 2 * own.room
    own.may_reply.set()
    assert len(segments(await run)) == 1000


async def test_a_source_is_read_while_a_text_is_not_there_yet() -> None:
    # Given an engine that takes its time over the first window, and much progress behind that
    own, read = ScriptedTranscriber(["en"] * 2), asyncio.Event()
    own.may_reply.clear()

    async def windows() -> AsyncGenerator[StageAdvanced | Window, None]:
        yield window(0)
        for second in range(100):
            yield StageAdvanced(stage=Stage.TRANSCRIBING, processed_seconds=10 + second, duration_seconds=None)
        yield window(1)
        read.set()

    # When they are transcribed
    run = asyncio.create_task(all_of(WindowPipeline(windows(), own, None, OPTIONS, None)))
    # Then the source is read on, and of the progress only the last is reported
    async with asyncio.timeout(patiently(WITHIN)):
        await read.wait()
    own.may_reply.set()
    items = await run
    assert len(segments(items)) == 2
    assert [item.processed_seconds for item in items if isinstance(item, StageAdvanced)] == [109]


async def test_nobody_runs_far_ahead_of_a_slow_idle_worker() -> None:
    # Given an idle worker that takes its time
    source, own, idle = ScriptedSource(1000), ScriptedTranscriber(["en"] * 1000), ScriptedTranscriber(["en"] * 1000)
    idle.may_reply.clear()
    texts = run_over(source, own, idle).texts()
    # When the first text is there
    async for item in texts:
        if isinstance(item, WindowText):
            break
    await many_steps()
    await texts.aclose()
    # Then the windows that are held have a limit
    assert source.read <= 3 * (own.room + idle.room)


async def test_idle_workers_get_what_the_own_engine_has_no_room_for() -> None:
    # Given a recording that fits into the own engine, and a longer one
    short, long = (ScriptedTranscriber(["en"] * 40, workers=0) for _ in range(2))
    # When both are transcribed
    await all_of(run_over(ScriptedSource(4), ScriptedTranscriber(["en"] * 4), short))
    run = run_over(ScriptedSource(40), ScriptedTranscriber(["en"] * 40, steps=lambda: 20), long)
    items = await all_of(run)
    # Then an idle worker gets windows of the longer one only, and the run reports it
    assert not short.requested
    assert long.requested
    assert run.used_idle_workers
    assert len(segments(items)) == 40


async def test_windows_that_fit_into_the_own_engine_are_divided_among_the_workers_known() -> None:
    # Given three workers of the same speed, the own one among them, and each has room for everything
    own = ScriptedTranscriber(["en"] * 30, room=30, steps=lambda: 50)
    idle_workers = ScriptedTranscriber(["en"] * 30, room=30, workers=2, steps=lambda: 50)
    # When a recording is transcribed whose windows are all found before the first text
    await all_of(run_over(ScriptedSource(30), own, idle_workers))
    # Then the own engine has had a third at a time, and nothing twice but the last window
    assert own.most <= 10
    assert len(own.requested) + len(idle_workers.requested) <= 31


async def test_an_idle_worker_that_never_replies_costs_no_text() -> None:
    # Given an idle worker that takes windows and is silent
    own, idle = ScriptedTranscriber(["en"] * 40, steps=lambda: 50), ScriptedTranscriber(["en"] * 40)
    idle.may_reply.clear()
    # When a recording is transcribed
    run = run_over(ScriptedSource(40), own, idle)
    items = await all_of(run)
    # Then the own engine has transcribed all of it
    assert [segment.text for segment in segments(items)] == [str(number) for number in range(40)]
    assert sorted({number for number, _ in own.requested}) == list(range(40))
    assert not run.used_idle_workers
    # And the silent idle worker had no more than it has room for, and gets no further request
    assert (idle.most, idle.busy) == (idle.room, 0)


async def test_a_lost_window_goes_to_another_transcriber() -> None:
    # Given an idle worker that gives every window back
    own = ScriptedTranscriber(["en"] * 40, steps=lambda: 50)
    idle = ScriptedTranscriber(["en"] * 40, lost=lambda: True)
    # When a recording is transcribed, then nothing is missing, and no idle worker was used
    run = run_over(ScriptedSource(40), own, idle)
    assert len(segments(await all_of(run))) == 40
    assert idle.requested
    assert not run.used_idle_workers


async def test_a_window_that_was_taken_to_follow_another_language_is_transcribed_again() -> None:
    # Given a recording that goes over into German, and then into no clear language
    own = ScriptedTranscriber(["en", "en", "de", None, None], room=5, steps=lambda: 50)
    # When it is transcribed
    items = await all_of(run_over(ScriptedSource(5), own))
    # Then each window has the language of what was really spoken before it
    assert languages(items) == ["en", "en", "de", "de", "de"]
    # And what was taken to follow another one was transcribed again to follow German, at once and both together
    assert own.requested[-2:] == [(3, "de"), (4, "de")]
    assert own.ranks[-2:] == [Rank.BLOCKING, Rank.BLOCKING]


async def test_a_window_that_would_be_the_same_anyway_is_not_transcribed_again() -> None:
    # Given a recording in which the language changes with each window, and is always clear
    own = ScriptedTranscriber(["en", "de"] * 10, steps=lambda: 50)
    # When it is transcribed
    items = await all_of(run_over(ScriptedSource(20), own))
    # Then no window is transcribed twice
    assert sorted(number for number, _ in own.requested) == list(range(20))
    assert languages(items) == ["en", "de"] * 10


@pytest.mark.parametrize("seed", range(25))
async def test_the_text_does_not_depend_on_who_transcribes_or_on_what_comes_back_when(seed: int) -> None:
    # Given a recording in several languages, of which many windows are in no clear one
    chance = random.Random(seed)  # noqa: S311 -- no secret
    spoken = [chance.choice(["en", "de", "ru", None, None, None]) for _ in range(60)]
    alone = ScriptedTranscriber(spoken, room=1)
    expected = await all_of(run_over(ScriptedSource(60), alone, language="fr"))
    # When idle workers, of whom some are lost, transcribe it beside the own engine, in any order
    own = ScriptedTranscriber(spoken, room=chance.randrange(1, 6), steps=lambda: chance.randrange(30))
    idle_workers = ScriptedTranscriber(
        spoken,
        room=chance.randrange(1, 9),
        steps=lambda: chance.randrange(40),
        lost=lambda: chance.random() < 0.1,
    )
    items = await all_of(run_over(ScriptedSource(60), own, idle_workers, language="fr"))
    # Then the text is the same
    assert languages(items) == languages(expected)
    assert [segment.text for segment in segments(items)] == [str(number) for number in range(60)]


@pytest.mark.parametrize("done", [1, 5, 13])
async def test_a_resumed_run_finds_what_an_uninterrupted_one_does(done: int) -> None:
    # Given a run over a recording in which the language is not always clear
    spoken = ["en", None, "de", None, None, "ru", *[None] * 8]
    whole = await all_of(run_over(ScriptedSource(14), ScriptedTranscriber(spoken, room=1)))
    last_text = [item for item in whole if isinstance(item, WindowText)][done - 1]
    # When another one continues behind any window, with the language that was saved with it
    source = ScriptedSource(14, start=int(last_text.end // 10))
    rest = await all_of(run_over(source, ScriptedTranscriber(spoken), language=last_text.language))
    # Then both together are what one would have found
    assert languages(whole)[:done] + languages(rest) == languages(whole)


async def test_the_language_is_that_of_the_last_window_that_has_one() -> None:
    # Given a model that names no language in a window after an English one
    class Silent(ScriptedTranscriber):
        async def transcribe(
            self, window: Window, options: TranscribeOptions, previous: str | None, rank: Rank
        ) -> WindowText:
            text = await super().transcribe(window, options, previous, rank)
            return text.model_copy(update={"language": None, "settled": True}) if number_of(window) else text

    # When both are transcribed, then each text names English, for an attempt that resumes after it
    run = run_over(ScriptedSource(2), Silent(["en", "en"]))
    items = await all_of(run)
    assert [text.language for text in items if isinstance(text, WindowText)][-1] == "en"
    assert run.language == "en"


@pytest.mark.parametrize("failing", ["source", "engine"])
async def test_a_failure_ends_the_run_and_leaves_nothing_open(failing: str) -> None:
    # Given a source or an engine that fails
    source = ScriptedSource(3, failing=DAMAGED if failing == "source" else None)
    own = ScriptedTranscriber(["en"] * 3, failure=DIED if failing == "engine" else None)
    # When a recording is transcribed, then the run fails with it
    with pytest.raises((PermanentError, TransientError)) as caught:
        await all_of(run_over(source, own))
    assert caught.value is (DAMAGED if failing == "source" else DIED)
    assert source.open == own.busy == 0


async def test_closing_a_run_ends_what_is_under_way() -> None:
    # Given a run of which the first text was yielded
    source, own = ScriptedSource(100), ScriptedTranscriber(["en"] * 100, steps=lambda: 3)
    texts = run_over(source, own).texts()
    async for item in texts:
        if isinstance(item, WindowText):
            break
    assert source.open
    assert own.busy
    # When it is closed, then neither the source nor the engine continues
    await texts.aclose()
    assert source.open == own.busy == 0


async def test_a_run_that_is_cancelled_again_and_again_ends_what_is_under_way() -> None:
    # Given a source that takes a while to end, even if it is cancelled meanwhile
    cleaning, may_end, ended = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def windows() -> AsyncGenerator[StageAdvanced | Window, None]:
        try:
            await asyncio.Event().wait()
            yield window(0)
        finally:
            cleaning.set()
            await despite_cancellation(may_end.wait())
            ended.set()

    run = WindowPipeline(windows(), ScriptedTranscriber([]), None, OPTIONS, None)
    running = asyncio.create_task(anext(run.texts()))
    await asyncio.sleep(0)
    # When the run is cancelled, and again before that is over, as by whoever waits for its end
    for _ in range(3):
        running.cancel()
        await asyncio.wait([asyncio.create_task(cleaning.wait())])
        await asyncio.sleep(0)
    may_end.set()
    # Then it ends as cancelled, and the source has ended
    with pytest.raises(asyncio.CancelledError):
        await running
    assert ended.is_set()


async def test_an_idle_worker_that_is_late_with_the_next_window_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Given an idle worker that keeps a window for longer than it may, while the own engine has others
    monkeypatch.setattr(run_module, "LATE_S", 0.001)
    own = ScriptedTranscriber(["en"] * 100, steps=lambda: 50)
    idle = ScriptedTranscriber(["en"] * 100, room=1)
    idle.may_reply.clear()
    # When a long recording is transcribed
    items = await all_of(run_over(ScriptedSource(100), own, idle))
    # Then the own engine gets that window before all others that wait
    assert len(segments(items)) == 100
    assert Rank.BLOCKING in own.ranks


async def test_an_append_is_never_larger_than_a_message_can_hold() -> None:
    # Given an idle worker that replies when the own engine has long been ahead
    own, idle = ScriptedTranscriber(["en"] * 400, room=100), ScriptedTranscriber(["en"] * 400, room=100)
    own.may_reply.clear()
    run = asyncio.create_task(all_of(run_over(ScriptedSource(400), own, idle)))
    await many_steps()
    own.may_reply.set()
    # When more than a hundred texts are ready together
    texts = [item for item in await run if isinstance(item, WindowText)]
    # Then they are several
    assert len(segments(texts)) == 400
    assert max(len(text.segments) for text in texts) <= MAX_SEGMENTS_PER_TEXT


@dataclass
class CountingEngine:
    """An engine that is quick, and counts how often it is stopped in the middle of a batch."""

    stopped: int = 0

    async def run(self, job: Job) -> AsyncGenerator[Reply, None]:
        assert isinstance(job, Transcribe)
        done = False
        try:
            for _ in range(20):
                await asyncio.sleep(0)
            texts = [
                WindowText(segments=[Segment(start=0, end=1, text="x")], end=number_of(window) * 10 + 10)
                for window in job.windows
            ]
            done = True
            yield WindowsTranscribed(texts=texts, seconds=0.01)
        finally:
            self.stopped += not done


@pytest.mark.parametrize("seed", range(10))
async def test_an_idle_worker_that_is_faster_never_stops_the_own_engine(seed: int) -> None:
    # Given an engine behind its queue, and idle workers that are sometimes faster
    chance = random.Random(seed)  # noqa: S311 -- no secret
    engine = CountingEngine()
    queue = WindowQueue(cast("Engine", engine), at_once=1, largest=2)
    idle_workers = ScriptedTranscriber(["en"] * 40, steps=lambda: chance.randrange(60))
    # When recordings are transcribed
    for _ in range(3):
        items = await all_of(WindowPipeline(ScriptedSource(40).windows(), queue, idle_workers, OPTIONS, None))
        assert len(segments(items)) == 40
    # Then the engine, which would have to load its model again, was never stopped
    assert engine.stopped == 0
    await queue.close()

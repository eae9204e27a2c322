"""The windows of a recording with an engine that answers from a script: what is asked of it, and in which order."""

import asyncio
import random
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import pytest
from natscribe.schemas.errors import ErrorCode
from natscribe.schemas.progress import Stage
from natscribe.schemas.transcription import Segment, Stretch, TranscribeOptions
from natscribe.schemas.wire import Model

from app.engines.messages import (
    Job,
    Listen,
    Listened,
    ListeningDone,
    Load,
    Loaded,
    RecordingOpened,
    Reply,
    StageAdvanced,
    Transcribe,
    WindowFound,
    WindowSound,
    WindowsTranscribed,
    WindowTranscribed,
)
from app.errors import PermanentError, TransientError
from app.speech.pipeline import Batch, BatchSizes, Pipeline, Transcribed, Transcriber, TranscriberPool
from app.work_sharing.coordinator import Coordinator, HelperLostError

MODEL = Model(name="scripted", revision="1")
DAMAGED = PermanentError(ErrorCode.AUDIO_UNREADABLE, "The recording is damaged.")
DIED = TransientError(ErrorCode.ENGINE_FAILED, "The engine died.")


def window(at: float) -> WindowFound:
    """Two pieces of speech with a second between them."""
    return WindowFound(window=WindowSound(pieces=[(at, at + 4), (at + 5, at + 10)], samples=""))


def begin(sound: WindowSound) -> float:
    return sound.pieces[0][0]


def text_at(at: float) -> list[Segment]:
    return [Segment(start=at, end=at + 10, text=f"at {at:g}", avg_logprob=-0.1, no_speech_prob=0)]


def lines(start_at: float) -> list[Reply | Exception]:
    """Stereo, 100 s, of which the later 60 hold a window every 10 s."""
    found = [window(at) for at in range(40, 100, 10) if at >= start_at]
    return [
        RecordingOpened(duration_seconds=99, channels=2),
        Listened(seconds=32, settled=32),
        *found[:-1],
        Listened(seconds=96, settled=90),
        *found[-1:],
        Listened(seconds=100, settled=100),
        ListeningDone(duration_seconds=100),
    ]


@dataclass
class ScriptedEngine:
    """Finds the windows of `script` and the text of `text`; remembers the batches."""

    script: Callable[[float], Iterable[Reply | Exception]] = lines
    text: Callable[[float], list[Segment]] = text_at
    language: str | None = "en"
    missing: Sequence[Stretch] = ()  # in each window
    seconds: float = 1.0  # a window
    steps: int = 1  # of the event loop, that a batch takes
    failure: Exception | None = None
    unknown: Exception | None = None
    asked: list[tuple[int, str | None]] = field(default_factory=list)
    ready: bool = True
    loaded: Loaded | None = None
    open: int = 0

    async def load(self) -> None:
        """Nothing to load."""

    async def close(self) -> None:
        """Nothing to close."""

    async def run(self, job: Job) -> AsyncGenerator[Reply, None]:
        self.open += 1
        try:
            for reply in self._replies(job):
                if isinstance(reply, Exception):
                    raise reply
                for _ in range(self.steps if isinstance(job, Transcribe) else 1):
                    await asyncio.sleep(0)
                yield reply
        finally:
            self.open -= 1

    def _replies(self, job: Job) -> Iterable[Reply | Exception]:
        if isinstance(job, Listen):
            yield from self.script(job.start_at)
        if isinstance(job, Load):
            yield self.unknown or Loaded(model=MODEL)
        if isinstance(job, Transcribe):
            self.asked.append((len(job.windows), job.previous))
            yield self.failure or self._transcribed(job)

    def _transcribed(self, job: Transcribe) -> WindowsTranscribed:
        found = [
            WindowTranscribed(segments=self.text(begin(each)), untranscribed=list(self.missing)) for each in job.windows
        ]
        seconds = self.seconds * len(job.windows)
        return WindowsTranscribed(language=self.language, found=found, seconds=seconds, model=MODEL)


def windows(engine: ScriptedEngine, *, start_at: float = 0.0, previous: str | None = None) -> Pipeline:
    listen = Listen(path=Path("meeting.flac"), start_at=start_at)
    return Pipeline(engine, listen, Transcribe(windows=[], previous=previous), batches=BatchSizes(4))


async def all_of(run: Pipeline) -> list[StageAdvanced | Transcribed]:
    return [each async for each in run.run()]


def texts(found: list[StageAdvanced | Transcribed]) -> list[list[str]]:
    return [[segment.text for segment in each.segments] for each in found if isinstance(each, Transcribed)]


async def test_the_first_batch_is_one_window_and_later_ones_are_larger() -> None:
    # Given a quick model
    engine = ScriptedEngine()
    run = windows(engine)

    # When a recording with six windows is transcribed
    found = await all_of(run)

    # Then one window goes first, then four, then what is left, each after the language spoken last
    assert engine.asked == [(1, None), (4, "en"), (1, "en")]
    assert texts(found) == [["at 40"], ["at 50", "at 60", "at 70", "at 80"], ["at 90"]]
    assert [each.processed_seconds for each in found if isinstance(each, Transcribed)] == [50, 90, 100]
    assert (run.language, run.duration, run.channels, run.model) == ("en", 100, 2, MODEL)
    # And nothing is left open
    assert engine.open == 0


async def test_a_batch_that_could_begin_long_ago_follows_the_language_of_the_batch_before_it() -> None:
    # Given a model that is so slow that all windows are found before the first batch is transcribed
    engine = ScriptedEngine(steps=100)

    # When the recording is transcribed
    await all_of(windows(engine))

    # Then each batch is told the language spoken last, although it was only just found
    assert engine.asked == [(1, None), (4, "en"), (1, "en")]


async def test_a_slow_model_gets_one_window_at_a_time() -> None:
    # Given a model that takes 6 s for a window, when a recording is transcribed
    engine = ScriptedEngine(seconds=6.0)
    await all_of(windows(engine))
    # Then no batch takes much longer than 10 s
    assert [size for size, _ in engine.asked] == [1] * 6


async def test_what_is_transcribed_at_the_same_time_is_begun_and_done_together() -> None:
    # Given a model that transcribes two windows at the same time, and takes 2 s for each; up to seven may be a batch
    engine = ScriptedEngine(seconds=2.0)
    listen = Listen(path=Path("meeting.flac"))
    # When a recording of six windows is transcribed
    await all_of(Pipeline(engine, listen, Transcribe(windows=[]), batches=BatchSizes(7, first=2)))
    # Then it begins with two, and no batch leaves one of both without work before its end
    assert [size for size, _ in engine.asked] == [2, 4]


async def test_the_stage_comes_before_the_model_is_at_work() -> None:
    # Given a recording with speech at its beginning, when it is transcribed
    found = await all_of(windows(ScriptedEngine(), start_at=50))

    # Then the stage is not decoding any more while the first window is transcribed
    stages = [each.stage if isinstance(each, StageAdvanced) else "text" for each in found[1:4]]
    assert found[0] == StageAdvanced(stage=Stage.DECODING, processed_seconds=50, duration_seconds=99)
    assert stages == [Stage.TRANSCRIBING, "text", "text"]


async def test_progress_comes_where_nobody_speaks() -> None:
    # Given speech with silence before and after it
    def script(_: float) -> list[Reply | Exception]:
        silences = [Listened(seconds=at, settled=at) for at in (96.0, 160.0)]
        return [Listened(seconds=32, settled=32), window(40), Listened(seconds=64, settled=50), *silences,
                ListeningDone(duration_seconds=160)]  # fmt: skip

    # When it is transcribed
    found = await all_of(windows(ScriptedEngine(script)))

    # Then the silence counts as processed, in its place
    assert [each.processed_seconds for each in found] in ([32, 50, 160], [32, 50, 96, 160])
    assert [isinstance(each, Transcribed) for each in found[:3]] == [False, True, False]


async def test_a_resumed_run_begins_after_what_is_done() -> None:
    # Given a run that did three windows, when another one goes on after the language found
    engine = ScriptedEngine()
    run = windows(engine, start_at=70, previous="de")
    found = await all_of(run)

    # Then only the rest is transcribed, and no progress falls behind
    assert texts(found) == [["at 70"], ["at 80", "at 90"]]
    assert engine.asked[0] == (1, "de")
    assert all(each.processed_seconds >= 70 for each in found)


async def test_until_something_is_said_batches_stay_small() -> None:
    # Given a model that finds no text and no language
    engine = ScriptedEngine(text=lambda _: [], language=None)
    run = windows(engine)

    # When the recording is transcribed
    found = await all_of(run)

    # Then there is no text, one window is transcribed at a time, and the language is open to the end
    assert not any(texts(found))
    assert engine.asked == [(1, None)] * 6
    assert run.language is None


async def test_sections_without_text_come_with_their_batch() -> None:
    # Given a model that finds no text in a part of each window, when a recording is transcribed
    missing = Stretch(start=1, end=2)
    found = await all_of(windows(ScriptedEngine(missing=[missing])))

    # Then each window's part comes with its batch
    assert [list(each.untranscribed) for each in found if isinstance(each, Transcribed)] == [
        [missing],
        [missing] * 4,
        [missing],
    ]


async def test_all_options_reach_the_engine() -> None:
    # Given a task with options
    asked: list[Job] = []

    class Watched(ScriptedEngine):
        async def run(self, job: Job) -> AsyncGenerator[Reply, None]:
            asked.append(job)
            async for reply in super().run(job):
                yield reply

    options = TranscribeOptions(model="large", vocabulary=("Natscribe",), translate=True)
    listen = Listen(path=Path("meeting.flac"), channel=1)

    # When a channel is transcribed
    await all_of(Pipeline(Watched(), listen, Transcribe(windows=[], options=options), batches=BatchSizes(4)))

    # Then the model is loaded for them, and each batch is transcribed with them
    assert [job for job in asked if isinstance(job, Listen)] == [listen]
    assert {job.options for job in asked if isinstance(job, Load | Transcribe)} == {options}


async def test_an_unknown_model_is_reported_before_anything_else() -> None:
    # Given a recording that is damaged and a model that does not exist
    unknown = PermanentError(ErrorCode.UNKNOWN_MODEL, "no such model")
    engine = ScriptedEngine(lambda _: [DAMAGED], unknown=unknown)
    # When it is transcribed, then the model is at fault
    with pytest.raises(PermanentError) as caught:
        await all_of(windows(engine))
    assert caught.value is unknown
    assert engine.open == 0


@pytest.mark.parametrize("failing", ["listener", "transcriber"])
async def test_a_failure_ends_the_run_and_leaves_nothing_open(failing: str) -> None:
    # Given an engine of which one part fails
    engine = (
        ScriptedEngine(lambda at: [*lines(at)[:4], DIED]) if failing == "listener" else ScriptedEngine(failure=DIED)
    )
    # When a recording is transcribed, then the run fails with it
    with pytest.raises(TransientError) as caught:
        await all_of(windows(engine))
    assert caught.value is DIED
    assert engine.open == 0


async def test_closing_a_run_ends_what_is_under_way() -> None:
    # Given a run of which the first text was yielded
    engine = ScriptedEngine()
    run = windows(engine).run()
    async for each in run:
        if isinstance(each, Transcribed):
            break
    assert engine.open > 0
    # When it is closed
    await run.aclose()
    # Then neither listener nor transcriber goes on
    assert engine.open == 0


class SlowHelper:
    """A helper that comes at once and answers when it may, and its coordinator."""

    def __init__(self) -> None:
        self.batches: asyncio.Queue[Transcribe] = asyncio.Queue()
        self.may_answer = asyncio.Event()
        self.batch_seconds = 0.0
        self._came = False

    async def transcribe(self, job: Transcribe) -> WindowsTranscribed:
        self.batches.put_nowait(job)
        await self.may_answer.wait()
        found = [WindowTranscribed(segments=text_at(begin(each))) for each in job.windows]
        return WindowsTranscribed(language="en", found=found, seconds=6, model=MODEL)

    def update(self, *, wanted: bool, batch_seconds: float) -> None:
        assert isinstance(wanted, bool)
        self.batch_seconds = batch_seconds

    async def next_helper(self) -> Transcriber:
        if self._came:
            await asyncio.Event().wait()
        self._came = True
        return self.transcribe

    @asynccontextmanager
    async def coordination(self, _model: Model) -> AsyncIterator[Coordinator]:
        yield cast("Coordinator", self)


async def test_no_transcriber_runs_far_ahead_of_a_slow_one() -> None:
    # Given a recording of a hundred windows, and a helper that is slow over one of the first
    script: list[Reply] = [*(window(at * 10) for at in range(100)), ListeningDone(duration_seconds=1000)]
    engine, helper = ScriptedEngine(lambda _: script, seconds=6, steps=10), SlowHelper()
    listen, job = Listen(path=Path("meeting.flac"), start_at=0), Transcribe(windows=[], previous="en")
    run = asyncio.create_task(all_of(Pipeline(engine, listen, job, helper.coordination, batches=BatchSizes(4))))
    async with asyncio.timeout(10):
        await helper.batches.get()
    # When everybody else has time
    for _ in range(10_000):
        await asyncio.sleep(0)
    # Then the own engine has waited after a few, and it is known how long a batch takes it
    assert len(engine.asked) < 10
    assert helper.batch_seconds == 6
    # And when the helper answers, then all of it comes in order
    helper.may_answer.set()
    assert texts(await run) == [[f"at {at * 10}"] for at in range(100)]


async def test_a_long_recording_is_not_read_much_ahead_of_the_model() -> None:
    # Given a recording of a thousand windows, and a model at its first
    read = 0

    def script(_: float) -> Iterable[Reply | Exception]:
        nonlocal read
        for at in range(1000):
            read += 1
            yield window(at * 10)

    run = windows(ScriptedEngine(script)).run()
    # When the first text is there
    async for each in run:
        if isinstance(each, Transcribed):
            break
    await run.aclose()
    # Then few windows are held
    assert read < 20


class Polyglot:
    """A model that is sure of the language of some windows, and takes that of the one before for the others."""

    def __init__(self, spoken: Sequence[str | None]) -> None:
        """What is spoken in each window; null: that is unclear."""
        self._spoken = spoken
        self.asked: list[tuple[list[int], str | None]] = []

    def transcribe(self, job: Transcribe) -> WindowsTranscribed:
        numbers = [int(begin(each) // 10) for each in job.windows]
        self.asked.append((numbers, job.previous))
        language, found = job.previous, []
        for number in numbers:
            language = self._spoken[number] or language
            (segment,) = text_at(number * 10)
            found.append(WindowTranscribed(segments=[segment.model_copy(update={"language": language})]))
        settled = self._spoken[numbers[0]] is not None
        return WindowsTranscribed(language=language, found=found, settled=settled, seconds=1, model=MODEL)


class PolyglotEngine(ScriptedEngine):
    """The own engine of a worker, with such a model."""

    def __init__(self, model: Polyglot, windows: int, *, steps: int = 1) -> None:
        super().__init__(
            lambda start_at: [
                RecordingOpened(duration_seconds=windows * 10, channels=1),
                *(window(at * 10) for at in range(windows) if at * 10 >= start_at),
                ListeningDone(duration_seconds=windows * 10),
            ],
            steps=steps,
        )
        self._model = model

    def _transcribed(self, job: Transcribe) -> WindowsTranscribed:
        return self._model.transcribe(job)


class Crowd:
    """Helpers that come one after the other, answer in any order, and are sometimes lost."""

    def __init__(self, model: Polyglot, seed: int, helpers: int) -> None:
        self._model = model
        self._random = random.Random(seed)  # noqa: S311 -- no secret
        self._left = helpers

    async def transcribe(self, job: Transcribe) -> WindowsTranscribed:
        for _ in range(self._random.randrange(40)):
            await asyncio.sleep(0)
        if self._random.random() < 0.1:
            raise HelperLostError
        return self._model.transcribe(job)

    def update(self, *, wanted: bool, batch_seconds: float) -> None:
        """They come anyway."""

    async def next_helper(self) -> Transcriber:
        if not self._left:
            await asyncio.Event().wait()
        self._left -= 1
        return self.transcribe

    @asynccontextmanager
    async def coordination(self, _model: Model) -> AsyncIterator[Coordinator]:
        yield cast("Coordinator", self)


def languages(found: list[StageAdvanced | Transcribed]) -> list[str | None]:
    return [segment.language for each in found if isinstance(each, Transcribed) for segment in each.segments]


async def test_a_batch_that_was_taken_to_follow_another_language_is_transcribed_again() -> None:
    # Given a recording that goes over into German while two batches are transcribed at once: of the first window of
    # the second batch the language is unclear
    model = Polyglot(["en", "en", "de", None, None])
    helper = SlowHelper()

    async def transcribe(job: Transcribe) -> WindowsTranscribed:
        helper.batches.put_nowait(job)
        await helper.may_answer.wait()
        return model.transcribe(job)

    helper.transcribe = transcribe  # type: ignore[method-assign]
    engine = PolyglotEngine(model, 5, steps=20)
    listen, job = Listen(path=Path("meeting.flac")), Transcribe(windows=[])
    run = asyncio.create_task(all_of(Pipeline(engine, listen, job, helper.coordination, batches=BatchSizes(1))))

    # When the later one comes back first
    async with asyncio.timeout(10):
        early = await helper.batches.get()
        for _ in range(200):
            await asyncio.sleep(0)
        helper.may_answer.set()
        found = await run

    # Then each window has the language of what was really spoken before it, and the order is kept
    assert early.previous == "en"
    assert languages(found) == ["en", "en", "de", "de", "de"]
    assert texts(found) == [[f"at {at * 10}"] for at in range(5)]
    # And what was taken to follow English was transcribed again to follow German
    assert ([3], "en") in model.asked
    assert ([3], "de") in model.asked


async def test_a_batch_that_would_be_the_same_anyway_is_not_transcribed_again() -> None:
    # Given a recording in which the language changes with each window, and is always clear
    spoken = ["en", "de"] * 10
    model = Polyglot(spoken)
    crowd = Crowd(model, seed=1, helpers=3)

    # When several transcribe it at once, of whom some are lost
    listen, job = Listen(path=Path("meeting.flac")), Transcribe(windows=[])
    engine = PolyglotEngine(model, len(spoken), steps=10)
    found = await all_of(Pipeline(engine, listen, job, crowd.coordination, batches=BatchSizes(2)))

    # Then no window is transcribed twice
    assert sorted(number for numbers, _ in model.asked for number in numbers) == list(range(20))
    assert languages(found) == spoken


@pytest.mark.parametrize("seed", range(25))
async def test_the_text_does_not_depend_on_who_transcribes_or_on_what_comes_back_when(seed: int) -> None:
    # Given a recording in several languages, of which many windows are in no clear one
    chance = random.Random(seed)  # noqa: S311 -- no secret
    spoken = [chance.choice(["en", "de", "ru", None, None, None]) for _ in range(60)]
    listen, job = Listen(path=Path("meeting.flac")), Transcribe(windows=[], previous="fr")
    alone = PolyglotEngine(Polyglot(spoken), len(spoken))
    expected = await all_of(Pipeline(alone, listen, job, batches=BatchSizes(1)))

    # When helpers transcribe it beside the own engine, in batches of another size, in any order
    model = Polyglot(spoken)
    crowd = Crowd(model, seed, helpers=chance.randrange(1, 6))
    engine = PolyglotEngine(model, len(spoken), steps=chance.randrange(1, 30))
    async with asyncio.timeout(10):
        found = await all_of(
            Pipeline(engine, listen, job, crowd.coordination, batches=BatchSizes(chance.randrange(1, 5)))
        )

    # Then the text is the same
    assert languages(found) == languages(expected)
    assert [text for batch in texts(found) for text in batch] == [f"at {at * 10}" for at in range(60)]


@pytest.mark.parametrize("done", [1, 5, 13])
async def test_a_resumed_run_finds_what_an_uninterrupted_one_does(done: int) -> None:
    # Given a run over a recording in which the language is not always clear
    spoken = ["en", None, "de", None, None, "ru", *[None] * 8]
    listen = Listen(path=Path("meeting.flac"))
    whole = await all_of(
        Pipeline(PolyglotEngine(Polyglot(spoken), 14), listen, Transcribe(windows=[]), batches=BatchSizes(1))
    )

    # When another one goes on behind any window, with the language that was saved with it
    saved = [each for each in whole if isinstance(each, Transcribed)][done - 1]
    listen = Listen(path=Path("meeting.flac"), start_at=saved.processed_seconds)
    job = Transcribe(windows=[], previous=saved.language)
    rest = await all_of(Pipeline(PolyglotEngine(Polyglot(spoken), 14), listen, job, batches=BatchSizes(4)))

    # Then both together are what one would have found
    assert languages(whole)[:done] + languages(rest) == languages(whole)


class GatedTranscriber:
    """Answers when it may."""

    def __init__(self) -> None:
        self.asked = 0
        self.may_answer = asyncio.Event()

    async def transcribe(self, job: Transcribe) -> WindowsTranscribed:
        self.asked += 1
        await self.may_answer.wait()
        found = [WindowTranscribed(segments=[]) for _ in job.windows]
        return WindowsTranscribed(language="en", found=found, seconds=1, model=MODEL)


async def test_the_own_engine_is_asked_before_helpers() -> None:
    # Given a worker and a helper that are both done with a batch, the helper first
    own, helper = GatedTranscriber(), GatedTranscriber()
    pool = TranscriberPool(own.transcribe)
    pool.add(helper.transcribe)
    for _ in (own, helper):
        pool.start(Transcribe(windows=[]), Batch([]))
    helper.may_answer.set()
    await asyncio.wait(pool.tasks, return_when=asyncio.FIRST_COMPLETED)
    assert len(list(pool.finished())) == 1
    own.may_answer.set()
    await asyncio.wait(pool.tasks)
    assert len(list(pool.finished())) == 1
    # When there is one more batch
    pool.start(Transcribe(windows=[]), Batch([]))
    await asyncio.wait(pool.tasks)
    # Then the helper is not asked for it
    assert (own.asked, helper.asked) == (2, 1)

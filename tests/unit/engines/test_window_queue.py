"""The queue in front of the engine: which windows are a batch, whose come first, and when a batch is stopped."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextvars import ContextVar
from dataclasses import dataclass, field

import pytest
from natscribe.schemas.errors import ErrorCode
from natscribe.schemas.transcription import Segment, TranscribeOptions
from natscribe.schemas.windows import Window, WindowText

from app.engines import window_queue
from app.engines.messages import Job, Loaded, Reply, Transcribe, WindowsTranscribed
from app.engines.window_queue import Rank, WindowQueue
from app.errors import TransientError
from tests.waiting import eventually

DIED = TransientError(ErrorCode.ENGINE_FAILED, "The engine died.")
ENGLISH, GERMAN = TranscribeOptions(language="en"), TranscribeOptions(language="de")
TASK: ContextVar[str] = ContextVar("TASK", default="none")


def window(number: int) -> Window:
    return Window(regions=[(number, number + 1)], samples="")


def number_of(window: Window) -> int:
    return int(window.regions[0][0])


def text(number: int) -> WindowText:
    segments = [Segment(start=number, end=number + 1, text=f"window {number}", avg_logprob=-0.1, no_speech_prob=0)]
    return WindowText(segments=segments, end=number + 1)


@dataclass
class ScriptedEngine:
    """Replies when it may, in `seconds` for each window; remembers the batches."""

    seconds: float = 1.0
    text: Callable[[int], WindowText] = text
    failures: list[Exception] = field(default_factory=list)  # of the next batches
    jobs: list[Transcribe] = field(default_factory=list)
    tasks: list[str] = field(default_factory=list)  # whose log lines the lines about a batch belong to
    stopped: int = 0  # batches that were stopped
    ready: bool = True
    loaded: Loaded | None = None

    def __post_init__(self) -> None:
        self.may_reply = asyncio.Event()
        self.may_reply.set()

    @property
    def batches(self) -> list[list[int]]:
        return [[number_of(waiting) for waiting in job.windows] for job in self.jobs]

    async def load(self) -> None:
        """Nothing to load."""

    async def close(self) -> None:
        """Nothing to close."""

    async def run(self, job: Job) -> AsyncGenerator[Reply, None]:
        assert isinstance(job, Transcribe)
        self.jobs.append(job)
        self.tasks.append(TASK.get())
        try:
            await self.may_reply.wait()
        except asyncio.CancelledError:
            self.stopped += 1
            raise
        if self.failures:
            raise self.failures.pop(0)
        texts = [self.text(number_of(waiting)) for waiting in job.windows]
        yield WindowsTranscribed(texts=texts, seconds=self.seconds * len(texts))


@pytest.fixture
def engine() -> ScriptedEngine:
    return ScriptedEngine()


@pytest.fixture
async def queue(engine: ScriptedEngine) -> WindowQueue:
    """A queue that knows already that its engine is quick."""
    queue = WindowQueue(engine, at_once=1, largest=4)
    await queue.transcribe(window(0), ENGLISH, None)
    engine.jobs.clear()
    engine.tasks.clear()
    return queue


Request = asyncio.Task[WindowText]


def request(
    queue: WindowQueue,
    number: int,
    *,
    options: TranscribeOptions = ENGLISH,
    previous: str | None = None,
    rank: Rank = Rank.OWN,
) -> Request:
    return asyncio.create_task(queue.transcribe(window(number), options, previous, rank))


async def standstill() -> None:
    """Let everybody do what can be done now."""
    for _ in range(50):
        await asyncio.sleep(0)


async def texts_of(*requests: Request) -> list[WindowText]:
    async with asyncio.timeout(5):
        return await asyncio.gather(*requests)


async def in_progress(queue: WindowQueue, engine: ScriptedEngine, *ranks: Rank) -> list[Request]:
    """A batch that the engine does not end, with a window for each of these ranks."""
    engine.may_reply.clear()
    requests = [request(queue, number, rank=rank) for number, rank in enumerate(ranks)]
    await standstill()
    assert engine.batches == [list(range(len(ranks)))]
    return requests


async def give_up(*requests: Request) -> None:
    for waiting in requests:
        waiting.cancel()
    await standstill()


async def test_windows_that_wait_at_the_same_moment_are_one_batch_up_to_the_limit(
    engine: ScriptedEngine, queue: WindowQueue
) -> None:
    # Given six windows of several runs, each after another language, and batches of up to four
    before = ["en", "de", None, "en", "ru", None]
    # When all are requested at the same moment
    texts = await texts_of(*(request(queue, number, previous=language) for number, language in enumerate(before)))
    # Then the first four are transcribed together, then the others, each after its language
    assert engine.batches == [[0, 1, 2, 3], [4, 5]]
    assert [job.previous for job in engine.jobs] == [before[:4], before[4:]]
    # And each has its own text
    assert texts == [text(number) for number in range(6)]


async def test_the_engine_never_waits_for_more_windows(engine: ScriptedEngine, queue: WindowQueue) -> None:
    # Given one window, when nobody asks for another one, then it is transcribed at once
    (first,) = await in_progress(queue, engine, Rank.OWN)
    # When more come meanwhile
    second, third = request(queue, 1), request(queue, 2)
    await standstill()
    assert engine.batches == [[0]]
    engine.may_reply.set()
    await texts_of(first, second, third)
    # Then they are transcribed as soon as the engine is free
    assert engine.batches == [[0], [1, 2]]


async def test_windows_of_different_options_are_never_in_one_batch(engine: ScriptedEngine, queue: WindowQueue) -> None:
    # Given windows of two tasks with different options, when all are requested at the same moment
    options = [ENGLISH, GERMAN, ENGLISH, GERMAN]
    texts = await texts_of(*(request(queue, number, options=waiting) for number, waiting in enumerate(options)))
    # Then each batch has the windows of one task, with its options
    assert engine.batches == [[0, 2], [1, 3]]
    assert [job.options for job in engine.jobs] == [ENGLISH, GERMAN]
    assert texts == [text(number) for number in range(4)]


async def test_live_windows_come_before_own_ones_and_these_before_those_of_other_workers(
    engine: ScriptedEngine,
) -> None:
    # Given an engine that is busy with an interim pass, and windows of all ranks that wait for it
    queue = WindowQueue(engine, at_once=2, largest=2)
    requests = await in_progress(queue, engine, Rank.INTERIM)
    names = ("SHARED", "INTERIM", "OWN", "DUPLICATE", "LIVE", "BLOCKING", "LIVE", "OWN", "SHARED")
    for number, rank in enumerate(map(Rank.__getitem__, names), start=1):
        requests.append(request(queue, number, rank=rank))
    await standstill()
    # When it is free
    engine.may_reply.set()
    await texts_of(*requests)
    # Then the ranks come one after the other, an interim pass in its turn, and within a rank the window that came first
    assert engine.batches == [[0], [5, 7], [6, 3], [2], [8, 4], [1, 9]]
    assert [job.interim for job in engine.jobs] == [True, False, False, True, False, False]


async def test_interim_passes_and_recordings_take_turns_and_finals_come_before_both(engine: ScriptedEngine) -> None:
    # Given an engine that is busy, a recording, and interim passes of streams without pauses
    queue = WindowQueue(engine, at_once=1, largest=1)
    requests = await in_progress(queue, engine, Rank.OWN)
    requests += [request(queue, 10 + number, rank=Rank.INTERIM) for number in range(4)]
    requests += [request(queue, 20 + number) for number in range(4)]
    requests.append(request(queue, 30, rank=Rank.LIVE))
    await standstill()
    # When it is free
    engine.may_reply.set()
    await texts_of(*requests)
    # Then the final text comes first, then interim passes and windows of the recording in turns
    assert engine.batches == [[0], [30], [10], [20], [11], [21], [12], [22], [13], [23]]


async def test_a_live_window_does_not_wait_for_the_text_of_a_recording(
    engine: ScriptedEngine, queue: WindowQueue
) -> None:
    # Given a live window and windows of a recording with the same options, which would fit into one batch
    requests = [request(queue, 1), request(queue, 2, rank=Rank.LIVE), request(queue, 3, rank=Rank.LIVE)]
    # When the engine takes them, then the live windows are a batch of their own
    await texts_of(*requests)
    assert engine.batches == [[2, 3], [1]]


@pytest.mark.parametrize("rank", [Rank.LIVE, Rank.INTERIM])
async def test_batches_of_recordings_are_short_while_people_speak(
    engine: ScriptedEngine, queue: WindowQueue, rank: Rank, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a queue with batches of four, and a live window
    await texts_of(request(queue, 0, rank=rank))
    # When windows of a recording come soon after it, then each batch has a window for each core, here one
    await texts_of(*(request(queue, number) for number in range(1, 4)))
    assert engine.batches == [[0], [1], [2], [3]]
    # And some seconds after the last live window batches are as large as before
    monkeypatch.setattr(window_queue, "LIVE_S", 0.0)
    await texts_of(request(queue, 4, rank=rank))
    await texts_of(*(request(queue, number) for number in range(5, 9)))
    assert engine.batches[4:] == [[4], [5, 6, 7, 8]]


async def test_live_windows_do_not_tell_how_long_the_window_of_a_recording_takes(
    engine: ScriptedEngine, queue: WindowQueue
) -> None:
    # Given an engine that was busy while a live window was transcribed
    engine.seconds = 60.0
    await texts_of(request(queue, 0, rank=Rank.LIVE))
    # When a run asks how many windows it may have, then it is as many as before
    assert queue.room == 8


async def test_a_window_of_a_higher_rank_brings_its_options(engine: ScriptedEngine, queue: WindowQueue) -> None:
    # Given windows that wait, the first one of a lower rank and with other options
    help_, own = request(queue, 0, options=GERMAN, rank=Rank.SHARED), request(queue, 1)
    # When the engine takes them, then the higher rank comes first all the same
    await texts_of(help_, own)
    assert [(job.options, waiting) for job, waiting in zip(engine.jobs, engine.batches, strict=True)] == [
        (ENGLISH, [1]),
        (GERMAN, [0]),
    ]


async def test_a_batch_whose_windows_nobody_wants_any_longer_is_stopped_at_once(
    engine: ScriptedEngine, queue: WindowQueue
) -> None:
    # Given a batch that is being transcribed, and a window behind it
    requests = await in_progress(queue, engine, Rank.OWN, Rank.OWN)
    behind = request(queue, 2)
    # When nobody wants the batch any longer
    await give_up(*requests)
    # Then it is stopped, and the engine has begun with what is behind it
    assert engine.stopped == 1
    assert engine.batches == [[0, 1], [2]]
    engine.may_reply.set()
    assert await texts_of(behind) == [text(2)]


async def test_a_batch_of_which_somebody_still_wants_a_window_continues(
    engine: ScriptedEngine, queue: WindowQueue
) -> None:
    # Given a batch of two windows, when one of them is wanted no longer
    unwanted, wanted = await in_progress(queue, engine, Rank.OWN, Rank.OWN)
    await give_up(unwanted)
    # Then the other one gets its own text
    engine.may_reply.set()
    assert await texts_of(wanted) == [text(1)]
    assert (engine.stopped, engine.batches) == (0, [[0, 1]])


@pytest.mark.parametrize(
    "ranks",
    [(Rank.OWN, Rank.SHARED), (Rank.OWN, Rank.DUPLICATE), (Rank.BLOCKING, Rank.OWN), (Rank.LIVE,), (Rank.INTERIM,)],
)
async def test_a_batch_that_is_not_of_a_recording_of_this_worker_alone_continues(
    engine: ScriptedEngine, queue: WindowQueue, ranks: tuple[Rank, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a batch with a window of another worker, that a helper has, too, or that is live, and a window behind it
    monkeypatch.setattr(window_queue, "POLL_EVERY_S", 0.0)  # whether it takes too long
    requests = await in_progress(queue, engine, *ranks)
    behind = request(queue, 5)
    # When nobody wants the batch any longer
    await give_up(*requests)
    # Then the engine is not stopped, and does the next window after it
    assert (engine.stopped, len(engine.batches)) == (0, 1)
    engine.may_reply.set()
    assert await texts_of(behind) == [text(5)]
    assert (engine.stopped, engine.batches[1:]) == (0, [[5]])


async def test_a_window_that_is_given_up_while_it_waits_is_never_transcribed(
    engine: ScriptedEngine, queue: WindowQueue
) -> None:
    # Given two windows that wait behind a batch
    (first,) = await in_progress(queue, engine, Rank.OWN)
    unwanted, wanted = request(queue, 1), request(queue, 2)
    await standstill()
    # When one is given up
    await give_up(unwanted)
    # Then the batch continues, and only the other one follows it
    engine.may_reply.set()
    assert await texts_of(first, wanted) == [text(0), text(2)]
    assert (engine.stopped, engine.batches) == (0, [[0], [2]])


async def test_where_all_that_waits_is_given_up_the_engine_has_nothing_to_do(
    engine: ScriptedEngine, queue: WindowQueue
) -> None:
    # Given a window that waits behind a batch, when it is given up
    (first,) = await in_progress(queue, engine, Rank.OWN)
    unwanted = request(queue, 1)
    await standstill()
    await give_up(unwanted)
    engine.may_reply.set()
    await texts_of(first)
    await standstill()
    # Then there is no batch for it, and a later window is transcribed as ever
    assert engine.batches == [[0]]
    assert await texts_of(request(queue, 2)) == [text(2)]


async def test_an_error_of_the_engine_reaches_all_windows_of_its_batch_and_no_others(
    engine: ScriptedEngine, queue: WindowQueue
) -> None:
    # Given an engine that dies over the first of two batches
    engine.failures = [DIED]
    # When windows are requested
    requests = [request(queue, number) for number in range(6)]
    async with asyncio.timeout(5):
        outcomes = await asyncio.gather(*requests, return_exceptions=True)
    # Then those of the first batch learn of it, and the second batch has its texts
    assert outcomes == [DIED] * 4 + [text(4), text(5)]


async def test_an_engine_that_died_over_windows_that_nobody_wants_continues(
    engine: ScriptedEngine, queue: WindowQueue
) -> None:
    # Given an engine that dies over a batch of which one window is wanted no longer
    engine.failures = [DIED]
    unwanted, wanted = await in_progress(queue, engine, Rank.OWN, Rank.OWN)
    await give_up(unwanted)
    engine.may_reply.set()
    # When somebody asks again, then there is a text
    with pytest.raises(TransientError):
        await texts_of(wanted)
    assert await texts_of(request(queue, 1)) == [text(1)]


@pytest.mark.parametrize(
    ("seconds", "at_once", "largest", "size"),
    [(6.0, 1, 4, 1), (3.0, 1, 4, 3), (0.0, 1, 4, 4), (2.0, 2, 7, 4), (1.2, 3, 7, 6), (60.0, 2, 7, 2)],
)
async def test_a_batch_takes_about_ten_seconds_and_leaves_no_core_without_work(
    engine: ScriptedEngine, seconds: float, at_once: int, largest: int, size: int
) -> None:
    # Given a model that takes so long for a window, and transcribes so many at the same time
    engine.seconds = seconds
    queue = WindowQueue(engine, at_once=at_once, largest=largest)
    assert queue.room == 2 * at_once
    # When its speed is known
    await texts_of(request(queue, 0))
    await texts_of(*(request(queue, number) for number in range(1, 15)))
    # Then no batch takes much longer than 10 s, and each round of a batch has work for all cores
    assert {len(batch) for batch in engine.batches[1:-1]} == {size}
    # And a run may have the windows of this batch and of the next one
    assert queue.room == 2 * size


async def test_batches_grow_again_with_a_model_that_is_quick_again(engine: ScriptedEngine, queue: WindowQueue) -> None:
    # Given a machine that was busy while a window was transcribed
    engine.seconds = 60.0
    await texts_of(request(queue, 0))
    assert queue.room == 2
    # When a window is transcribed quickly again
    engine.seconds = 1.0
    await texts_of(request(queue, 1))
    # Then batches are as large as they may be
    assert queue.room == 8


async def test_a_batch_without_text_says_nothing_about_the_time_of_a_window(
    engine: ScriptedEngine, queue: WindowQueue
) -> None:
    # Given a model that takes long over a window, and finds no text
    engine.seconds, engine.text = 60.0, lambda number: WindowText(segments=[], end=number + 1)
    await texts_of(request(queue, 0))
    # When more is requested, then a batch is as large as it was
    await texts_of(*(request(queue, number) for number in range(1, 5)))
    assert engine.batches == [[0], [1, 2, 3, 4]]


async def test_what_the_log_tells_of_a_batch_belongs_to_the_task_of_its_first_window(
    engine: ScriptedEngine, queue: WindowQueue
) -> None:
    # Given windows of two tasks, with different options
    async def task(name: str, number: int, options: TranscribeOptions) -> WindowText:
        TASK.set(name)
        return await queue.transcribe(window(number), options, None)

    # When both are requested at the same moment
    await asyncio.gather(task("first", 0, ENGLISH), task("second", 1, GERMAN))
    # Then each batch belongs to its task
    assert engine.tasks == ["first", "second"]


async def test_after_closing_nothing_continues(engine: ScriptedEngine, queue: WindowQueue) -> None:
    # Given a batch that is being transcribed, also for another worker, and a window that waits
    requests = await in_progress(queue, engine, Rank.OWN, Rank.SHARED)
    requests.append(request(queue, 2))
    await standstill()
    # When the queue is closed
    async with asyncio.timeout(5):
        await queue.close()
        outcomes = await asyncio.gather(*requests, return_exceptions=True)
    # Then the batch is stopped, nobody gets a text, and no task is left
    assert (engine.stopped, engine.batches) == (1, [[0, 1]])
    assert [type(outcome) for outcome in outcomes] == [asyncio.CancelledError] * 3
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_a_queue_that_has_had_nothing_to_do_can_be_closed(engine: ScriptedEngine, queue: WindowQueue) -> None:
    # Given a queue without windows, when it is closed, then there is nothing to stop
    await queue.close()
    assert engine.jobs == []
    # And a window that comes after the end is given up
    with pytest.raises(asyncio.CancelledError):
        await request(queue, 1)


async def test_until_the_speed_of_a_model_is_known_its_batches_are_as_small_as_the_cores_allow(
    engine: ScriptedEngine, queue: WindowQueue
) -> None:
    # Given an engine whose own model is quick
    # When windows of another model come, then the first of its batches has one window a core
    other = TranscribeOptions(model="large-v3")
    await texts_of(*(request(queue, number, options=other) for number in range(6)))
    assert engine.batches == [[0], [1, 2, 3, 4], [5]]


async def test_a_batch_that_hangs_and_that_nobody_wants_is_stopped_in_the_end(
    engine: ScriptedEngine, queue: WindowQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given an engine that hangs over the window of another worker
    monkeypatch.setattr(window_queue, "ABANDONED_S", 0.05)
    monkeypatch.setattr(window_queue, "POLL_EVERY_S", 0.01)
    requests = await in_progress(queue, engine, Rank.SHARED)
    # When nobody wants it any longer
    await give_up(*requests)

    async def is_stopped() -> bool:
        return engine.stopped == 1

    # Then the engine is free again
    await eventually(is_stopped)
    engine.may_reply.set()
    assert await texts_of(request(queue, 5)) == [text(5)]


async def test_an_engine_that_writes_too_few_texts_leaves_nobody_waiting(
    engine: ScriptedEngine, queue: WindowQueue
) -> None:
    # Given an engine that forgets a window
    class Forgetful(ScriptedEngine):
        async def run(self, job: Job) -> AsyncGenerator[Reply, None]:
            async for reply in super().run(job):
                assert isinstance(reply, WindowsTranscribed)
                yield reply.model_copy(update={"texts": reply.texts[1:]})

    queue = WindowQueue(Forgetful(), at_once=2, largest=2)
    # When two windows are transcribed, then both fail
    requests = [request(queue, number) for number in range(2)]
    async with asyncio.timeout(5):
        outcomes = await asyncio.gather(*requests, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [RuntimeError] * 2

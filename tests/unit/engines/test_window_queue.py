"""The queue in front of the engine: which windows are a batch, whose come first, and when a batch is stopped."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextvars import ContextVar
from dataclasses import dataclass, field

import pytest
from natscribe.schemas.errors import ErrorCode
from natscribe.schemas.transcription import Segment, TranscribeOptions

from app.engines import window_queue
from app.engines.messages import Job, Loaded, Reply, Transcribe, WindowsTranscribed
from app.engines.window_queue import Rank, WindowQueue
from app.engines.windows import Window, WindowText
from app.runtime.errors import TransientError
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


Request = asyncio.Task[WindowText]


class Scenario:
    """A queue in front of an engine, and the requests of a test."""

    def __init__(self, engine: ScriptedEngine | None = None, *, at_once: int = 1, largest: int = 4) -> None:
        self.engine = engine or ScriptedEngine()
        self.queue = WindowQueue(self.engine, at_once=at_once, largest=largest)

    def request(
        self,
        number: int,
        *,
        options: TranscribeOptions = ENGLISH,
        previous: str | None = None,
        rank: Rank = Rank.OWN,
    ) -> Request:
        return asyncio.create_task(self.queue.transcribe(window(number), options, previous, rank))

    def requests(self, *numbers: int, rank: Rank = Rank.OWN) -> list[Request]:
        return [self.request(number, rank=rank) for number in numbers]

    async def in_progress(self, *ranks: Rank) -> list[Request]:
        """A batch that the engine does not end, with a window for each of these ranks."""
        self.engine.may_reply.clear()
        requests = [self.request(number, rank=rank) for number, rank in enumerate(ranks)]
        await standstill()
        assert self.engine.batches == [list(range(len(ranks)))]
        return requests


@pytest.fixture
async def scenario() -> Scenario:
    """A queue that knows already that its engine is quick."""
    scenario = Scenario()
    await scenario.request(0)
    scenario.engine.jobs.clear()
    scenario.engine.tasks.clear()
    return scenario


async def standstill() -> None:
    """Let everybody do what can be done now."""
    for _ in range(50):
        await asyncio.sleep(0)


async def texts_of(*requests: Request) -> list[WindowText]:
    async with asyncio.timeout(5):
        return await asyncio.gather(*requests)


async def outcomes_of(*requests: Request) -> list[WindowText | BaseException]:
    async with asyncio.timeout(5):
        return await asyncio.gather(*requests, return_exceptions=True)


async def give_up(*requests: Request) -> None:
    for request in requests:
        request.cancel()
    await standstill()


async def test_windows_that_wait_at_the_same_moment_are_one_batch_up_to_the_limit(scenario: Scenario) -> None:
    # Given six windows of several runs, each after another language, and batches of up to four
    before = ["en", "de", None, "en", "ru", None]
    # When all are requested at the same moment
    texts = await texts_of(*(scenario.request(number, previous=language) for number, language in enumerate(before)))
    # Then the first four are transcribed together, then the others, each after its language
    assert scenario.engine.batches == [[0, 1, 2, 3], [4, 5]]
    assert [job.previous for job in scenario.engine.jobs] == [before[:4], before[4:]]
    # And each has its own text
    assert texts == [text(number) for number in range(6)]


async def test_the_engine_never_waits_for_more_windows(scenario: Scenario) -> None:
    # Given one window, which is transcribed at once, when more come meanwhile
    (first,) = await scenario.in_progress(Rank.OWN)
    later = scenario.requests(1, 2)
    await standstill()
    assert scenario.engine.batches == [[0]]
    scenario.engine.may_reply.set()
    await texts_of(first, *later)
    # Then they are transcribed as soon as the engine is free
    assert scenario.engine.batches == [[0], [1, 2]]


MIXED: dict[str, tuple[list[tuple[TranscribeOptions, Rank]], list[list[int]]]] = {
    "windows of different options": ([(ENGLISH, Rank.OWN), (GERMAN, Rank.OWN)] * 2, [[0, 2], [1, 3]]),
    "live windows and one of a recording": ([(ENGLISH, Rank.OWN), *[(ENGLISH, Rank.LIVE)] * 2], [[1, 2], [0]]),
    "a higher rank with other options": ([(GERMAN, Rank.SHARED), (ENGLISH, Rank.OWN)], [[1], [0]]),
}


@pytest.mark.parametrize(("windows", "batches"), MIXED.values(), ids=MIXED)
async def test_different_windows_are_never_in_one_batch(
    scenario: Scenario, windows: list[tuple[TranscribeOptions, Rank]], batches: list[list[int]]
) -> None:
    # When windows of different tasks are requested at the same moment
    texts = await texts_of(
        *(scenario.request(number, options=options, rank=rank) for number, (options, rank) in enumerate(windows))
    )
    # Then each batch has the windows of one kind, with its options, and each window has its own text
    assert scenario.engine.batches == batches
    assert [job.options for job in scenario.engine.jobs] == [windows[batch[0]][0] for batch in batches]
    assert texts == [text(number) for number in range(len(windows))]


async def test_live_windows_come_before_own_ones_and_these_before_those_of_other_workers() -> None:
    # Given an engine that is busy with an interim pass, and windows of all ranks that wait for it
    scenario = Scenario(at_once=2, largest=2)
    requests = await scenario.in_progress(Rank.INTERIM)
    names = ("SHARED", "INTERIM", "OWN", "DUPLICATE", "LIVE", "BLOCKING", "LIVE", "OWN", "SHARED")
    requests += [scenario.request(number, rank=Rank[name]) for number, name in enumerate(names, start=1)]
    await standstill()
    # When it is free
    scenario.engine.may_reply.set()
    await texts_of(*requests)
    # Then the ranks come one after the other, an interim pass in its turn, and within a rank the window that came first
    assert scenario.engine.batches == [[0], [5, 7], [6, 3], [2], [8, 4], [1, 9]]
    assert [job.interim for job in scenario.engine.jobs] == [True, False, False, True, False, False]


async def test_interim_passes_and_recordings_take_turns_and_finals_come_before_both() -> None:
    # Given an engine that is busy, a recording, and interim passes of streams without pauses
    scenario = Scenario(largest=1)
    requests = await scenario.in_progress(Rank.OWN)
    requests += scenario.requests(*range(10, 14), rank=Rank.INTERIM) + scenario.requests(*range(20, 24))
    requests.append(scenario.request(30, rank=Rank.LIVE))
    await standstill()
    # When it is free
    scenario.engine.may_reply.set()
    await texts_of(*requests)
    # Then the final text comes first, then interim passes and windows of the recording in turns
    assert scenario.engine.batches == [[0], [30], [10], [20], [11], [21], [12], [22], [13], [23]]


@pytest.mark.parametrize("rank", [Rank.LIVE, Rank.INTERIM])
async def test_batches_of_recordings_are_short_while_people_speak(
    scenario: Scenario, rank: Rank, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a queue with batches of four, and a live window
    await scenario.request(0, rank=rank)
    # When windows of a recording come soon after it, then each batch has a window for each core, here one
    await texts_of(*scenario.requests(1, 2, 3))
    assert scenario.engine.batches == [[0], [1], [2], [3]]
    # And some seconds after the last live window batches are as large as before
    monkeypatch.setattr(window_queue, "LIVE_S", 0.0)
    await scenario.request(4, rank=rank)
    await texts_of(*scenario.requests(5, 6, 7, 8))
    assert scenario.engine.batches[4:] == [[4], [5, 6, 7, 8]]


async def test_a_batch_whose_windows_nobody_wants_any_longer_is_stopped_at_once(scenario: Scenario) -> None:
    # Given a batch that is being transcribed, and a window behind it
    requests = await scenario.in_progress(Rank.OWN, Rank.OWN)
    behind = scenario.request(2)
    # When no request needs the batch any longer
    await give_up(*requests)
    # Then it is stopped, and the engine has begun with what is behind it
    assert scenario.engine.stopped == 1
    assert scenario.engine.batches == [[0, 1], [2]]
    scenario.engine.may_reply.set()
    assert await texts_of(behind) == [text(2)]


async def test_a_batch_of_which_somebody_still_wants_a_window_continues(scenario: Scenario) -> None:
    # Given a batch of two windows, when one of them is wanted no longer
    unwanted, awaited = await scenario.in_progress(Rank.OWN, Rank.OWN)
    await give_up(unwanted)
    # Then the other one gets its own text
    scenario.engine.may_reply.set()
    assert await texts_of(awaited) == [text(1)]
    assert (scenario.engine.stopped, scenario.engine.batches) == (0, [[0, 1]])


@pytest.mark.parametrize(
    "ranks",
    [(Rank.OWN, Rank.SHARED), (Rank.OWN, Rank.DUPLICATE), (Rank.BLOCKING, Rank.OWN), (Rank.LIVE,), (Rank.INTERIM,)],
)
async def test_a_batch_that_is_not_of_a_recording_of_this_worker_alone_continues(
    scenario: Scenario, ranks: tuple[Rank, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a batch with a window of another worker, that an idle worker has, too, or that is live, and one behind it
    monkeypatch.setattr(window_queue, "POLL_EVERY_S", 0.0)  # whether it takes too long
    requests = await scenario.in_progress(*ranks)
    behind = scenario.request(5)
    # When no request needs the batch any longer
    await give_up(*requests)
    # Then the engine is not stopped, and does the next window after it
    assert (scenario.engine.stopped, len(scenario.engine.batches)) == (0, 1)
    scenario.engine.may_reply.set()
    assert await texts_of(behind) == [text(5)]
    assert (scenario.engine.stopped, scenario.engine.batches[1:]) == (0, [[5]])


@pytest.mark.parametrize("others", [[2], []], ids=["another waits", "nothing else waits"])
async def test_a_window_that_is_given_up_while_it_waits_is_never_transcribed(
    scenario: Scenario, others: list[int]
) -> None:
    # Given a window that waits behind a batch, perhaps with another one, when it is given up
    (first,) = await scenario.in_progress(Rank.OWN)
    unwanted, *awaited = scenario.requests(1, *others)
    await standstill()
    await give_up(unwanted)
    # Then the batch continues, only the other one follows it, and a later window is transcribed as usual
    scenario.engine.may_reply.set()
    assert await texts_of(first, *awaited) == [text(number) for number in (0, *others)]
    await standstill()
    assert (scenario.engine.stopped, scenario.engine.batches) == (0, [[0], others][: 1 + len(others)])
    assert await scenario.request(3) == text(3)


async def test_an_error_of_the_engine_reaches_all_windows_of_its_batch_and_no_others(scenario: Scenario) -> None:
    # Given an engine that dies over the first of two batches
    scenario.engine.failures = [DIED]
    # When windows are requested, then those of the first batch fail, and the second batch has its texts
    assert await outcomes_of(*scenario.requests(*range(6))) == [DIED] * 4 + [text(4), text(5)]


@pytest.mark.parametrize(
    ("seconds", "at_once", "largest", "size"),
    [(6.0, 1, 4, 1), (3.0, 1, 4, 3), (0.0, 1, 4, 4), (2.0, 2, 7, 4), (1.2, 3, 7, 6), (60.0, 2, 7, 2)],
)
async def test_a_batch_takes_about_ten_seconds_and_leaves_no_core_without_work(
    seconds: float, at_once: int, largest: int, size: int
) -> None:
    # Given a model that takes this long for a window, and transcribes this number at the same time
    scenario = Scenario(ScriptedEngine(seconds), at_once=at_once, largest=largest)
    assert scenario.queue.room == 2 * at_once
    # When its speed is known
    await scenario.request(0)
    await texts_of(*scenario.requests(*range(1, 15)))
    # Then no batch takes much longer than 10 s, and each round of a batch has work for all cores
    assert {len(batch) for batch in scenario.engine.batches[1:-1]} == {size}
    # And a run may have the windows of this batch and of the next one
    assert scenario.queue.room == 2 * size


@pytest.mark.parametrize(
    ("rank", "has_text", "room"), [(Rank.OWN, True, 2), (Rank.LIVE, True, 8), (Rank.OWN, False, 8)]
)
async def test_only_a_recording_with_text_shows_how_long_a_window_takes(
    scenario: Scenario, rank: Rank, has_text: bool, room: int
) -> None:
    # Given a machine that was busy while a window was transcribed
    scenario.engine.seconds = 60.0
    if not has_text:
        scenario.engine.text = lambda number: WindowText(segments=[], end=number + 1)
    await scenario.request(0, rank=rank)
    # Then a run may have fewer windows only if that window was of a recording, and had text
    assert scenario.queue.room == room
    # And when a window is transcribed quickly again, then as many as before
    scenario.engine.seconds, scenario.engine.text = 1.0, text
    await scenario.request(1)
    assert scenario.queue.room == 8


async def test_the_log_lines_about_a_batch_belong_to_the_task_of_its_first_window(scenario: Scenario) -> None:
    # Given windows of two tasks, with different options
    async def task(name: str, number: int, options: TranscribeOptions) -> WindowText:
        TASK.set(name)
        return await scenario.queue.transcribe(window(number), options, None)

    # When both are requested at the same moment
    await asyncio.gather(task("first", 0, ENGLISH), task("second", 1, GERMAN))
    # Then each batch belongs to its task
    assert scenario.engine.tasks == ["first", "second"]


async def test_after_closing_nothing_continues(scenario: Scenario) -> None:
    # Given a batch that is being transcribed, also for another worker, and a window that waits
    requests = await scenario.in_progress(Rank.OWN, Rank.SHARED)
    requests.append(scenario.request(2))
    await standstill()
    # When the queue is closed
    async with asyncio.timeout(5):
        await scenario.queue.close()
    # Then the batch is stopped, no request gets a text, and no task is left
    assert [type(outcome) for outcome in await outcomes_of(*requests)] == [asyncio.CancelledError] * 3
    assert (scenario.engine.stopped, scenario.engine.batches) == (1, [[0, 1]])
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_a_queue_that_has_had_nothing_to_do_can_be_closed() -> None:
    # Given a queue without windows, when it is closed, then a later window is given up
    scenario = Scenario()
    await scenario.queue.close()
    assert [type(outcome) for outcome in await outcomes_of(scenario.request(1))] == [asyncio.CancelledError]
    assert scenario.engine.jobs == []


async def test_until_the_speed_of_a_model_is_known_its_batches_are_as_small_as_the_cores_allow(
    scenario: Scenario,
) -> None:
    # Given an engine whose own model is quick, when windows of another model come
    other = TranscribeOptions(model="large-v3")
    await texts_of(*(scenario.request(number, options=other) for number in range(6)))
    # Then the first of its batches has one window for each core
    assert scenario.engine.batches == [[0], [1, 2, 3, 4], [5]]


async def test_a_batch_that_hangs_and_that_nobody_wants_is_stopped_in_the_end(
    scenario: Scenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given an engine that hangs over the window of another worker
    monkeypatch.setattr(window_queue, "ABANDONED_S", 0.05)
    monkeypatch.setattr(window_queue, "POLL_EVERY_S", 0.01)
    # When no request needs it any longer
    await give_up(*await scenario.in_progress(Rank.SHARED))
    # Then the engine is free again
    await eventually(lambda: scenario.engine.stopped == 1)
    scenario.engine.may_reply.set()
    assert await scenario.request(5) == text(5)


async def test_an_engine_that_writes_too_few_texts_leaves_nobody_waiting() -> None:
    # Given an engine that forgets a window
    class Forgetful(ScriptedEngine):
        async def run(self, job: Job) -> AsyncGenerator[Reply, None]:
            async for reply in super().run(job):
                assert isinstance(reply, WindowsTranscribed)
                yield reply.model_copy(update={"texts": reply.texts[1:]})

    # When two windows are transcribed, then both fail
    scenario = Scenario(Forgetful(), at_once=2, largest=2)
    assert [type(outcome) for outcome in await outcomes_of(*scenario.requests(0, 1))] == [RuntimeError] * 2

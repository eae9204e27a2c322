"""Partials: how often an utterance is transcribed, and which texts are shown."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest
from natscribe.schemas.errors import ErrorCode
from natscribe.schemas.live import LiveAudio, LiveTask, Partial
from natscribe.schemas.transcription import Segment, Word
from prometheus_client import CollectorRegistry

from app.engines.persons import find_persons
from app.engines.window_queue import WindowQueue
from app.engines.windows import Window, WindowText
from app.runtime.cancellation import cancel_all
from app.runtime.errors import TransientError
from app.runtime.telemetry.live_metrics import LiveMetrics
from app.speech.live.partials import PartialPublisher
from app.speech.live.source import LiveSource
from app.speech.redaction import Redactor
from app.speech.updates import Checkpoint
from tests.fakes.engine import FakeEngine
from tests.waiting import eventually, patiently

TASK = LiveTask(task_id="live-1", user_id=7, audio=LiveAudio(channels=2))


class Speech:
    """Live speech, and the engine that transcribes it."""

    def __init__(self) -> None:
        self.open: list[Window] = []
        self.speaking: dict[int | None, str | None] = {None: "SPEAKER_01"}
        self.over = set[int | None]()  # channels whose utterance is complete
        self.meanwhile: Callable[[], None] = lambda: None  # happens during an interim pass
        self.shown = asyncio.Queue[Partial]()
        self.words: list[list[str] | None] = []  # of each segment
        self.registry = CollectorRegistry()

    def is_over(self, channel: int | None, _: float) -> bool:
        return channel in self.over

    def spoken_at(self, _: float) -> float:
        return time.monotonic() - 2

    async def transcribe(self, window: Window, *_: object, **__: object) -> WindowText:
        self.meanwhile()
        segments = [
            Segment(
                start=window.start,
                end=window.end,
                text="",
                words=words and [Word(start=1, end=2, word=word, probability=1) for word in words],
            )
            for words in self.words
        ]
        return WindowText(segments=segments, language="en", end=window.end)

    async def publish(self, partial: Partial) -> None:
        self.shown.put_nowait(partial)


@pytest.fixture
def speech() -> Speech:
    return Speech()


@asynccontextmanager
async def partials_of(speech: Speech, task: LiveTask = TASK) -> AsyncIterator[PartialPublisher]:
    """A running publisher of partials, which transcribes at once what is open already."""
    source, windows = cast("LiveSource", speech), cast("WindowQueue", speech)
    partials = PartialPublisher(
        task,
        source,
        windows,
        speech.publish,
        LiveMetrics(speech.registry),
        Redactor(task, Checkpoint(), FakeEngine()).preview,
    )
    running = asyncio.create_task(partials.run(lambda: None))
    yield partials
    await cancel_all([running])


@pytest.fixture
async def later(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Stops the clock of the event loop, and moves it on by so many seconds."""
    loop, seconds = asyncio.get_running_loop(), [asyncio.get_running_loop().time()]
    monkeypatch.setattr(loop, "time", lambda: sum(seconds))
    return seconds.append


def utterance(channel: int, end: float = 3.0) -> Window:
    return Window(regions=[(1.0, end)], samples="", channel=channel)


@pytest.mark.parametrize(("pass_s", "rest_s"), [(0.01, 1), (2, 6), (5, 15)])
async def test_interim_passes_are_less_frequent_on_a_busy_machine(
    speech: Speech, later: Callable[[float], None], pass_s: float, rest_s: float
) -> None:
    # Given an interim pass that takes long
    speech.meanwhile = lambda: later(pass_s)
    speech.open = [utterance(0)]
    async with partials_of(speech) as partials:
        await speech.shown.get()
        # Then the next one begins when three times as long has passed, a second at least
        later(rest_s - pass_s - 0.01)
        assert not partials.needs_open()
        later(0.02)
        assert partials.needs_open()


async def test_a_long_interim_pass_over_an_utterance_does_not_hide_the_next_one(
    speech: Speech, later: Callable[[float], None]
) -> None:
    # Given an interim pass that took long, so that the next pass over the same utterance has to wait
    speech.meanwhile = lambda: later(5)
    speech.open = [utterance(0)]
    async with partials_of(speech) as partials:
        await speech.shown.get()
        assert not partials.needs_open()
        # When the utterance is over, then the next utterance is transcribed
        speech.over.add(0)
        assert partials.needs_open()


async def test_an_interim_pass_is_shown_in_a_breath(speech: Speech) -> None:
    # Given a pause during an interim pass, after which the utterance may continue
    speech.meanwhile = speech.open.clear
    speech.open = [utterance(0)]
    speech.words = [["Good", " day"], None, ["So", "-", "called"]]
    async with partials_of(speech), asyncio.timeout(10):
        shown = await speech.shown.get()
    # Then the pass is shown, with a space between segments
    assert (shown.channel, shown.text) == (0, "Good day So-called")


async def test_an_utterance_is_transcribed_when_there_is_enough_new_audio(
    speech: Speech, later: Callable[[float], None]
) -> None:
    async def shown_after(seconds: float, start: float, end: float) -> list[tuple[float, float]]:
        speech.open = [Window(regions=[(start, end)], samples="", channel=0)]
        later(seconds)
        for _ in range(20):
            await asyncio.sleep(0)
        return [
            (partial.start, partial.end) for partial in (speech.shown.get_nowait() for _ in range(speech.shown.qsize()))
        ]

    async with partials_of(speech):
        # Given an utterance, then it is transcribed when it may have a word
        assert await shown_after(0.2, 0.0, 0.5) == []
        assert await shown_after(0.2, 0.0, 0.6) == [(0.0, 0.6)]
        # And again after more speech, and not before a second has passed
        assert await shown_after(2, 0.0, 0.6) == []
        assert await shown_after(0.2, 0.0, 0.9) == [(0.0, 0.9)]
        assert await shown_after(0.2, 0.0, 1.2) == []
        assert await shown_after(1, 0.0, 1.2) == [(0.0, 1.2)]
        # And so is the next one
        assert await shown_after(0.2, 10.0, 10.5) == []
        assert await shown_after(0.2, 10.0, 10.7) == [(10.0, 10.7)]
        assert await shown_after(2, 10.0, 10.9) == [(10.0, 10.9)]
    # And for each, metrics say how long the first pass took to come
    of = [speech.registry.get_sample_value(f"natscribe_live_partial_delay_seconds_{name}") for name in ("count", "sum")]
    assert of == [2, pytest.approx(4, abs=1)]


async def test_no_partial_follows_the_final_text_of_its_channel(speech: Speech) -> None:
    # Given two people who start at the same time, one of whom ends during the pass
    speech.meanwhile = lambda: speech.over.add(0)
    speech.open = [utterance(0), utterance(1)]
    async with partials_of(speech):
        # Then only the text of the other one is shown
        assert (await speech.shown.get()).channel == 1


@pytest.mark.parametrize("words", [[" ten", ",000"], [" well", "-known"], [" she", "'s"]])
async def test_a_word_that_grows_is_not_stable_yet(
    speech: Speech, later: Callable[[float], None], words: list[str]
) -> None:
    # Given an interim pass that ends within a word, which the model writes in two parts
    speech.open, speech.words = [utterance(0)], [[" so", *words[:1]]]
    async with partials_of(speech), asyncio.timeout(10):
        await speech.shown.get()
        # When the next pass finds the whole word
        speech.open, speech.words = [utterance(0, 4.0)], [[" so", *words]]
        later(2)
        partial = await speech.shown.get()
    # Then only the words before it are stable
    assert (partial.stable, partial.text) == ("so", "so" + "".join(words))


async def test_a_task_that_is_redacted_has_partials_only_on_request(speech: Speech) -> None:
    # Given an utterance with a telephone number
    speech.open = [utterance(0)]
    speech.words = [["Call", " 555", " 123", " 45", " 67"]]
    redact = {"entities": ["phone"]}
    # When its task is redacted, then no interim pass is due
    task = LiveTask.model_validate(TASK.model_dump() | {"redact": redact})
    async with partials_of(speech, task) as partials:
        assert not partials.needs_open()
    assert speech.shown.empty()
    # And on request a partial is redacted, and may still change in each word
    speech.registry = CollectorRegistry()
    wanted = LiveTask.model_validate(TASK.model_dump() | {"redact": redact | {"partials": True}})
    async with partials_of(speech, wanted), asyncio.timeout(10):
        shown = await speech.shown.get()
    assert (shown.text, shown.stable) == ("Call [PHONE]", "")


async def test_a_preview_that_fails_costs_one_partial(speech: Speech, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given the search for names fails once
    failures: list[Exception] = [TransientError(ErrorCode.ENGINE_FAILED, "The engine has ended.")]
    find = find_persons

    async def fails_once(*arguments: Any) -> Any:
        if failures:
            raise failures.pop()
        return await find(*arguments)

    monkeypatch.setattr("app.speech.redaction.find_persons", fails_once)
    speech.open, speech.words = [utterance(0)], [["Hello", " Anna"]]
    task = LiveTask.model_validate(TASK.model_dump() | {"redact": {"entities": ["person"], "partials": True}})
    async with partials_of(speech, task), asyncio.timeout(patiently(10)):
        await eventually(lambda: not failures)
        # When there is more audio, then the next partial is published
        speech.open = [utterance(0, 4.0)]
        assert (await speech.shown.get()).end == 4.0

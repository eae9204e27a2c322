"""Partials: how often an utterance is looked at, and which texts are shown."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import cast

import pytest
from natscribe.schemas.live import LiveAudio, LiveTask, Partial
from natscribe.schemas.transcription import Segment, Word
from natscribe.schemas.windows import Window, WindowText
from prometheus_client import CollectorRegistry

from app.cancellation import cancel_all
from app.engines.window_queue import WindowQueue
from app.live.partials import Partials
from app.live.source import LiveSource
from app.telemetry.live_metrics import LiveMetrics

TASK = LiveTask(task_id="live-1", user_id=7, audio=LiveAudio(channels=2))


class Speech:
    """What is being said, and the engine that looks at it."""

    def __init__(self) -> None:
        self.open: list[Window] = []
        self.over = set[int | None]()  # channels whose utterance is complete
        self.meanwhile: Callable[[], None] = lambda: None  # happens during a look
        self.words = list[str]()  # what a look finds
        self.shown = asyncio.Queue[Partial]()

    def is_over(self, channel: int | None, _: float) -> bool:
        return channel in self.over

    def said_at(self, _: float) -> float:
        return 0.0

    async def transcribe(self, window: Window, *_: object, **__: object) -> WindowText:
        self.meanwhile()
        words = [Word(word=word, start=1, end=2, probability=1) for word in self.words]
        said = [Segment(start=1, end=2, text="".join(self.words), language="en", words=words)] if words else []
        return WindowText(segments=said, language="en", end=window.end)

    async def publish(self, partial: Partial) -> None:
        self.shown.put_nowait(partial)


@pytest.fixture
def speech() -> Speech:
    return Speech()


@asynccontextmanager
async def partials_of(speech: Speech) -> AsyncIterator[Partials]:
    """Partials that run; they look at once at what is open already."""
    source, windows = cast("LiveSource", speech), cast("WindowQueue", speech)
    partials = Partials(TASK, source, windows, speech.publish, LiveMetrics(CollectorRegistry()))
    running = asyncio.create_task(partials.run())
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


@pytest.mark.parametrize(("look_s", "rest_s"), [(0.01, 1), (2, 6), (5, 15)])
async def test_looks_become_rarer_on_a_busy_machine(
    speech: Speech, later: Callable[[float], None], look_s: float, rest_s: float
) -> None:
    # Given a look that takes long
    speech.meanwhile = lambda: later(look_s)
    speech.open = [utterance(0)]
    async with partials_of(speech) as partials:
        await speech.shown.get()
        # Then the next one begins when three times as long has passed, a second at least
        later(rest_s - look_s - 0.01)
        assert not partials.wanted()
        later(0.02)
        assert partials.wanted()


async def test_a_long_look_at_an_utterance_does_not_hide_the_next_one(
    speech: Speech, later: Callable[[float], None]
) -> None:
    # Given a look that took long, so that the next look at the same utterance has to wait
    speech.meanwhile = lambda: later(5)
    speech.open = [utterance(0)]
    async with partials_of(speech) as partials:
        await speech.shown.get()
        assert not partials.wanted()
        # When the utterance is over, then whoever speaks next is looked at
        speech.over.add(0)
        assert partials.wanted()


async def test_a_look_is_shown_in_a_breath(speech: Speech) -> None:
    # Given somebody who pauses during a look, and whose utterance may go on, then the look is shown
    speech.meanwhile = speech.open.clear
    speech.open = [utterance(0)]
    async with partials_of(speech):
        async with asyncio.timeout(10):
            assert (await speech.shown.get()).channel == 0


async def test_no_partial_follows_the_final_text_of_its_channel(speech: Speech) -> None:
    # Given two people who have begun at the same time, and one of them has said all when the look is done
    speech.meanwhile = lambda: speech.over.add(0)
    speech.open = [utterance(0), utterance(1)]
    async with partials_of(speech):
        # Then only the text of the other one is shown
        assert (await speech.shown.get()).channel == 1


@pytest.mark.parametrize("words", [[" ten", ",000"], [" well", "-known"], [" she", "'s"]])
async def test_a_word_that_grows_is_not_stable_yet(
    speech: Speech, later: Callable[[float], None], words: list[str]
) -> None:
    # Given a look that ends within a word, which the model writes in two parts
    speech.open, speech.words = [utterance(0)], [" so", *words[:1]]
    async with partials_of(speech), asyncio.timeout(10):
        await speech.shown.get()
        # When the next look finds the whole word
        speech.open, speech.words = [utterance(0, 4.0)], [" so", *words]
        later(2)
        partial = await speech.shown.get()
    # Then only the words before it are stable
    assert (partial.stable, partial.text) == ("so", "so" + "".join(words))

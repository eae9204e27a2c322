"""Transcribing ahead: an utterance that is closing."""

import asyncio
from typing import cast

import pytest
from natscribe.schemas.errors import ErrorCode
from natscribe.schemas.transcription import TranscribeOptions

from app.engines.window_queue import Rank, WindowQueue
from app.engines.windows import Window, WindowText
from app.runtime.errors import TransientError
from app.speech.live.early_text import EarlyText

OPTIONS = TranscribeOptions()


class Windows:
    """Transcribes when it may, and records its calls."""

    room = 4

    def __init__(self) -> None:
        self.requests: list[tuple[float, str | None]] = []
        self.cancelled = 0
        self.may_reply = asyncio.Event()
        self.failures: list[Exception] = []

    async def transcribe(
        self, window: Window, options: TranscribeOptions, previous: str | None, *_: object
    ) -> WindowText:
        self.requests.append((window.end, previous))
        assert options == OPTIONS
        try:
            await self.may_reply.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if self.failures:
            raise self.failures.pop(0)
        return WindowText(segments=[], language="en", end=window.end)


def utterance(end: float) -> Window:
    return Window(regions=[(1.0, end)], samples="")


@pytest.fixture
def windows() -> Windows:
    return Windows()


@pytest.fixture
def early(windows: Windows) -> EarlyText:
    return EarlyText(cast("WindowQueue", windows), OPTIONS)


async def test_a_started_utterance_is_transcribed_once(windows: Windows, early: EarlyText) -> None:
    early.start(utterance(3), "en")
    windows.may_reply.set()
    text = await early.transcribe(utterance(3), OPTIONS, "en", Rank.LIVE)
    assert text.end == 3
    assert windows.requests == [(3, "en")]


@pytest.mark.parametrize(("end", "previous"), [(4, "en"), (3, "ru")])
async def test_another_utterance_or_language_is_transcribed_again(
    windows: Windows, early: EarlyText, end: float, previous: str
) -> None:
    early.start(utterance(3), "en")
    windows.may_reply.set()
    await early.transcribe(utterance(end), OPTIONS, previous, Rank.LIVE)
    assert windows.requests[-1] == (end, previous)
    await early.close()


async def test_what_was_begun_is_given_up_when_somebody_speaks_on(
    windows: Windows, early: EarlyText, caplog: pytest.LogCaptureFixture
) -> None:
    early.start(utterance(3), "en")
    await asyncio.sleep(0)
    early.start(utterance(5), "en")
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert windows.cancelled == 1
    await early.close()
    assert windows.cancelled == 2
    assert caplog.records == []


async def test_an_utterance_that_somebody_waits_for_is_not_given_up_for_the_next_one(
    windows: Windows, early: EarlyText
) -> None:
    # Given an engine that is behind, and a caller that waits for an utterance in progress
    early.start(utterance(3), "en")
    waiting = asyncio.create_task(early.transcribe(utterance(3), OPTIONS, "en", Rank.LIVE))
    await asyncio.sleep(0)
    # When the next one is closing already
    early.start(utterance(9), "en")
    windows.may_reply.set()
    # Then the first one has its text
    assert (await waiting).end == 3
    assert windows.cancelled == 0
    await early.close()


async def test_an_engine_that_has_died_gets_one_retry(windows: Windows, early: EarlyText) -> None:
    windows.failures = [TransientError(ErrorCode.ENGINE_FAILED, "dead")]
    windows.may_reply.set()
    early.start(utterance(3), "en")
    assert (await early.transcribe(utterance(3), OPTIONS, "en", Rank.LIVE)).end == 3
    windows.failures = [TransientError(ErrorCode.ENGINE_FAILED, "dead") for _ in range(2)]
    with pytest.raises(TransientError):
        await early.transcribe(utterance(9), OPTIONS, "en", Rank.LIVE)

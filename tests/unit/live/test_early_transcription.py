"""Transcribing ahead: an utterance that is closing."""

import asyncio
from typing import cast

import pytest
from natscribe.schemas.errors import ErrorCode
from natscribe.schemas.transcription import TranscribeOptions
from natscribe.schemas.windows import Window, WindowText

from app.engines.window_queue import Rank, WindowQueue
from app.errors import TransientError
from app.live.early_transcription import EarlyTranscription

OPTIONS = TranscribeOptions()


class Windows:
    """Transcribes when it may, and notes what it is asked for."""

    room = 4

    def __init__(self) -> None:
        self.asked: list[tuple[float, str | None]] = []
        self.given_up = 0
        self.may_answer = asyncio.Event()
        self.failures: list[Exception] = []

    async def transcribe(
        self, window: Window, options: TranscribeOptions, previous: str | None, *_: object
    ) -> WindowText:
        self.asked.append((window.end, previous))
        assert options == OPTIONS
        try:
            await self.may_answer.wait()
        except asyncio.CancelledError:
            self.given_up += 1
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
def ahead(windows: Windows) -> EarlyTranscription:
    return EarlyTranscription(cast("WindowQueue", windows), OPTIONS)


async def test_an_utterance_that_is_under_way_is_transcribed_once(windows: Windows, ahead: EarlyTranscription) -> None:
    ahead.start(utterance(3), "en")
    windows.may_answer.set()
    text = await ahead.transcribe(utterance(3), OPTIONS, "en", Rank.LIVE)
    assert text.end == 3
    assert windows.asked == [(3, "en")]


@pytest.mark.parametrize(("end", "previous"), [(4, "en"), (3, "ru")])
async def test_another_utterance_or_language_is_transcribed_anew(
    windows: Windows, ahead: EarlyTranscription, end: float, previous: str
) -> None:
    ahead.start(utterance(3), "en")
    windows.may_answer.set()
    await ahead.transcribe(utterance(end), OPTIONS, previous, Rank.LIVE)
    assert windows.asked[-1] == (end, previous)
    await ahead.close()


async def test_what_was_begun_is_given_up_when_somebody_speaks_on(
    windows: Windows, ahead: EarlyTranscription, caplog: pytest.LogCaptureFixture
) -> None:
    ahead.start(utterance(3), "en")
    await asyncio.sleep(0)
    ahead.start(utterance(5), "en")
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert windows.given_up == 1
    await ahead.close()
    assert windows.given_up == 2
    assert caplog.records == []


async def test_an_utterance_that_somebody_waits_for_is_not_given_up_for_the_next_one(
    windows: Windows, ahead: EarlyTranscription
) -> None:
    # Given an engine that is behind, and somebody who waits for an utterance that was begun
    ahead.start(utterance(3), "en")
    waiting = asyncio.create_task(ahead.transcribe(utterance(3), OPTIONS, "en", Rank.LIVE))
    await asyncio.sleep(0)
    # When the next one is closing already
    ahead.start(utterance(9), "en")
    windows.may_answer.set()
    # Then the first one has its text
    assert (await waiting).end == 3
    assert windows.given_up == 0
    await ahead.close()


async def test_an_engine_that_has_died_is_asked_once_more(windows: Windows, ahead: EarlyTranscription) -> None:
    windows.failures = [TransientError(ErrorCode.ENGINE_FAILED, "dead")]
    windows.may_answer.set()
    ahead.start(utterance(3), "en")
    assert (await ahead.transcribe(utterance(3), OPTIONS, "en", Rank.LIVE)).end == 3
    windows.failures = [TransientError(ErrorCode.ENGINE_FAILED, "dead") for _ in range(2)]
    with pytest.raises(TransientError):
        await ahead.transcribe(utterance(9), OPTIONS, "en", Rank.LIVE)

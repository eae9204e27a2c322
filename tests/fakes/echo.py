"""An engine whose text is its audio: each second of audio encodes a number, which is the word of that second."""

import asyncio
import struct
from base64 import b64decode, b64encode
from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing

from natscribe.schemas.live import LiveAudio
from natscribe.schemas.transcription import Segment, Word

from app.engines.messages import Job, LiveAudioProcessed, ProcessLiveAudio, Reply
from app.engines.windows import Window, WindowText
from tests.fakes.engine import FakeEngine

AUDIO = LiveAudio(sample_rate=8000)
_SECOND = 2 * AUDIO.sample_rate  # bytes


def second(number: int) -> bytes:
    """Return a second of audio that encodes a number; silence encodes 0."""
    return struct.pack("<h", number) * AUDIO.sample_rate


def seconds(numbers: Iterable[int]) -> list[bytes]:
    """Return audio that encodes these numbers, one per second."""
    return [second(number) for number in numbers]


def said(text: object) -> list[int]:
    """Return the numbers in a text of this engine."""
    return [int(word) for word in str(text).split()]


class EchoEngine(FakeEngine):
    """Detects an utterance every 10 s, and transcribes each second as the number that it encodes."""

    def __init__(self) -> None:
        super().__init__()
        self.may_process = asyncio.Event()
        self.may_process.set()
        self._sound = dict[str, bytes]()  # of each live stream

    async def run(self, job: Job) -> AsyncGenerator[Reply, None]:
        await self.may_process.wait()
        async with aclosing(super().run(job)) as replies:
            async for reply in replies:
                yield reply

    def process_live(self, job: ProcessLiveAudio) -> LiveAudioProcessed:
        before = b"" if job.first else self._sound.pop(job.stream)
        self._sound[job.stream] = before + b64decode(job.data)
        processed = super().process_live(job)
        return processed.model_copy(
            update={
                "windows": [self._cut(job.stream, window) for window in processed.windows],
                "open": [self._cut(job.stream, window) for window in processed.open],
            }
        )

    def _cut(self, stream: str, window: Window) -> Window:
        start, end = (round(at * _SECOND) for at in (window.start, window.end))
        return window.model_copy(update={"samples": b64encode(self._sound[stream][start:end]).decode()})

    def _text(self, window: Window) -> WindowText:
        samples = b64decode(window.samples)
        words = [
            Word(
                start=window.start + at,
                end=min(window.start + at + 1, window.end),
                word=f" {struct.unpack_from('<h', samples, at * _SECOND)[0]}",
                probability=1,
            )
            for at in range(-(-len(samples) // _SECOND))
        ]
        echo = Segment(
            start=window.start,
            end=window.end,
            text="".join(word.word for word in words).strip(),
            language="en",
            words=words,
            confidence=1,
            avg_logprob=-0.1,
            no_speech_prob=0,
        )
        return WindowText(segments=[echo], language="en", end=window.end, channel=window.channel)

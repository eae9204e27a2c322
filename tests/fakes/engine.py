"""An engine that answers from a script."""

import asyncio
from collections.abc import AsyncGenerator, Iterable

from app.engines.messages import (
    DiarizationDone,
    Diarize,
    Job,
    Reply,
    StageAdvanced,
    Transcribe,
    Transcribed,
    TranscriptionDone,
)
from schemas.diarization import Turn
from schemas.progress import Stage
from schemas.transcription import Segment, Word
from schemas.wire import Model

MODEL = Model(name="fake", revision="0")
WINDOW = 10.0  # seconds


def segment(number: int, text: str = "one two") -> Segment:
    """The text of one window of ten seconds, with two words, one in each half."""
    start = number * WINDOW
    words = [
        Word(start=start, end=start + 4, word=" one", probability=1),
        Word(start=start + 5, end=start + 9, word=" two", probability=1),
    ]
    return Segment(start=start, end=start + 9, text=text, words=words, avg_logprob=-0.1, no_speech_prob=0)


class FakeEngine:
    """Finds `windows` windows of text, and a change of speaker in the middle of each."""

    def __init__(self, *, windows: int = 3) -> None:
        self.windows = windows
        self.text = "one two"  # of each window
        self.silent = False  # as a model that takes long over its first window
        self.hangs_after: list[int] = []  # windows, one a job; none: it does not hang
        self.jobs: list[Job] = []
        self.may_go_on = asyncio.Event()
        self.may_go_on.set()
        self.stopped = 0
        self.fail_with: list[Exception | None] = []  # one a job; None: it goes well
        self.ready = True

    async def load(self) -> None:
        """There is nothing to load."""

    async def close(self) -> None:
        """There is nothing to close."""

    async def run(self, job: Job) -> AsyncGenerator[Reply, None]:
        self.jobs.append(job)
        done = False
        try:
            error = self.fail_with.pop(0) if self.fail_with else None
            if error is not None:
                raise error
            if self.silent:
                await asyncio.Event().wait()
            hangs_after = self.hangs_after.pop(0) if self.hangs_after else self.windows
            for windows, reply in enumerate(self._replies(job)):  # the first reply is no window
                yield reply
                await self.may_go_on.wait()
                if windows == hangs_after < self.windows:
                    await asyncio.Event().wait()
            done = True
        finally:
            self.stopped += not done

    def _replies(self, job: Job) -> Iterable[Reply]:
        duration = self.windows * WINDOW
        if isinstance(job, Transcribe):
            yield StageAdvanced(stage=Stage.DECODING, processed_seconds=0, duration_seconds=duration)
            for number in range(int(job.start_at // WINDOW), self.windows):
                yield Transcribed(
                    language="en",
                    processed_seconds=(number + 1) * WINDOW,
                    duration_seconds=duration,
                    segments=[segment(number, self.text)],
                )
            yield TranscriptionDone(language="en", duration_seconds=duration, model=MODEL)
        if isinstance(job, Diarize):
            yield StageAdvanced(stage=Stage.DIARIZING, processed_seconds=duration / 2, duration_seconds=duration)
            turns = [
                Turn(start=half * 5.0, end=half * 5.0 + 5, speaker=f"SPEAKER_0{half % 2}")
                for half in range(2 * self.windows)
            ]
            yield DiarizationDone(turns=turns, duration_seconds=duration, model=MODEL)

"""Recall: what is asked of an engine about a recording is answered from the cache where it was answered before."""

import asyncio
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing
from importlib.metadata import version

from pydantic import BaseModel

from app.engines.engine import Engine
from app.engines.messages import DiarizationDone, Diarize, Load, StageAdvanced, StretchAnalysed
from app.engines.window_transcribers import load
from app.redis_store.cache import Cache, read
from app.redis_store.stretches import Stretches
from app.speech.recordings import Recording
from app.speech.transcriber_pool import Transcribed
from app.speech.windows_in_order import Told
from schemas.transcription import Segment, Stretch, TranscriptionTask
from schemas.wire import Model

TOLD_AT_ONCE = 50  # segments; as a message they are far below any max_payload
PIECE = 100  # segments; to read or write them holds the event loop for about 10 ms, a day's for more than a second
VERSION = version("natscribe")  # other code may find other things in the same recording


class Transcript(BaseModel):
    """All that a model hears in a recording, or in one of its channels."""

    duration: float
    channels: int
    model: Model
    segments: list[Segment]
    untranscribed: list[Stretch]

    def pieces(self) -> Iterator["Transcript"]:
        """The same in pieces, at least one."""
        for at in range(0, max(len(self.segments), 1), PIECE):
            missing = self.untranscribed if not at else []
            yield self.model_copy(update={"segments": self.segments[at : at + PIECE], "untranscribed": missing})


class TranscriptInOrder:
    """A run over a recording that was heard before, told as if it were heard now."""

    def __init__(self, transcript: Transcript, start_at: float) -> None:
        self.duration = transcript.duration
        self.channels = transcript.channels
        self.model: Model | None = transcript.model
        self._segments = [segment for segment in transcript.segments if segment.start >= start_at]
        self._untranscribed = [stretch for stretch in transcript.untranscribed if stretch.start >= start_at]

    async def run(self) -> AsyncGenerator[Told, None]:
        """Yield what was found, in order; each part is done where the next one begins, and a run may resume there."""
        language: str | None = None
        since = 0.0
        for at in range(0, max(len(self._segments), 1), TOLD_AT_ONCE):
            part, following = self._segments[at : at + TOLD_AT_ONCE], self._segments[at + TOLD_AT_ONCE :][:1]
            until = following[0].start if following else self.duration
            missing = [each for each in self._untranscribed if since <= each.start < until]
            if part or missing:
                language = part[-1].language if part else language
                yield Transcribed(language, until, self.duration, part, missing)
            since = until


class Recall:
    """The engine with a memory."""

    def __init__(self, engine: Engine, cache: Cache, stretches: Stretches) -> None:
        self._engine = engine
        self._cache = cache
        self._stretches = stretches

    async def transcript(self, audio_sha256: str, task: TranscriptionTask, channel: int | None) -> Transcript | None:
        """What was heard when the same was asked before of a channel, null: of all as one (TaskError)."""
        model = await load(self._engine, Load(options=task.options))
        return await _joined(await self._cache.find_pieces(audio_sha256, self._question(model, task, channel)))

    async def keep_transcript(
        self, audio_sha256: str, task: TranscriptionTask, channel: int | None, transcript: Transcript
    ) -> None:
        """Keep what was heard from a recording's beginning to its end."""
        question = self._question(transcript.model, task, channel)
        await self._cache.keep_pieces(audio_sha256, question, transcript.pieces())

    async def turns(
        self, task_id: str, recording: Recording, job: Diarize
    ) -> AsyncGenerator[StageAdvanced | DiarizationDone, None]:
        """Yield how far diarization is, from where the task's last attempt ended, the turns last (TaskError)."""
        question = f"turns of votes {VERSION} {job.min_speakers}-{job.max_speakers}"
        audio_sha256 = recording.sha256
        found = await self._cache.find(audio_sha256, question, DiarizationDone)
        if found is not None:
            yield found.model_copy(update={"cached": True})
            return
        known = await self._stretches.known(task_id, audio_sha256)
        async with aclosing(self._engine.run(job.model_copy(update={"known": known}))) as replies:
            async for reply in replies:
                match reply:
                    case StretchAnalysed():
                        await self._stretches.keep(task_id, audio_sha256, reply)
                    case StageAdvanced():
                        yield reply
                    case DiarizationDone():
                        await recording.check()
                        await self._cache.keep(audio_sha256, question, reply)
                        yield reply

    def _question(self, model: Model, task: TranscriptionTask, channel: int | None) -> str:
        words = "words" if task.word_timestamps or task.diarize else "text"
        how = self._engine.loaded.how if self._engine.loaded else ""
        options = f"{task.options.digest()} {channel} {words}"
        return f"transcript in pieces {VERSION} {model.name} {model.revision} {how} {options}"


async def _joined(pieces: Sequence[bytes]) -> Transcript | None:
    segments: list[Segment] = []
    untranscribed: list[Stretch] = []
    part: Transcript | None = None
    for piece in pieces:
        part = await asyncio.to_thread(read, piece, Transcript)
        if part is None:
            return None
        segments += part.segments
        untranscribed += part.untranscribed
    return part and part.model_copy(update={"segments": segments, "untranscribed": untranscribed})

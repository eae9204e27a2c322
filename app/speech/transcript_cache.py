"""The cache of transcripts: the same recording is not transcribed twice with the same model and options."""

import asyncio
from collections.abc import AsyncGenerator, Iterator, Sequence

from natscribe.schemas.sharing import WindowText
from natscribe.schemas.transcription import Segment, Stretch, TranscriptionTask
from natscribe.schemas.wire import Model
from pydantic import BaseModel

from app.engines.messages import Listen, Loaded
from app.redis_store.cache import Cache, read
from app.settings import VERSION

SEGMENTS_AT_ONCE = 50  # segments of one text from the cache: far less than a NATS message can hold
SEGMENTS_A_PIECE = 100  # reading them blocks the event loop for about 10 ms; those of a day, for over a second


class Transcript(BaseModel):
    """Everything that a model finds in a recording (`channel` is null), or in one of its channels."""

    duration: float
    channels: int
    channel: int | None = None
    chosen: bool = False  # whether the listener chose the channel, and not a task
    model: Model
    segments: list[Segment]
    untranscribed: list[Stretch]

    def answers(self, listen: Listen) -> bool:
        """Whether listening would give this transcript; of a recording with one channel it does for any channel.

        What a task chose says nothing about what the listener would choose.
        """
        return self.channels == 1 or (self.chosen if listen.choose else self.channel == listen.channel)

    def pieces(self) -> Iterator["Transcript"]:
        """Cut the transcript into pieces, at least one; the first piece holds all untranscribed speech."""
        for at in range(0, max(len(self.segments), 1), SEGMENTS_A_PIECE):
            missing = self.untranscribed if not at else []
            segments = self.segments[at : at + SEGMENTS_A_PIECE]
            yield self.model_copy(update={"segments": segments, "untranscribed": missing})

    async def texts(self, start_at: float) -> AsyncGenerator[WindowText, None]:
        """Yield the transcript from `start_at` seconds on, as a run does.

        The `end` of a text is the start of the next one: a later attempt can begin there.
        """
        segments = [segment for segment in self.segments if segment.start >= start_at]
        untranscribed = [stretch for stretch in self.untranscribed if stretch.start >= start_at]
        language: str | None = None
        since = 0.0
        for at in range(0, max(len(segments), 1), SEGMENTS_AT_ONCE):
            here, following = segments[at : at + SEGMENTS_AT_ONCE], segments[at + SEGMENTS_AT_ONCE :][:1]
            until = following[0].start if following else self.duration
            missing = [each for each in untranscribed if since <= each.start < until]
            if here or missing:
                language = here[-1].language if here else language
                yield WindowText(
                    segments=here, untranscribed=missing, language=language, end=until, channel=self.channel
                )
            since = until


class TranscriptCache:
    """Stores transcripts by the recording's SHA-256, the model and the task's options."""

    def __init__(self, cache: Cache) -> None:
        self._cache = cache

    async def find(
        self, audio_sha256: str, task: TranscriptionTask, loaded: Loaded, channel: int | None
    ) -> Transcript | None:
        """Find the transcript of a channel (null: all mixed) that an earlier task with the same options has stored.

        Ask for null if the channels are not chosen yet: the transcript says whether it is that of channel 0 alone.
        """
        question = self._question(loaded, task, channel)
        return await _joined(await self._cache.find_pieces(task.task_id, audio_sha256, question))

    async def keep(self, audio_sha256: str, task: TranscriptionTask, loaded: Loaded, transcript: Transcript) -> None:
        """Store the transcript of a whole channel."""
        question = self._question(loaded, task, transcript.channel)
        await self._cache.keep_pieces(task.task_id, audio_sha256, question, transcript.pieces())

    def _question(self, loaded: Loaded, task: TranscriptionTask, channel: int | None) -> str:
        words = "words" if task.word_timestamps or task.diarize else "text"
        model = loaded.model
        options = f"{task.options.digest()} {channel or 0} {words}"
        # VERSION, because another version of the code may find other text
        return f"transcript by channel {VERSION} {model.name} {model.revision} {loaded.fingerprint} {options}"


async def _joined(pieces: Sequence[bytes]) -> Transcript | None:
    segments: list[Segment] = []
    untranscribed: list[Stretch] = []
    piece: Transcript | None = None
    for line in pieces:
        piece = await asyncio.to_thread(read, line, Transcript)
        if piece is None:
            return None
        segments += piece.segments
        untranscribed += piece.untranscribed
    return piece and piece.model_copy(update={"segments": segments, "untranscribed": untranscribed})

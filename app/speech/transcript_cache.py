"""The cache of transcripts: a task with the same recording, model and options finds the text of an earlier one."""

import asyncio
from collections.abc import AsyncGenerator

from natscribe.schemas.transcription import TranscriptionTask
from natscribe.schemas.windows import WindowText
from pydantic import BaseModel, Field

from app.engines.messages import FindWindows, Loaded
from app.redis_store.cache import Cache, read
from app.settings import VERSION


class CachedTranscript(BaseModel):
    """The texts that a run has yielded of a recording: of one channel, or of all mixed (`channel` is null)."""

    duration: float
    channels: int
    channel: int | None = None
    chosen: bool = False  # whether the listener chose the channel, and not a task
    texts: list[WindowText] = Field(default_factory=list, exclude=True)  # each is stored as a piece of its own

    def answers(self, listen: FindWindows) -> bool:
        """Whether this is the transcript to which the job `listen` would lead.

        A recording with one channel has one transcript, whatever the job says. If the job lets the listener choose, the
        listener must have chosen the channel of this transcript, too: a channel that a task has named will not do.
        """
        return self.channels == 1 or (self.chosen if listen.choose else self.channel == listen.channel)

    async def texts_from(self, start_at: float) -> AsyncGenerator[WindowText, None]:
        """Yield the texts after `start_at` seconds, as a run does that begins there."""
        for text in self.texts:
            if text.end > start_at:
                segments = [each for each in text.segments if each.start >= start_at]
                untranscribed = [each for each in text.untranscribed if each.start >= start_at]
                yield text.model_copy(update={"segments": segments, "untranscribed": untranscribed})


class TranscriptCache:
    """The cache of transcripts, by the recording's SHA-256, the engine's model and fingerprint, and the options."""

    def __init__(self, cache: Cache) -> None:
        self._cache = cache

    async def find(
        self, audio_sha256: str, task: TranscriptionTask, loaded: Loaded, channel: int | None
    ) -> CachedTranscript | None:
        """Return the transcript that an earlier task with the same options has stored; None if there is none.

        `channel`: the channel of the transcript; null: all channels mixed, or not chosen yet. The transcript found for
        null or 0 may be that of all channels or that of channel 0: its own `channel` says which.
        """
        question = self._question(loaded, task, channel)
        first, *pieces = await self._cache.get_pieces(task.task_id, audio_sha256, question) or [b""]
        found = read(first, CachedTranscript)
        for piece in pieces:
            # Reading a day of texts at once would block the event loop for over a second.
            text = await asyncio.to_thread(read, piece, WindowText)
            if found is None or text is None:
                return None
            found.texts.append(text)
        return found

    async def keep(
        self, audio_sha256: str, task: TranscriptionTask, loaded: Loaded, transcript: CachedTranscript
    ) -> None:
        """Store a transcript that is complete from the start of the recording to its end."""
        question = self._question(loaded, task, transcript.channel)
        await self._cache.put_pieces(task.task_id, audio_sha256, question, [transcript, *transcript.texts])

    def _question(self, loaded: Loaded, task: TranscriptionTask, channel: int | None) -> str:
        words = "words" if task.word_timestamps or task.diarize else "text"
        model = loaded.model
        options = f"{task.options.digest()} {channel or 0} {words}"
        # VERSION, because another version of the code may find other text
        return f"texts by channel {VERSION} {model.name} {model.revision} {loaded.fingerprint} {options}"

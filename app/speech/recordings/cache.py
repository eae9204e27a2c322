"""The cache of transcripts: a task with the same recording, model and options reuses the text of an earlier one."""

import asyncio
from collections.abc import AsyncGenerator

from natscribe.schemas.transcription import TranscriptionTask
from pydantic import BaseModel, Field

from app.engines.messages import FindWindows, Loaded
from app.engines.windows import WindowText
from app.settings import VERSION
from app.storage.redis.cache import Cache, read


class CachedTranscript(BaseModel):
    """The transcript of a whole recording: of one channel, or of the mix of all (`channel` is None).

    `duration`: the duration of the recording in seconds. `channels`: the number of its channels. `chosen`: whether the
    task let the engine choose between channel 0 and the mix.
    """

    duration: float
    channels: int
    channel: int | None = None
    chosen: bool = False
    texts: list[WindowText] = Field(default_factory=list, exclude=True)  # each is stored as a piece of its own

    def matches(self, job: FindWindows) -> bool:
        """Return whether `job` would lead to this transcript, so that the transcript can be reused.

        If the recording has one channel, it always would. If `job.choose` is set, the engine chooses between the first
        channel and the mix: then this transcript must come from such a choice. Otherwise it must be of the channel that
        `job` names.
        """
        return self.channels == 1 or (self.chosen if job.choose else self.channel == job.channel)

    async def texts_from(self, start_at: float) -> AsyncGenerator[WindowText, None]:
        """Yield the texts after `start_at` (seconds), as a transcription that starts there would yield them."""
        for text in self.texts:
            if text.end > start_at:
                lists = {name: getattr(text, name) for name in ("segments", "untranscribed", "entities")}
                later = {name: [item for item in items if item.start >= start_at] for name, items in lists.items()}
                yield text.model_copy(update=later)


class TranscriptCache:
    """Caches transcripts, so that a later task with the same recording and options needs no transcription.

    The key consists of the recording's SHA-256, the model, its device, precision and search, and the task's options.
    """

    def __init__(self, cache: Cache) -> None:
        self._cache = cache

    async def find(
        self, audio_sha256: str, task: TranscriptionTask, loaded: Loaded, channel: int | None
    ) -> CachedTranscript | None:
        """Return the transcript that an earlier task with the same options has stored; None if there is none.

        `channel`: the channel to transcribe, from 0; None: the mix of all channels or, with `channels: auto`, the mix
        or channel 0, as the engine decides once it has read the recording. None and 0 have the same key, so for both
        the returned transcript may be of the mix or of channel 0: check it with `CachedTranscript.matches`.
        """
        key = _key(loaded, task, channel)
        first, *pieces = await self._cache.get_pieces(task.task_id, audio_sha256, key) or [b""]
        transcript = read(first, CachedTranscript)
        for piece in pieces:
            # Parsing a day of texts at once would block the event loop for over a second.
            text = await asyncio.to_thread(read, piece, WindowText)
            if transcript is None or text is None:
                return None
            transcript.texts.append(text)
        return transcript

    async def store(
        self, audio_sha256: str, task: TranscriptionTask, loaded: Loaded, transcript: CachedTranscript
    ) -> None:
        """Store the transcript of a task, so that later tasks with the same recording, model and options can reuse it.

        `transcript`: must cover the whole recording or channel; this is not checked. `audio_sha256`: of the recording.
        `loaded`: the model that made the transcript, with the device, precision and search.
        """
        key = _key(loaded, task, transcript.channel)
        await self._cache.put_pieces(task.task_id, audio_sha256, key, [transcript, *transcript.texts])


def _key(loaded: Loaded, task: TranscriptionTask, channel: int | None) -> str:
    words = "words" if task.word_timestamps or task.diarize else "text"
    model = loaded.model
    options = f"{task.options.digest()} {channel or 0} {words}"
    # VERSION, because another version of the code may produce another text
    return f"texts by channel {VERSION} {model.name} {model.revision} {loaded.fingerprint} {options}"

"""The diarizer: finds who speaks when in a recording, for a diarization task or beside a transcription."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from datetime import UTC, datetime

from natscribe.schemas.diarization import DiarizationResult, DiarizationTask
from natscribe.schemas.errors import ErrorDetail
from natscribe.schemas.live import LiveTask
from natscribe.schemas.progress import Stage
from natscribe.schemas.transcription import TranscriptionTask

from app.cancellation import cancel_all
from app.engines.engine import Engine
from app.engines.messages import ChunkAnalysed, DiarizationDone, Diarize, StageAdvanced
from app.errors import TaskError
from app.recordings.recording import Recording, Recordings
from app.redis_store.cache import Cache
from app.redis_store.chunks import Chunks
from app.settings import VERSION
from app.updates import Append, Task, Update, processed
from app.voices.identification import NOT_ASKED, Identification, Identified


class Diarizer:
    """Diarizes recordings: takes turns from the cache if an earlier task has found them, else from the engine."""

    def __init__(
        self,
        recordings: Recordings,
        engine: Engine,
        cache: Cache,
        chunks: Chunks,
        *,
        identification: Identification,
    ) -> None:
        self._recordings = recordings
        self._engine = engine
        self._cache = cache
        self._chunks = chunks
        self._identification = identification

    async def diarize(self, task: DiarizationTask, append: Append) -> None:
        """Diarize the recording of a task; append progress updates, then the result.

        Raises:
            TaskError: The recording or the engine failed.
            FencedError: Another worker runs the task.
        """
        async with (
            self._recordings.fetch(task.audio_file_id) as recording,
            aclosing(self.turns(task, recording)) as replies,
        ):
            async for reply in replies:
                if isinstance(reply, Update):
                    await append(reply)
                else:
                    labels = sorted({turn.speaker for turn in reply.turns})
                    identified = await self.identify(task, reply, labels, append)
                    await append(_result(task, recording, reply, identified))

    async def identify(self, task: Task, found: DiarizationDone, labels: Sequence[str], append: Append) -> Identified:
        """Find whose voice each speaker has, if the task asks for it; `labels` are the names of all speakers.

        Raises:
            FencedError: Another worker runs the task.
        """
        if found.embedded is None:
            return NOT_ASKED
        return await self._identification.run(task, found.embedded, labels, append)

    async def turns_of_channels(
        self, task: TranscriptionTask | LiveTask, recording: Recording, channels: int
    ) -> AsyncGenerator[Update | DiarizationDone, None]:
        """Find the turns and embeddings of each channel, which is one speaker; yield progress, then all of them.

        Raises:
            TaskError: The recording or the engine failed.
        """
        found = list[DiarizationDone]()
        for channel in range(channels):
            async with aclosing(self.turns(task, recording, channel)) as replies:
                async for reply in replies:
                    if isinstance(reply, Update):
                        yield _of_all(reply, channel, channels)
                    else:
                        found.append(_called(reply, f"SPEAKER_{channel:02}"))
        yield _together(found)

    async def turns(
        self, task: Task, recording: Recording, channel: int | None = None
    ) -> AsyncGenerator[Update | DiarizationDone, None]:
        """Find the turns of a recording, or of one channel, which is one speaker; yield progress, then the turns.

        Chunks that an earlier attempt of the task has analysed are not analysed again.

        Raises:
            TaskError: The recording or the engine failed.
        """
        least, most = (task.min_speakers, task.max_speakers) if channel is None else (None, 1)
        # VERSION, because another version of the code may find other turns
        what = "turns and embeddings" if task.identify else "turns"
        question = f"{what} of slices {VERSION} {least}-{most}" + _suffix(channel)
        found = await self._cache.find(task.task_id, recording.sha256, question, DiarizationDone)
        if found is not None:
            yield found.model_copy(update={"cached": True})
            return
        sound = recording.sha256 + _suffix(channel)
        job = Diarize(
            path=recording.path,
            channel=channel,
            min_speakers=least,
            max_speakers=most,
            embed=task.identify,
            known=await self._chunks.known(task.task_id, sound),
        )
        async with aclosing(self._engine.run(job)) as replies:
            async for reply in replies:
                match reply:
                    case ChunkAnalysed():
                        await self._chunks.keep(task.task_id, sound, reply)
                    case StageAdvanced():
                        yield processed(reply.stage, reply.processed_seconds, reply.duration_seconds)
                    case DiarizationDone():
                        await recording.check()
                        await self._cache.keep(task.task_id, recording.sha256, question, reply)
                        yield reply


def _suffix(channel: int | None) -> str:
    """Return the end of a key in the cache: it names the channel, and is empty if all channels are mixed."""
    return "" if channel is None else f":{channel}"


def _of_all(update: Update, channel: int, channels: int) -> Update:
    """Turn the progress within one channel into the progress over all channels, which are diarized in their order."""
    seconds, duration = update.processed_seconds or 0.0, update.duration_seconds
    return processed(update.stage, (channel * (duration or 0.0) + seconds) / channels, duration)


def _called(found: DiarizationDone, label: str) -> DiarizationDone:
    """Name the only speaker of a channel `label`, in turns and embeddings."""
    turns = [turn.model_copy(update={"speaker": label}) for turn in found.turns]
    embedded = found.embedded
    if embedded is not None:
        speakers = [each.model_copy(update={"speaker": label}) for each in embedded.speakers]
        embedded = embedded.model_copy(update={"speakers": speakers})
    return found.model_copy(update={"turns": turns, "embedded": embedded})


def _together(found: Sequence[DiarizationDone]) -> DiarizationDone:
    """Join the turns and embeddings that were found in each channel."""
    embedded = [each.embedded for each in found if each.embedded is not None]
    speakers = [speaker for each in embedded for speaker in each.speakers]
    changed = {
        "turns": [turn for each in found for turn in each.turns],
        "embedded": embedded[0].model_copy(update={"speakers": speakers}) if embedded else None,
        "cached": all(each.cached for each in found),
    }
    return found[0].model_copy(update=changed)


def _result(
    task: DiarizationTask, recording: Recording, found: DiarizationDone, identified: Identified
) -> DiarizationResult:
    return DiarizationResult(
        task_id=task.task_id,
        audio_file_id=task.audio_file_id,
        user_id=task.user_id,
        speakers=len({turn.speaker for turn in found.turns}),
        segments=found.turns,
        duration=found.duration_seconds,
        voices=identified.voices,
        voices_error=identified.error,
        model=found.model,
        audio_sha256=recording.sha256,
        cached=found.cached,
        created_at=datetime.now(UTC),
    )


class SpeakerSearch:
    """The search for the speakers of a recording, beside or after its transcription.

    It ends with turns in `found`, or with an `error`, after which the task goes on without speakers.
    """

    def __init__(self, replies: AsyncGenerator[Update | DiarizationDone, None]) -> None:
        self.found: DiarizationDone | None = None
        self.error: ErrorDetail | None = None
        self._replies = replies
        self._task: asyncio.Task[None] | None = None
        self._latest = processed(Stage.DIARIZING, 0.0, None)
        self._moved = asyncio.Event()  # since the latest progress was told

    @property
    def fraction(self) -> float:
        """How much of the search is done, from 0 to 1."""
        return 1.0 if self._task is not None and self._task.done() else self._latest.fraction

    def begin(self) -> asyncio.Task[None]:
        """Start the search in an asyncio task of its own, unless it has begun; return this task."""
        if self._task is None:
            self._task = asyncio.create_task(self._search())
            self._task.add_done_callback(lambda _: self._moved.set())
        return self._task

    async def progress(self) -> AsyncGenerator[Update, None]:
        """Start the search if necessary, and yield its progress until it ends."""
        task = self.begin()
        while not task.done():
            await self._moved.wait()
            self._moved.clear()
            if not task.done():
                yield self._latest
        await task

    async def aclose(self) -> None:
        """Cancel the search."""
        if self._task is not None:
            await cancel_all([self._task])
        await self._replies.aclose()

    async def _search(self) -> None:
        try:
            async with aclosing(self._replies) as replies:
                async for reply in replies:
                    if isinstance(reply, Update):
                        self._latest = reply
                        self._moved.set()
                    else:
                        self.found = reply
        except TaskError as error:
            self.error = error.detail

"""The diarizer: finds who speaks when in a recording, for a diarization task or beside a transcription."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
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
from app.recordings.recording import Recording, RecordingStore
from app.redis_store.cache import Cache
from app.redis_store.chunks import ChunkStore
from app.settings import VERSION
from app.updates import Append, Task, Update, processed
from app.voices.identification import NOT_REQUESTED, Identification, Identified


@dataclass(frozen=True, slots=True)
class Diarizer:
    """Diarizes recordings: takes turns from the cache if an earlier task has found them, else from the engine."""

    recordings: RecordingStore
    engine: Engine
    cache: Cache
    chunks: ChunkStore
    identification: Identification

    async def diarize(self, task: DiarizationTask, append: Append) -> DiarizationResult:
        """Diarize the recording of a task; append updates, and return the result.

        Raises:
            TaskError: The recording or the engine failed.
            FencedError: Another worker runs the task.
        """
        async with self.recordings.fetch(task.audio_file_id) as recording:
            found = await self.turns(task, recording, append)
            labels = sorted({turn.speaker for turn in found.turns})
            return _result(task, recording, found, await self.identify(task, found, labels, append))

    async def identify(self, task: Task, found: DiarizationDone, labels: Sequence[str], append: Append) -> Identified:
        """Find whose voice each speaker has, if the task asks for it; `labels` are the names of all speakers.

        Raises:
            FencedError: Another worker runs the task.
        """
        if found.embedded is None:
            return NOT_REQUESTED
        return await self.identification.run(task, found.embedded, labels, append)

    async def turns_of_channels(
        self, task: TranscriptionTask | LiveTask, recording: Recording, channels: int, append: Append
    ) -> DiarizationDone:
        """Find the turns of each channel, which is one speaker; append updates, and return the turns of all channels.

        Raises:
            TaskError: The recording or the engine failed.
            FencedError: Another worker runs the task.
        """
        found = [await self.turns(task, recording, append, channel, channels) for channel in range(channels)]
        return _together(
            [relabelled(each, {speaker_label(0): speaker_label(channel)}) for channel, each in enumerate(found)]
        )

    async def turns(
        self, task: Task, recording: Recording, append: Append, channel: int | None = None, channels: int = 1
    ) -> DiarizationDone:
        """Find the turns of a recording, or of one channel, which is one speaker; append updates, and return the turns.

        The progress counts over `channels` channels, of which those before `channel` are done. Chunks that an earlier
        attempt of the task has analysed are not analysed again.

        Raises:
            TaskError: The recording or the engine failed.
            FencedError: Another worker runs the task.
        """
        least, most = (task.min_speakers, task.max_speakers) if channel is None else (None, 1)
        # VERSION, because another version of the code may find other turns
        question = f"turns of slices {VERSION} {least}-{most} embed={task.identify}" + _suffix(channel)
        known = await self.cache.get(task.task_id, recording.sha256, question, DiarizationDone)
        if known is not None:
            return known.model_copy(update={"cached": True})
        job = Diarize(path=recording.path, channel=channel, min_speakers=least, max_speakers=most, embed=task.identify)
        found = await self._search(task, recording.sha256 + _suffix(channel), job, append, channels)
        await recording.check()
        await self.cache.put(task.task_id, recording.sha256, question, found)
        return found

    async def _search(self, task: Task, sound: str, job: Diarize, append: Append, channels: int) -> DiarizationDone:
        """Have the engine do a job, without the chunks that are kept under the key `sound`; append updates."""
        job = job.model_copy(update={"known": await self.chunks.load(task.task_id, sound)})
        async with aclosing(self.engine.run(job)) as replies:
            async for reply in replies:
                match reply:
                    case ChunkAnalysed():
                        await self.chunks.save(task.task_id, sound, reply)
                    case StageAdvanced():
                        seconds, duration = reply.processed_seconds, reply.duration_seconds
                        await append(processed(reply.stage, seconds, duration, channel=job.channel, channels=channels))
                    case DiarizationDone():
                        return reply
        message = "the engine has ended a diarization without turns"
        raise RuntimeError(message)


def _suffix(channel: int | None) -> str:
    """Return the end of a key in the cache: it names the channel, and is empty if all channels are mixed."""
    return "" if channel is None else f":{channel}"


def speaker_label(number: int) -> str:
    """Return the label of a speaker, whose number counts from 0."""
    return f"SPEAKER_{number:02}"


def relabelled(found: DiarizationDone, labels: Mapping[str, str]) -> DiarizationDone:
    """Return turns and embeddings with another label for each speaker."""
    turns = [turn.model_copy(update={"speaker": labels[turn.speaker]}) for turn in found.turns]
    embedded = found.embedded
    if embedded is not None:
        speakers = [each.model_copy(update={"speaker": labels[each.speaker]}) for each in embedded.speakers]
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


class BackgroundDiarization:
    """The search for the speakers of a recording, beside or after its transcription.

    It ends with turns in `found`, or with an `error`, after which the task goes on without speakers.
    """

    def __init__(self, find: Callable[[Append], Awaitable[DiarizationDone]]) -> None:
        """`find` searches, and returns the turns; it calls the function that it gets with each update."""
        self.found: DiarizationDone | None = None
        self.error: ErrorDetail | None = None
        self._find = find
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

    async def _search(self) -> None:
        try:
            self.found = await self._find(self._note)
        except TaskError as error:
            self.error = error.detail

    async def _note(self, update: Update) -> None:
        self._latest = update
        self._moved.set()

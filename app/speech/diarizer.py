"""The diarizer: runs speaker diarization for diarization tasks, and for transcription tasks that request it."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime

from natscribe.schemas.diarization import DiarizationResult, DiarizationTask
from natscribe.schemas.errors import ErrorDetail
from natscribe.schemas.progress import Stage

from app.engines.engine import Engine
from app.engines.messages import ChunkAnalysed, DiarizationDone, Diarize, StageAdvanced
from app.runtime.cancellation import cancel_all
from app.runtime.errors import TaskError
from app.settings import VERSION
from app.speech.speaker_labels import combined
from app.speech.updates import Append, Progress, Task, TaskUpdate, processed
from app.speech.voices.identification import Identification
from app.storage.recordings.recording import Recording, RecordingStore
from app.storage.redis.cache import Cache
from app.storage.redis.chunks import ChunkStore


@dataclass(frozen=True, slots=True)
class Diarizer:
    """Diarizes recordings: takes the turns from the cache if an earlier task has stored them, else from the engine."""

    recordings: RecordingStore
    engine: Engine
    cache: Cache
    chunks: ChunkStore
    identification: Identification

    async def diarize(self, task: DiarizationTask, append: Append) -> DiarizationResult:
        """Diarize the recording of a diarization task; append its progress to the task's log, and return its result.

        Raises:
            TaskError: The recording or the engine failed.
            FencedError: Another worker runs the task.
        """
        async with self.recordings.fetch(task.audio_file_id) as recording:
            diarization = await self.turns(task, recording, None, append)
            labels = sorted({turn.speaker for turn in diarization.turns})
            identified = await self.identification.run(task, diarization.embedded, labels, append)
            return DiarizationResult(
                task_id=task.task_id,
                audio_file_id=task.audio_file_id,
                user_id=task.user_id,
                speakers=len(labels),
                segments=diarization.turns,
                duration=diarization.duration_seconds,
                voices=identified.voices,
                voices_error=identified.error,
                model=diarization.model,
                audio_sha256=recording.sha256,
                cached=diarization.cached,
                created_at=datetime.now(UTC),
            )

    async def turns(self, task: Task, recording: Recording, channels: int | None, append: Append) -> DiarizationDone:
        """Diarize a recording and return its turns; append progress to the task's log meanwhile.

        `channels`: the number of channels if each is diarized on its own; None: the channels are mixed. With separate
        channels, the task's `max_speakers` limits the speakers of all channels together, but each channel may always
        have one speaker; `min_speakers` is ignored. Chunks of the recording that an earlier attempt at the task has
        analysed are not analysed again.

        Raises:
            TaskError: The recording cannot be read or has changed, or the engine failed.
            FencedError: Another worker runs the task.
        """
        if channels is None:
            bounds = {"min_speakers": task.min_speakers, "max_speakers": task.max_speakers}
            job = Diarize(path=recording.path, embed=task.identify, **bounds)
            return await self._turns(task, recording, append, job, 1)
        diarizations: list[DiarizationDone] = []
        for channel in range(channels):
            taken = channels - channel - 1 + sum(len({turn.speaker for turn in done.turns}) for done in diarizations)
            most = None if task.max_speakers is None else max(task.max_speakers - taken, 1)
            job = Diarize(path=recording.path, channel=channel, max_speakers=most, embed=True)
            diarizations.append(await self._turns(task, recording, append, job, channels))
        diarization = combined(diarizations)
        return diarization if task.identify else diarization.model_copy(update={"embedded": None})

    async def _turns(
        self, task: Task, recording: Recording, append: Append, job: Diarize, channels: int
    ) -> DiarizationDone:
        """Return the result of a diarization job: from the cache if an earlier task has stored it, or from the engine.

        `channels`: how many channels are diarized, one job after the other. Progress is reported over all of them:
        channels before the job's channel are complete.
        """
        # VERSION, because another version of the code may compute other turns
        bounds = f"{job.min_speakers}-{job.max_speakers}"
        key = f"turns of slices {VERSION} {bounds} embed={job.embed}" + _suffix(job.channel)
        cached = await self.cache.get(task.task_id, recording.sha256, key, DiarizationDone)
        if cached is not None:
            return cached.model_copy(update={"cached": True})
        diarization = await self._run(task, recording.sha256 + _suffix(job.channel), job, append, channels)
        await recording.check()
        await self.cache.put(task.task_id, recording.sha256, key, diarization)
        return diarization

    async def _run(self, task: Task, audio: str, job: Diarize, append: Append, channels: int) -> DiarizationDone:
        """Run a job in the engine, append its progress to the task's log, and return its result.

        Each analysis of a chunk, i.e. about a minute of audio, is stored in Redis, so that a later attempt at the task
        does not analyse the chunk again. `audio`: the SHA-256 of the recording, followed by the channel if only one is
        analysed.
        """
        job = job.model_copy(update={"known": await self.chunks.load(task.task_id, audio)})
        async with aclosing(self.engine.run(job)) as replies:
            async for reply in replies:
                match reply:
                    case ChunkAnalysed():
                        await self.chunks.save(task.task_id, audio, reply)
                    case StageAdvanced():
                        seconds, duration = reply.processed_seconds, reply.duration_seconds
                        await append(processed(reply.stage, seconds, duration, channel=job.channel, channels=channels))
                    case DiarizationDone():
                        return reply
        message = "the engine has ended a diarization without turns"
        raise RuntimeError(message)


def _suffix(channel: int | None) -> str:
    """Return a suffix for a cache key that names the channel; empty if all channels are mixed."""
    return "" if channel is None else f":{channel}"


class BackgroundDiarization:
    """Runs the diarization of a recording in an asyncio task, during or after the transcription of the recording.

    At its end, either `result` or `error` is set; after an error, the transcription task continues without speakers.
    """

    def __init__(self, diarize: Callable[[Append], Awaitable[DiarizationDone]]) -> None:
        """`diarize`: runs the diarization, and passes each update of its progress to its `Append` argument."""
        self.result: DiarizationDone | None = None
        self.error: ErrorDetail | None = None
        self._diarize = diarize
        self._task: asyncio.Task[None] | None = None
        self._latest = processed(Stage.DIARIZING, 0.0, None)
        self._changed = asyncio.Event()  # set when there is progress to report, and at the end

    @property
    def fraction(self) -> float:
        """The completed fraction of the diarization, from 0 to 1."""
        return 1.0 if self._task is not None and self._task.done() else self._latest.fraction

    def start(self) -> asyncio.Task[None]:
        """Start the diarization, unless it has started; return its asyncio task."""
        if self._task is None:
            self._task = asyncio.create_task(self._run())
            self._task.add_done_callback(lambda _: self._changed.set())
        return self._task

    async def progress(self) -> AsyncGenerator[Progress, None]:
        """Start the diarization if necessary, and yield its progress until it ends."""
        task = self.start()
        while not task.done():
            await self._changed.wait()
            self._changed.clear()
            if not task.done():
                yield self._latest
        await task

    async def aclose(self) -> None:
        """Cancel the diarization if it is running, and wait for its end."""
        if self._task is not None:
            await cancel_all([self._task])

    async def _run(self) -> None:
        try:
            self.result = await self._diarize(self._set_progress)
        except TaskError as error:
            self.error = error.detail

    async def _set_progress(self, update: TaskUpdate) -> None:
        if isinstance(update, Progress):
            self._latest = update
            self._changed.set()

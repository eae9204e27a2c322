"""The diarizer: runs speaker diarization for diarization tasks, and for transcription tasks that request it."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime

from natscribe.schemas.diarization import DiarizationResult, DiarizationTask
from natscribe.schemas.errors import ErrorDetail
from natscribe.schemas.progress import Stage

from app.cancellation import cancel_all
from app.engines.engine import Engine
from app.engines.messages import ChunkAnalysed, DiarizationDone, Diarize, StageAdvanced
from app.errors import TaskError
from app.recordings.recording import Recording, RecordingStore
from app.redis_store.cache import Cache
from app.redis_store.chunks import ChunkStore
from app.settings import VERSION
from app.updates import Append, Task, TaskUpdate, processed
from app.voices.identification import NOT_REQUESTED, Identification, IdentificationOutcome


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
            identified = await self.identify(task, diarization, labels, append)
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

    async def identify(
        self, task: Task, result: DiarizationDone, labels: Sequence[str], append: Append
    ) -> IdentificationOutcome:
        """Identify the speakers among the user's enrolled voices if the task requests it.

        `result`: the diarization. `labels`: the labels of all its speakers.

        Raises:
            FencedError: Another worker runs the task.
        """
        if result.embedded is None:
            return NOT_REQUESTED
        return await self.identification.run(task, result.embedded, labels, append)

    async def turns(self, task: Task, recording: Recording, channels: int | None, append: Append) -> DiarizationDone:
        """Return the turns of a recording; append progress to the task's log meanwhile.

        `channels`: the number of channels if each is one speaker; None: the channels are mixed. Chunks of the recording
        that an earlier attempt of the task has analysed are not analysed again.

        Raises:
            TaskError: The recording or the engine failed.
            FencedError: Another worker runs the task.
        """
        if channels is None:
            return await self._turns(task, recording, append)
        diarizations = [await self._turns(task, recording, append, channel, channels) for channel in range(channels)]
        return _combined(
            [
                relabelled(diarization, {speaker_label(0): speaker_label(channel)})
                for channel, diarization in enumerate(diarizations)
            ]
        )

    async def _turns(
        self, task: Task, recording: Recording, append: Append, channel: int | None = None, channels: int = 1
    ) -> DiarizationDone:
        """Return the turns of a recording, or of one channel, from the cache or the engine.

        `channels`: how many channels are diarized one after the other. Progress is reported over all of them, where
        those before `channel` count as done.
        """
        least, most = (task.min_speakers, task.max_speakers) if channel is None else (None, 1)
        # VERSION, because another version of the code may compute other turns
        key = f"turns of slices {VERSION} {least}-{most} embed={task.identify}" + _suffix(channel)
        cached = await self.cache.get(task.task_id, recording.sha256, key, DiarizationDone)
        if cached is not None:
            return cached.model_copy(update={"cached": True})
        job = Diarize(path=recording.path, channel=channel, min_speakers=least, max_speakers=most, embed=task.identify)
        diarization = await self._run(task, recording.sha256 + _suffix(channel), job, append, channels)
        await recording.check()
        await self.cache.put(task.task_id, recording.sha256, key, diarization)
        return diarization

    async def _run(self, task: Task, audio: str, job: Diarize, append: Append, channels: int) -> DiarizationDone:
        """Run a job in the engine, and append its progress to the task's log.

        Chunks that are stored under the key `audio` are not analysed again; newly analysed ones are stored there.
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


def speaker_label(number: int) -> str:
    """Return the label of the speaker with the number `number`, counted from 0."""
    return f"SPEAKER_{number:02}"


def relabelled(diarization: DiarizationDone, labels: Mapping[str, str]) -> DiarizationDone:
    """Return a diarization with other speaker labels; `labels`: the new label for each old one."""
    turns = [turn.model_copy(update={"speaker": labels[turn.speaker]}) for turn in diarization.turns]
    embedded = diarization.embedded
    if embedded is not None:
        speakers = [item.model_copy(update={"speaker": labels[item.speaker]}) for item in embedded.speakers]
        embedded = embedded.model_copy(update={"speakers": speakers})
    return diarization.model_copy(update={"turns": turns, "embedded": embedded})


def _combined(channels: Sequence[DiarizationDone]) -> DiarizationDone:
    """Combine the diarizations of all channels, each diarized on its own, into one."""
    embedded = [channel.embedded for channel in channels if channel.embedded is not None]
    speakers = [speaker for item in embedded for speaker in item.speakers]
    combined = {
        "turns": [turn for channel in channels for turn in channel.turns],
        "embedded": embedded[0].model_copy(update={"speakers": speakers}) if embedded else None,
        "cached": all(channel.cached for channel in channels),
    }
    return channels[0].model_copy(update=combined)


class BackgroundDiarization:
    """Runs the diarization of a recording in an asyncio task, during or after the transcription of the recording.

    At its end, either `result` or `error` is set; after an error, the transcription task continues without speakers.
    """

    def __init__(self, diarize: Callable[[Append], Awaitable[DiarizationDone]]) -> None:
        """`diarize`: runs the diarization, and calls its argument with each update of the progress."""
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

    async def progress(self) -> AsyncGenerator[TaskUpdate, None]:
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
        self._latest = update
        self._changed.set()

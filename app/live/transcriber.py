"""The live transcriber: transcribes a live task utterance by utterance, and finds its speakers at the end."""

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing, suppress
from dataclasses import dataclass, replace
from functools import partial

from nats.aio.client import Client
from nats.errors import Error as NatsError
from natscribe.schemas import subjects
from natscribe.schemas.errors import ErrorCode
from natscribe.schemas.kinds import needs_speaker_search
from natscribe.schemas.live import LiveTask, Partial
from natscribe.schemas.progress import Stage
from natscribe.schemas.transcription import Source, TranscriptionResult
from natscribe.schemas.windows import Window, WindowText
from natscribe.schemas.wire import Model

from app.cancellation import StopScope, cancel_all
from app.engines.engine import Engine, run_job
from app.engines.messages import Load, Loaded, StageAdvanced
from app.engines.window_queue import Rank, WindowQueue
from app.errors import TransientError
from app.live.audio_recording import check_store, keep, recording_of
from app.live.early_transcription import Ahead
from app.live.frames import Frames
from app.live.partials import Partials
from app.live.source import LiveSource
from app.recordings.recording import Recording
from app.settings import Settings
from app.speech.diarizer import BackgroundDiarization, Diarizer
from app.speech.transcript import TaskTranscript
from app.speech.transcription_run import TranscriptionRun
from app.telemetry.live_metrics import LiveMetrics
from app.updates import Append, Checkpoint, Update, processed

SILENCE_TOLD_S = 60.0  # silence of a channel after which the log says so, and another worker need not hear it again


class LiveTranscriber:
    """Transcribes live tasks with the engine, several at the same time."""

    def __init__(  # noqa: PLR0913 -- all parts that a live task needs
        self,
        nats: Client,
        engine: Engine,
        windows: WindowQueue,
        diarizer: Diarizer,
        *,
        settings: Settings,
        metrics: LiveMetrics,
    ) -> None:
        self._nats = nats
        self._engine = engine
        self._windows = windows
        self._diarizer = diarizer
        self._settings = settings
        self._metrics = metrics
        self._loads = set[asyncio.Task[Loaded]]()

    async def transcribe(self, task: LiveTask, checkpoint: Checkpoint, append: Append) -> TranscriptionResult:
        """Transcribe a live task from the checkpoint on until its sound ends; append updates, and return the result.

        Raises:
            TaskError: The sound cannot be read, or the engine failed.
            FencedError: Another worker runs the task.
        """
        check_store(task, self._settings)
        loaded = await self._load(task)
        frames = Frames(self._nats, self._settings.stream_names.live, task)
        source = LiveSource(self._engine, frames, task, checkpoint)
        with self._metrics.following() as behind:
            live = _Live(task, source, checkpoint, self._metrics.final, behind)
            await self._follow(live, source, task, checkpoint, append)
        self._metrics.refused(frames.refused)
        has_search = needs_speaker_search(task, separate=live.transcript.channels is not None)
        if frames.size and (task.keep_audio or has_search):
            async with recording_of(frames, task.audio) as recording:
                if task.keep_audio:
                    live.transcript.audio_error = await keep(recording, task.task_id, self._settings, self._nats)
                if has_search and checkpoint.diarization_error is None:
                    await self._find_speakers(live.transcript, task, recording, append)
        return await asyncio.to_thread(live.result, loaded.model)

    async def _load(self, task: LiveTask) -> Loaded:
        """Load the model; if the task is cancelled, the load goes on, because other tasks use the engine process, too.

        Raises:
            TaskError: The model cannot be loaded, or it cannot follow the options.
        """
        loading = asyncio.create_task(self._loaded(task))
        self._loads.add(loading)
        loading.add_done_callback(self._drop)
        return await asyncio.shield(loading)

    async def _loaded(self, task: LiveTask) -> Loaded:
        hangs = TransientError(ErrorCode.ENGINE_FAILED, "The model is not loaded within TASK_TIMEOUT: it loads again.")
        async with StopScope(hangs, after=self._settings.task_timeout):
            return await run_job(self._engine, Load(options=task.options), Loaded)

    def _drop(self, loading: asyncio.Task[Loaded]) -> None:
        self._loads.discard(loading)
        if not loading.cancelled():
            loading.exception()  # the task that waits for it gets it, too

    async def _follow(
        self, live: "_Live", source: LiveSource, task: LiveTask, checkpoint: Checkpoint, append: Append
    ) -> None:
        """Transcribe until the sound ends; append updates, and publish partials."""
        own = Ahead(self._windows, task.options)
        run = TranscriptionRun(live.windows(), own, None, task.options, checkpoint.language, rank=Rank.LIVE)
        source.closing = lambda window: own.begin(window, run.language)
        partials = Partials(task, source, self._windows, self._publish, self._metrics)
        source.show = partials.wanted
        looking = asyncio.create_task(partials.run())
        try:
            async with aclosing(run.texts()) as texts:
                async for each in texts:
                    partials.language = run.language
                    for update in live.updates(each):
                        await append(update)
        finally:
            await cancel_all([looking])
            await own.close()
        live.transcript.untranscribed += source.missing

    async def _find_speakers(
        self, transcript: TaskTranscript, task: LiveTask, recording: Recording, append: Append
    ) -> None:
        """Find the speakers, and whose voices they have; with separate channels each channel is a speaker already."""
        channels = transcript.channels
        find = (
            partial(self._diarizer.turns, task, recording)
            if channels is None
            else partial(self._diarizer.turns_of_channels, task, recording, channels)
        )
        async with aclosing(BackgroundDiarization(find)) as search:
            async for update in search.progress():
                await append(update)
            found = await asyncio.to_thread(transcript.add_speakers, search)
            if found is not None:
                labels = transcript.labels(found)
                transcript.identified = await self._diarizer.identify(task, found, labels, append)

    async def _publish(self, partial: Partial) -> None:
        subject, body = subjects.partials(partial.task_id), partial.model_dump_json().encode()
        with suppress(NatsError):  # nobody sees partials during an outage
            await self._nats.publish(subject, body, headers={"content-type": "application/json"})


class _Live:
    """A live task while it is transcribed: its text so far, and how many seconds its text lags."""

    def __init__(
        self,
        task: LiveTask,
        source: LiveSource,
        checkpoint: Checkpoint,
        final: Callable[[float], None],
        behind: Callable[[float], None],
    ) -> None:
        """`final` is called with the delay of each final, and `behind` with the lag, both in seconds."""
        self._source = source
        self._final = final
        self._behind = behind
        self._language = checkpoint.language
        self._reached = {channel: checkpoint.reached.get(channel, 0.0) for channel in source.channels}
        self._told = 0.0  # up to here missing sound is told
        self.transcript = TaskTranscript(task)
        self.transcript.resume(checkpoint)
        self.transcript.channels = len(source.channels) if source.channels != [None] else None
        self._waiting: deque[_Utterance] = deque()  # utterances without text

    async def windows(self) -> AsyncGenerator[StageAdvanced | Window, None]:
        """Yield the utterances and the progress of the source, and note which utterances wait for their text."""
        async with aclosing(self._source.windows()) as windows:
            async for each in windows:
                if isinstance(each, Window):
                    self._waiting.append(_Utterance(each.channel, each.end, self._source.said_at(each.end)))
                self._behind(self._lag)
                yield each

    def updates(self, found: StageAdvanced | WindowText) -> Iterator[Update]:
        """Yield the updates to append for a text or a progress that the run has yielded.

        After a long silence, an update without words moves the checkpoint on.
        """
        if isinstance(found, WindowText):
            self._count(found)
            yield self._with(found)
        else:
            for channel, reached in self._reached.items():
                if found.processed_seconds - reached >= SILENCE_TOLD_S:
                    end = found.processed_seconds
                    yield self._with(WindowText(segments=[], language=self._language, end=end, channel=channel))
            update = processed(found.stage, found.processed_seconds, None)
            yield replace(update, lag_seconds=self._lag, waits_for_audio=self._source.waits)
        self._behind(self._lag)

    def _with(self, text: WindowText) -> Update:
        """Make the update of a text; its gaps include sound before its end that was never stored."""
        self._language, self._reached[text.channel] = text.language, text.end
        missing = [each for each in self._source.missing if self._told <= each.start and each.end <= text.end]
        self._told = max([self._told, *(each.end for each in missing)])
        told = self.transcript.add(text.model_copy(update={"untranscribed": [*text.untranscribed, *missing]}))
        update = processed(Stage.TRANSCRIBING, text.end, None)
        return replace(update, text=told, lag_seconds=self._lag, audio_offset=self._source.audio_offset(self._reached))

    def result(self, model: Model) -> TranscriptionResult:
        """Build the task's result."""
        seconds = self._source.seconds
        return self.transcript.result(duration=seconds, model=model, source=Source.LIVE, audio_sha256=None)

    def _count(self, text: WindowText) -> None:
        """Note that the utterances up to the end of `text` have their finals: `text` may join those of several."""
        while self._waiting:
            utterance = self._waiting.popleft()
            self._final(max(time.monotonic() - utterance.said_at, 0.0))
            if (utterance.channel, utterance.end) == (text.channel, text.end):
                return

    @property
    def _lag(self) -> float:
        """The lag: seconds of stored sound that have no text yet, without the utterance that goes on."""
        behind = self._source.seconds - self._waiting[0].end if self._waiting else 0.0
        return self._source.waiting_seconds + max(behind, 0.0)


@dataclass(frozen=True, slots=True)
class _Utterance:
    """An utterance that waits for its text."""

    channel: int | None
    end: float  # in seconds of the stream
    said_at: float  # when it ended, on the monotonic clock

"""Transcribes live tasks utterance by utterance, and diarizes their audio at its end."""

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

from nats.aio.client import Client
from nats.errors import Error as NatsError
from natscribe.schemas import subjects
from natscribe.schemas.errors import ErrorCode
from natscribe.schemas.live import LiveTask, Partial, TurnEvent
from natscribe.schemas.progress import Stage
from natscribe.schemas.transcription import Source, TranscriptionResult
from natscribe.schemas.voices import SpeakerVoice
from natscribe.schemas.wire import Model

from app.engines.engine import Engine, run_job
from app.engines.messages import Load, Loaded, StageAdvanced
from app.engines.window_queue import Rank, WindowQueue
from app.engines.windows import Window, WindowText
from app.runtime.cancellation import StopScope, cancel_all, drop_error
from app.runtime.errors import PermanentError, TransientError
from app.runtime.telemetry.live_metrics import LiveMetrics
from app.settings import Settings
from app.speech.diarizer import BackgroundDiarization, Diarizer
from app.speech.live.audio_recording import check_store, recording_of, store_audio
from app.speech.live.early_text import EarlyText
from app.speech.live.frame_offsets import FrameOffset
from app.speech.live.frames import FrameReader
from app.speech.live.names import LiveNames
from app.speech.live.partials import PartialPublisher
from app.speech.live.source import ClosingUtterance, LiveSource, Mark
from app.speech.live.speakers import SpeakerHistory
from app.speech.live.turns import TurnPublisher
from app.speech.redacted_audio import is_requested, redacted_copy
from app.speech.redaction import Redactor
from app.speech.transcript import TaskTranscript
from app.speech.updates import Append, Checkpoint, NewText, Progress, SpeakerState
from app.speech.window_pipeline import WindowPipeline
from app.storage.jetstream.publishers import Publishers
from app.storage.recordings.recording import Recording

SILENT_S = 60.0  # silence of a channel after which the checkpoint moves on without a text
MAX_MARKS = 100  # in one event, whose size is limited


@dataclass(frozen=True, slots=True)
class LiveTranscriber:
    """Transcribes live tasks with the engine, several at the same time.

    `publishers`: publish partial results and turns. `engine`: detects utterances and speakers. `windows`: the queue in
    which utterances wait for this engine. `diarizer`: diarizes the whole audio of a task with `diarize` when the audio
    has ended. `_loads`: the running jobs that load models.
    """

    nats: Client
    publishers: Publishers
    engine: Engine
    windows: WindowQueue
    diarizer: Diarizer
    settings: Settings
    metrics: LiveMetrics
    _loads: set[asyncio.Task[Loaded]] = field(default_factory=set, init=False)

    async def transcribe(self, task: LiveTask, checkpoint: Checkpoint, append: Append) -> TranscriptionResult:
        """Transcribe a live task until its audio ends; append progress and text to its log, and return its result.

        `checkpoint`: the segments that earlier attempts have stored; transcription continues after them.

        Raises:
            TaskError: The audio cannot be read, or the engine failed.
            FencedError: Another worker runs the task.
        """
        check_store(task, self.settings)
        loaded = await self._load(task)
        frames = FrameReader(self.nats, self.settings.stream_names.live, task)
        source = LiveSource(self.engine, frames, task, checkpoint)
        session = LiveSession(self, source, append)
        await session.run()
        self.metrics.refused_frames.inc(frames.refused)
        if not frames.size or not (task.keep_audio or task.diarize or is_requested(task.redact)):
            return await asyncio.to_thread(session.result, loaded.model)
        async with recording_of(frames, task.audio) as recording:
            if task.diarize and checkpoint.diarization_error is None:
                await session.diarize(recording)
            result = await asyncio.to_thread(session.result, loaded.model)
            if task.redact is None or not is_requested(task.redact):
                return await self._keep_audio(task, recording, result)
            try:
                async with redacted_copy(self.engine, recording, result, task.redact, append) as (copy, with_copy):
                    return await self._keep_audio(task, copy, with_copy)
            except PermanentError as error:  # such as more audio than AUDIO_MAX_SECONDS
                return result.model_copy(update={"audio_error": error.detail})

    async def _keep_audio(
        self, task: LiveTask, recording: Recording, result: TranscriptionResult
    ) -> TranscriptionResult:
        """Store the audio of a task with `keep_audio`; the returned result says if that has failed."""
        if not task.keep_audio:
            return result
        error = await store_audio(recording, task.task_id, self.settings, self.nats)
        return result.model_copy(update={"audio_error": error})

    async def _load(self, task: LiveTask) -> Loaded:
        """Load the model of a task; loading continues if the task is cancelled, because other tasks share the engine.

        Raises:
            TaskError: The model cannot be loaded, or it does not support the options.
        """
        load = asyncio.create_task(self._run_load(task))
        self._loads.add(load)
        load.add_done_callback(self._loads.discard)
        load.add_done_callback(drop_error)  # the task raises it
        return await asyncio.shield(load)

    async def _run_load(self, task: LiveTask) -> Loaded:
        hangs = TransientError(ErrorCode.ENGINE_FAILED, "The model is not loaded within TASK_TIMEOUT: it loads again.")
        async with StopScope(hangs, after=self.settings.task_timeout):
            return await run_job(self.engine, Load(options=task.options), Loaded)

    async def publish_partial(self, partial: Partial) -> None:
        """Publish a partial result; do nothing during an outage of NATS."""
        with suppress(NatsError):
            await self.publishers.partials.publish(partial, subjects.partials(partial.task_id))

    async def publish_turn(self, event: TurnEvent) -> None:
        """Publish an event of a turn; do nothing during an outage of NATS."""
        with suppress(NatsError):
            await self.publishers.turns.publish(event, subjects.turns(event.task_id))


class _Utterance(NamedTuple):
    """An utterance without text: its channel and end in seconds, and when that was on the monotonic clock.

    `marks`: those that follow it, before the next utterance.
    """

    channel: int | None
    end: float
    spoken_at: float
    marks: list[Mark]


class LiveSession:
    """One attempt at a live task: transcribes its utterances, and publishes partial results and names meanwhile.

    The session owns all parts of the attempt, and has them work on one transcript.
    """

    def __init__(self, worker: LiveTranscriber, source: LiveSource, append: Append) -> None:
        """Start with the segments in the checkpoint of the source.

        `worker`: what the live tasks of this worker share. `append`: appends an update to the task's log.
        """
        task, checkpoint = source.task, source.checkpoint
        self._source, self._append = source, append
        self._diarizer, self._metrics = worker.diarizer, worker.metrics
        self._early = EarlyText(worker.windows, task.options)
        language, windows = checkpoint.language, self._utterances()
        self._run = WindowPipeline(windows, self._early, None, task.options, language, rank=Rank.LIVE)
        self._redactor = Redactor(task, checkpoint, worker.engine)
        preview, publish = self._redactor.preview, worker.publish_partial
        self._partials = PartialPublisher(task, source, worker.windows, publish, worker.metrics, preview)
        self._turns = TurnPublisher(source, worker.publish_turn, preview) if task.turns else None
        voices = {label: voice for event in checkpoint.speaker_changes for label, voice in event.voices.items()}
        self._names = LiveNames(task.user_id, source, worker.diarizer.identification, self._name, voices)
        self._transcript = TaskTranscript(task, channels=None if source.channels == [None] else len(source.channels))
        self._transcript.resume(checkpoint)
        self._speakers = SpeakerHistory(self._transcript.segments, checkpoint, worker.metrics)
        self._reached = {channel: checkpoint.reached.get(channel, 0.0) for channel in source.channels}
        self._missing_until = 0.0  # missing audio before this time (seconds) is in an update already
        self._processed_seconds = 0.0  # as reported
        self._waiting: deque[_Utterance] = deque()
        self._marks: list[Mark] = []  # whose text is complete, but which are not published yet
        self._finalized = FrameOffset.parse(checkpoint.audio_offset).finalized  # marks before this frame are published

    async def run(self) -> None:
        """Transcribe the live audio until it ends, and publish partial results and the names of speakers.

        Raises:
            TaskError: The audio cannot be read, or the engine failed.
            FencedError: Another worker runs the task.
        """
        publishing = asyncio.create_task(self._partials.run(lambda: self._run.language))
        naming = [asyncio.create_task(self._names.run())] if self._source.task.identify else []
        try:
            async with aclosing(self._run.texts()) as items:
                async for item in items:
                    await self._take(item)
            await asyncio.gather(*naming)  # not cancelled: nobody would know whether its last event is stored
            if self._source.speakers is not None:
                await self._append(self._speakers.settle(self._source.seconds))
        finally:
            self._metrics.set_lag(self, None)
            await cancel_all([publishing, *naming])
            await self._early.close()
            if self._turns:
                await self._turns.close()

    async def diarize(self, recording: Recording) -> None:
        """Diarize the whole audio, each separate channel on its own, and add its speakers to the transcript.

        Raises:
            FencedError: Another worker runs the task.
        """
        find = partial(self._diarizer.turns, self._source.task, recording, self._transcript.channels)
        async with aclosing(BackgroundDiarization(find)) as search:
            async for progress in search.progress():
                await self._append(progress)
            await self._transcript.name_speakers(
                search, self._diarizer.identification, self._append, self._speakers.next_label
            )
        await self._names.publish(self._transcript.identified.voices or {})

    def result(self, model: Model) -> TranscriptionResult:
        """Build the task's result when the audio has ended."""
        self._transcript.untranscribed += self._source.missing
        duration = self._source.seconds
        return self._transcript.result(duration=duration, model=model, source=Source.LIVE, audio_sha256=None)

    async def _utterances(self) -> AsyncGenerator[StageAdvanced | Window, None]:
        """Yield utterances and progress of the source; start early transcriptions, and note which utterances wait."""
        async with aclosing(self._source.utterances(self._needs_open)) as items:
            async for item in items:
                if self._turns:
                    await self._turns.follow()
                if isinstance(item, ClosingUtterance):
                    text = self._early.start(item.window, self._run.language)
                    if self._turns:
                        self._turns.pause(item.window, text)
                    continue
                if isinstance(item, Mark):
                    (self._waiting[-1].marks if self._waiting else self._marks).append(item)
                    continue
                if isinstance(item, Window):
                    self._waiting.append(_Utterance(item.channel, item.end, self._source.spoken_at(item.end), []))
                self._metrics.set_lag(self, self._lag)
                yield item

    def _needs_open(self) -> bool:
        return self._partials.needs_open() or (self._turns is not None and self._turns.needs_open())

    async def _take(self, item: StageAdvanced | WindowText) -> None:
        """Append a text or progress to the task's log.

        After a minute without speech in a channel, also append an empty text, so that another worker that takes over
        does not process this minute again.
        """
        if isinstance(item, WindowText):
            self._measure(item)
            item = await self._redactor.live(item)
            await self._add(item)
            if self._turns:
                await self._turns.end(item)
            await self._publish_marks(item.channel, item.end)
        else:
            end = item.processed_seconds
            for channel, reached in self._reached.items():
                if end - reached >= SILENT_S:
                    await self._add_silence(channel, end)
            await self._publish_marks(self._source.channels[0], end)
            await self._append(self._progress(end, waits=self._source.waits))
        self._metrics.set_lag(self, self._lag)

    async def _publish_marks(self, channel: int | None, end: float) -> None:
        """Publish the marks that no text has published: append empty texts of a channel up to `end`, in seconds."""
        while self._marks:
            await self._add_silence(channel, max(end, self._reached[channel]))

    async def _add_silence(self, channel: int | None, end: float) -> None:
        await self._add(WindowText(segments=[], language=self._run.language, end=end, channel=channel))

    async def _add(self, text: WindowText) -> None:
        """Add a text to the transcript, and append it and what it changes to the task's log.

        Where frames were never stored, their audio is missing: such intervals, up to the end of the text, are added to
        the `untranscribed` intervals of the transcript.
        """
        self._reached[text.channel] = text.end
        speakers = self._source.speakers
        if speakers is not None:
            text = self._speakers.attribute(text, speakers)
            await self._append(SpeakerState(self._source.speaker_state))
        missing = [gap for gap in self._source.missing if self._missing_until <= gap.start and gap.end <= text.end]
        self._missing_until = max([self._missing_until, *(gap.end for gap in missing)])
        text = self._transcript.add(text.model_copy(update={"untranscribed": [*text.untranscribed, *missing]}))
        marks, self._marks = self._marks[:MAX_MARKS], self._marks[MAX_MARKS:]
        self._finalized = marks[-1].frame if marks else self._finalized
        offset = self._source.audio_offset(self._reached, self._finalized)
        await self._append(NewText(text, audio_offset=offset, finalized=tuple(mark.text for mark in marks)))
        changes = None if speakers is None else self._speakers.update(speakers, text.channel)
        if changes is not None:
            await self._append(changes)
        await self._append(self._progress(text.end))

    async def _name(self, voices: Mapping[str, SpeakerVoice]) -> None:
        await self._append(self._speakers.settle(voices=voices))

    def _progress(self, seconds: float, *, waits: bool = False) -> Progress:
        # In another channel, text may come earlier that ends later.
        self._processed_seconds = max(self._processed_seconds, seconds)
        speakers = self._source.speakers
        return Progress(
            Stage.TRANSCRIBING,
            0.0,
            self._processed_seconds,
            lag_seconds=self._lag,
            speaker_count=None if speakers is None else sum(len(own.labels) for own in speakers.values()),
            waits_for_audio=waits,
        )

    def _measure(self, text: WindowText) -> None:
        """Measure how long each utterance in `text` has waited for its text, and remove it from the waiting utterances.

        There may be several such utterances, because their texts may have been merged. Their marks are complete.
        """
        while self._waiting:
            utterance = self._waiting.popleft()
            self._marks += utterance.marks
            self._metrics.final_delay.observe(max(time.monotonic() - utterance.spoken_at, 0.0))
            if (utterance.channel, utterance.end) == (text.channel, text.end):
                return

    @property
    def _lag(self) -> float:
        """How many seconds of stored audio have no text yet, apart from utterances in progress."""
        behind = self._source.seconds - self._waiting[0].end if self._waiting else 0.0
        return self._source.waiting_seconds + max(behind, 0.0)

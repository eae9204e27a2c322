"""Transcribes live tasks utterance by utterance, and diarizes their audio at its end."""

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, field, replace
from functools import partial

from nats.aio.client import Client
from nats.errors import Error as NatsError
from natscribe.schemas import subjects
from natscribe.schemas.errors import ErrorCode
from natscribe.schemas.live import LiveTask, Partial
from natscribe.schemas.progress import Stage
from natscribe.schemas.transcription import Segment, Source, TranscriptionResult
from natscribe.schemas.voices import SpeakerVoice
from natscribe.schemas.windows import Window, WindowText
from natscribe.schemas.wire import Model

from app.cancellation import StopScope, cancel_all, drop_error
from app.engines.engine import Engine, run_job
from app.engines.messages import Load, Loaded, StageAdvanced
from app.engines.window_queue import Rank, WindowQueue
from app.errors import TransientError
from app.live.audio_recording import check_store, recording_of, store_audio
from app.live.early_transcription import EarlyTranscription
from app.live.frames import FrameReader
from app.live.names import LiveNames
from app.live.partials import PartialPublisher
from app.live.source import LiveSource
from app.live.speakers import SpeakerHistory, attribute_known, default_speaker, labels_in, next_number
from app.recordings.recording import Recording
from app.settings import Settings
from app.speech.diarizer import BackgroundDiarization, Diarizer
from app.speech.transcript import TaskTranscript
from app.speech.transcription_run import TranscriptionRun
from app.telemetry.live_metrics import LiveMetrics
from app.updates import (
    Append,
    Checkpoint,
    NewText,
    Progress,
    SpeakerChanges,
    SpeakerState,
    TaskUpdate,
    processed,
)
from app.voices.identification import Identification

SILENT_S = 60.0  # silence of a channel after which the checkpoint moves on without a text


@dataclass(frozen=True, slots=True)
class LiveTranscriber:
    """Transcribes live tasks with the engine, several at the same time.

    `engine`: detects utterances and speakers. `windows`: the queue in which utterances wait for this engine.
    `diarizer`: diarizes the whole audio of a task with `diarize` when the audio has ended. `_loads`: the running jobs
    that load models.
    """

    nats: Client
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
        with self.metrics.following() as behind:
            live = _LiveTranscript(source, append, self.metrics, behind)
            names = live.names(self.diarizer.identification)
            await self._transcribe(live, names)
        self.metrics.refused_frames.inc(frames.refused)
        if frames.size and (task.keep_audio or task.diarize):
            async with recording_of(frames, task.audio) as recording:
                if task.keep_audio:
                    live.transcript.audio_error = await store_audio(recording, task.task_id, self.settings, self.nats)
                if task.diarize and checkpoint.diarization_error is None:
                    await self._find_speakers(live, recording)
                    await names.publish(live.transcript.identified.voices or {})
        return await asyncio.to_thread(live.result, loaded.model)

    async def _load(self, task: LiveTask) -> Loaded:
        """Load the model of a task; loading goes on if the task is cancelled, because other tasks share the engine.

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

    async def _transcribe(self, live: "_LiveTranscript", names: LiveNames) -> None:
        """Transcribe the live audio until it ends, and publish partial results.

        `live`: has the source of the audio, and collects the transcript. `names`: identifies speakers as enrolled
        voices meanwhile.
        """
        task, source = live.task, live.source
        early = EarlyTranscription(self.windows, task.options)
        run = TranscriptionRun(live.windows(), early, None, task.options, source.checkpoint.language, rank=Rank.LIVE)
        source.on_closing = lambda window: early.start(window, run.language)
        partials = PartialPublisher(task, source, self.windows, self._publish, self.metrics)
        source.needs_open = partials.needs_open
        publishing, naming = asyncio.create_task(partials.run()), asyncio.create_task(names.run())
        try:
            async with aclosing(run.texts()) as items:
                async for item in items:
                    partials.language = run.language
                    for update in live.updates(item):
                        await live.append(update)
            names.ended = True
            await naming  # not cancelled: nobody would know whether its last event is stored
            if source.speakers is not None:
                await live.change(SpeakerChanges(settled_until=source.seconds))
        finally:
            await cancel_all([publishing, naming])
            await early.close()
        live.transcript.untranscribed += source.missing

    async def _find_speakers(self, live: "_LiveTranscript", recording: Recording) -> None:
        """Diarize the audio of the task, each separate channel on its own, and add its speakers to the transcript."""
        find = partial(self.diarizer.turns, live.task, recording, live.transcript.channels)
        async with aclosing(BackgroundDiarization(find)) as search:
            async for update in search.progress():
                await live.append(update)
            await live.transcript.name_speakers(search, self.diarizer.identification, live.append)

    async def _publish(self, partial: Partial) -> None:
        subject, body = subjects.partials(partial.task_id), partial.model_dump_json().encode()
        with suppress(NatsError):  # nobody receives partial results during an outage
            await self.nats.publish(subject, body, headers={"content-type": "application/json"})


class _LiveTranscript:
    """The transcript of a live task so far, and its lag: how many seconds of stored audio have no text yet."""

    def __init__(
        self, source: LiveSource, append: Append, metrics: LiveMetrics, report_lag: Callable[[float], None]
    ) -> None:
        """Start with the segments in the checkpoint of the source.

        `append`: appends an update to the task's log. `report_lag`: called with the lag (the seconds of stored audio
        that have no text yet) when audio or text has arrived.
        """
        self.task, checkpoint = source.task, source.checkpoint
        self.source = source
        self.append = append
        self._metrics = metrics
        self._labels = {segment.speaker for segment in checkpoint.segments if segment.speaker}
        self._report_lag = report_lag
        self._language = checkpoint.language
        self._reached = {channel: checkpoint.reached.get(channel, 0.0) for channel in source.channels}
        self._missing_until = 0.0  # missing audio before this time (seconds) is in an update already
        self.transcript = TaskTranscript(self.task)
        self.transcript.resume(checkpoint)
        self.transcript.next_label = next_number(labels_in(checkpoint))
        self._speakers = SpeakerHistory()
        self._speakers.resume(self.transcript.segments, checkpoint.speaker_changes)
        self.transcript.channels = len(source.channels) if source.channels != [None] else None
        self._waiting: deque[_Utterance] = deque()  # utterances without text
        self._processed: dict[Stage, float] = {}  # seconds, as reported

    async def windows(self) -> AsyncGenerator[StageAdvanced | Window, None]:
        """Yield the utterances and the progress of the `LiveSource`; remember which utterances wait for their text."""
        async with aclosing(self.source.windows()) as items:
            async for item in items:
                if isinstance(item, Window):
                    self._waiting.append(_Utterance(item.channel, item.end, self.source.spoken_at(item.end)))
                self._report_lag(self._lag)
                yield item

    def updates(self, item: StageAdvanced | WindowText) -> Iterator[TaskUpdate]:
        """Convert an item of the `TranscriptionRun`, i.e. a text or a progress report, to updates of the task's log.

        After a minute without speech in a channel, also yield an update with an empty text, so that another worker that
        takes over does not process this minute again.
        """
        if isinstance(item, WindowText):
            self._complete(item)
            yield from self._with(item)
        else:
            end = item.processed_seconds
            for channel, reached in self._reached.items():
                if end - reached >= SILENT_S:
                    yield from self._with(WindowText(segments=[], language=self._language, end=end, channel=channel))
            yield replace(self._progress(item.stage, end), waits_for_audio=self.source.waits)
        self._report_lag(self._lag)

    def _with(self, text: WindowText) -> Iterator[TaskUpdate]:
        """Add a text to the transcript, and yield the updates that append it and what it changes to the task's log.

        Where frames were never stored, their audio is missing: such intervals, up to the end of the text, are added to
        the `untranscribed` intervals of the transcript.
        """
        self._language, self._reached[text.channel] = text.language, text.end
        speakers = self.source.speakers
        if speakers is not None:
            own = speakers[text.channel]
            labels = [label for channel in speakers.values() for label in (*channel.labels, *channel.merged)]
            self.transcript.next_label = max(self.transcript.next_label, next_number(labels))
            segments = attribute_known(text.segments, own.turns, default_speaker(text.channel, own))
            text = text.model_copy(update={"segments": segments})
        missing = [gap for gap in self.source.missing if self._missing_until <= gap.start and gap.end <= text.end]
        self._missing_until = max([self._missing_until, *(gap.end for gap in missing)])
        added = self.transcript.add(text.model_copy(update={"untranscribed": [*text.untranscribed, *missing]}))
        if speakers is not None:
            yield SpeakerState(self.source.speaker_state)
        yield NewText(added, audio_offset=self.source.audio_offset(self._reached))
        if speakers is not None:
            changes = self._speakers.update(speakers, text.channel)
            self._count_speakers(added.segments, changes)
            if changes is not None:
                yield changes
        yield self._progress(Stage.TRANSCRIBING, text.end)

    def _count_speakers(self, segments: Sequence[Segment], changes: SpeakerChanges | None) -> None:
        new = {segment.speaker for segment in segments if segment.speaker} - self._labels
        self._labels |= new
        self._metrics.speakers.inc(len(new))
        self._metrics.relabelled_seconds.inc(changes.relabelled_seconds if changes else 0.0)

    def names(self, identification: Identification) -> LiveNames:
        """Create the `LiveNames` that identifies the speakers among the user's enrolled voices while the task runs."""

        async def report(voices: Mapping[str, SpeakerVoice]) -> None:
            await self.change(SpeakerChanges(self._speakers.settled_until, voices=voices))

        names = LiveNames(self.task.user_id, self.source, identification, report, ended=not self.task.identify)
        names.resume(self.source.checkpoint)
        return names

    async def change(self, changes: SpeakerChanges) -> None:
        """Append changes of the speakers of earlier text to the task's log."""
        self._speakers.settled_until = changes.settled_until
        await self.append(changes)

    def _progress(self, stage: Stage, seconds: float) -> Progress:
        # In another channel, text may come earlier that ends later.
        self._processed[stage] = max(self._processed.get(stage, 0.0), seconds)
        speakers = self.source.speakers
        count = None if speakers is None else sum(len(own.labels) for own in speakers.values())
        return replace(processed(stage, self._processed[stage], None), lag_seconds=self._lag, speaker_count=count)

    def result(self, model: Model) -> TranscriptionResult:
        """Build the task's result when the audio has ended."""
        seconds = self.source.seconds
        return self.transcript.result(duration=seconds, model=model, source=Source.LIVE, audio_sha256=None)

    def _complete(self, text: WindowText) -> None:
        """Measure how long each utterance in `text` has waited for its text, and remove it from the waiting utterances.

        There may be several such utterances, because their texts may have been merged.
        """
        while self._waiting:
            utterance = self._waiting.popleft()
            self._metrics.final_delay.observe(max(time.monotonic() - utterance.spoken_at, 0.0))
            if (utterance.channel, utterance.end) == (text.channel, text.end):
                return

    @property
    def _lag(self) -> float:
        """How many seconds of stored audio have no text yet, apart from utterances in progress."""
        behind = self.source.seconds - self._waiting[0].end if self._waiting else 0.0
        return self.source.waiting_seconds + max(behind, 0.0)


@dataclass(frozen=True, slots=True)
class _Utterance:
    """An utterance that waits for its text.

    `end`: where it ends, in seconds from the start of the audio. `spoken_at`: when that was, on the monotonic clock.
    """

    channel: int | None
    end: float
    spoken_at: float

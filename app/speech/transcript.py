"""The transcript of a task: its segments so far, including those of earlier attempts, and the result made of them."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count
from operator import attrgetter, itemgetter

from natscribe.schemas.diarization import Turn
from natscribe.schemas.errors import ErrorDetail
from natscribe.schemas.live import LiveTask
from natscribe.schemas.redaction import SpokenEntity
from natscribe.schemas.transcription import Interval, Segment, Source, TranscriptionResult, TranscriptionTask
from natscribe.schemas.wire import Model

from app.engines.messages import DiarizationDone
from app.engines.windows import WindowText
from app.speech.attribution import attribute, labels_like
from app.speech.diarizer import BackgroundDiarization
from app.speech.redaction import warnings_of
from app.speech.speaker_labels import channel_of, relabelled, speaker_label
from app.speech.speech_gaps import add_speech_gaps, merge_intervals
from app.speech.updates import Append, Checkpoint
from app.speech.voices.identification import NOT_REQUESTED, Identification, IdentificationOutcome


@dataclass(eq=False, slots=True)
class TaskTranscript:
    """Collects what the result of a task contains: segments, gaps (speech without words), speakers, and partial errors.

    `untranscribed`: the gaps. `entities`: what is replaced. `channels`: the number of channels if each is transcribed
    on its own, None if they are mixed. `identified`: the outcome of speaker identification.
    """

    task: TranscriptionTask | LiveTask
    segments: list[Segment] = field(default_factory=list)
    untranscribed: list[Interval] = field(default_factory=list)
    entities: list[SpokenEntity] = field(default_factory=list)
    channels: int | None = None
    identified: IdentificationOutcome = NOT_REQUESTED
    _speakers: int | None = None
    _diarization_error: ErrorDetail | None = None

    def resume(self, checkpoint: Checkpoint) -> None:
        """Start with the segments and gaps that earlier attempts have stored in the checkpoint."""
        self.segments, self.untranscribed = list(checkpoint.segments), list(checkpoint.untranscribed)
        self.entities = list(checkpoint.entities)
        self._diarization_error = checkpoint.diarization_error if self.task.diarize else None

    def add(self, text: WindowText) -> WindowText:
        """Add the text of one or more windows of speech; return it in the form that is appended to the task's log.

        That form has no words if the task needs none, and names the channel if each channel is transcribed on its own.
        """
        segments = [self._for_task(segment, text.channel) for segment in text.segments]
        channel = text.channel if self.channels is not None else None
        entities = [entity.model_copy(update={"channel": channel}) for entity in text.entities]
        text = text.model_copy(update={"segments": segments, "entities": entities})
        self.segments += text.segments
        self.entities += entities
        self.untranscribed += text.untranscribed
        return text

    async def name_speakers(
        self, diarization: BackgroundDiarization, identification: Identification, append: Append, next_label: int = 0
    ) -> DiarizationDone | None:
        """Attribute words to the speakers of a completed diarization, and compare these speakers with enrolled voices.

        `next_label`: the number of the first speaker label that nobody has had in a live task. Return the diarization,
        but with the labels that the speakers have in the transcript; None if it has failed.

        Raises:
            FencedError: Another worker runs the task.
        """
        result = await asyncio.to_thread(self.add_speakers, diarization, next_label)
        if result is not None:
            # With separate channels, only those that have text are speakers.
            speech = self.segments if self.channels is not None else result.turns
            labels = sorted({part.speaker for part in speech if part.speaker is not None})
            self.identified = await identification.run(self.task, result.embedded, labels, append)
        return result

    def add_speakers(self, diarization: BackgroundDiarization, next_label: int = 0) -> DiarizationDone | None:
        """Assign speakers to words after the diarization, and return the diarization with the final speaker labels.

        If the diarization has failed, store its error for the result, and return None; a recording with separate
        channels then has one speaker per channel. Otherwise, the final labels number the speakers in the order of their
        first words; speakers without words come last. In a live task, however, speakers keep the labels that are
        already published; in a recording with separate channels, they keep the labels of the diarization.
        """
        self._diarization_error = diarization.error
        if diarization.result is None:
            self._speakers = len({segment.speaker for segment in self.segments} - {None}) or None
            return None
        turns = diarization.result.turns
        if self.channels is not None:
            return relabelled(diarization.result, self._add_speakers_of_channels(turns, self.channels, next_label))
        segments = attribute(self.segments, turns)
        order = [*(segment.speaker or "" for segment in segments), *(turn.speaker for turn in turns)]
        labels = labels_like(self.segments, segments, dict.fromkeys(filter(None, order)), count(next_label))
        self.segments = [part.model_copy(update={"speaker": labels.get(part.speaker or "")}) for part in segments]
        self.untranscribed = add_speech_gaps(self.untranscribed, segments, turns)
        self._speakers = len(labels)
        return relabelled(diarization.result, labels)

    def result(
        self, *, duration: float, model: Model, source: Source, audio_sha256: str | None, cached: bool = False
    ) -> TranscriptionResult:
        """Build the task's result from the transcript.

        `duration`: of the audio, in seconds. `audio_sha256`: of the recording; None in a live task. `cached`: whether
        all text, and the speakers if requested, came from the cache.
        """
        segments, speakers = self.segments, self._speakers
        if not self.task.word_timestamps:
            segments = [segment.model_copy(update={"words": None}) for segment in segments]
        identified, diarization_error = self.identified, self._diarization_error
        if self.channels is not None:
            segments = sorted(segments, key=lambda segment: segment.start)
            speakers = len({segment.speaker for segment in segments} - {None})
            if diarization_error is not None and self.task.identify:
                identified = IdentificationOutcome(error=diarization_error)
        languages = _languages(segments)
        return TranscriptionResult(
            task_id=self.task.task_id,
            audio_file_id=self.task.audio_file_id,
            user_id=self.task.user_id,
            source=source,
            text=" ".join(segment.text for segment in segments),
            language=next(iter(languages), None),
            languages=languages,
            duration=duration,
            segments=segments,
            entities=sorted(self.entities, key=attrgetter("start")),
            untranscribed=merge_intervals(self.untranscribed),  # gaps of two channels may overlap
            channels=self.channels,
            speakers=speakers,
            diarization_error=diarization_error,
            voices=identified.voices,
            voices_error=identified.error,
            model=model,
            audio_sha256=audio_sha256,
            warnings=warnings_of(self.task, languages),
            cached=cached,
            created_at=datetime.now(UTC),
        )

    def _add_speakers_of_channels(self, turns: Sequence[Turn], channels: int, next_label: int) -> dict[str, str]:
        """Attribute the segments of each channel to the speakers that `turns` has in this channel.

        Without turns in a channel, its segments do not change, nor if a live task has published more speakers in it
        than `turns` has: unlike live diarization, that of a recording may confuse crosstalk with the channel's person.
        Return the label in the transcript for each used label in `turns`. They differ only in a live task, where
        speakers keep the labels with which their words were published.
        """
        segments, labels, is_live = list[Segment](), dict[str, str](), isinstance(self.task, LiveTask)
        for channel in range(channels):
            before = [segment for segment in self.segments if segment.channel == channel]
            own = [turn for turn in turns if channel_of(turn.speaker, channels) == channel]
            if is_live and len({turn.speaker for turn in own}) < len({part.speaker for part in before} - {None}):
                own = []
            labels |= {turn.speaker: turn.speaker for turn in own}
            after = attribute(before, own) if own else before
            if own and is_live:
                numbers = count(next_label + (channel - next_label) % channels, channels)
                labels |= labels_like(before, after, dict.fromkeys(turn.speaker for turn in own), numbers)
            segments += [
                part.model_copy(update={"speaker": labels.get(part.speaker or "", part.speaker)}) for part in after
            ]
        self.segments = segments
        return labels

    def _for_task(self, segment: Segment, channel: int | None) -> Segment:
        """Return the segment as the task needs it: without words, unless the task requests words or diarization.

        `channel`: the channel to set in the segment; None: the channels are mixed. The label of a separate channel is
        also set as the segment's speaker, except in a live task with diarization, whose segments already have their
        speakers.
        """
        changes: dict[str, object] = {}
        if not (self.task.word_timestamps or self.task.diarize):
            changes["words"] = None
        if channel is not None:
            changes["channel"] = channel
            if not (isinstance(self.task, LiveTask) and self.task.diarize):
                changes["speaker"] = speaker_label(channel)
        return segment.model_copy(update=changes)


def _languages(segments: Sequence[Segment]) -> dict[str, float]:
    """Return the total duration in seconds of the segments in each language, the most spoken language first."""
    seconds: dict[str, float] = {}
    for segment in segments:
        if segment.language is not None:
            seconds[segment.language] = seconds.get(segment.language, 0.0) + segment.end - segment.start
    return dict(sorted(seconds.items(), key=itemgetter(1), reverse=True))

"""The transcript of a task: the segments so far, with those of the checkpoint, and the result made of them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from natscribe.schemas.errors import ErrorDetail
from natscribe.schemas.live import LiveTask
from natscribe.schemas.transcription import Interval, Segment, Source, TranscriptionResult, TranscriptionTask
from natscribe.schemas.windows import WindowText
from natscribe.schemas.wire import Model

from app.engines.messages import DiarizationDone
from app.speech.attribution import attribute
from app.speech.diarizer import BackgroundDiarization, relabelled, speaker_label
from app.speech.speech_gaps import add_speech_gaps, merge_intervals
from app.updates import Checkpoint
from app.voices.identification import NOT_REQUESTED, Identified


@dataclass(eq=False, slots=True)
class TaskTranscript:
    """The segments and gaps of a task so far, with what else its result needs.

    `channels` is how many channels are transcribed each on its own, null if they are mixed.
    """

    task: TranscriptionTask | LiveTask
    segments: list[Segment] = field(default_factory=list)
    untranscribed: list[Interval] = field(default_factory=list)
    channels: int | None = None
    identified: Identified = NOT_REQUESTED
    audio_error: ErrorDetail | None = None  # why the sound of a live task is not kept
    _speakers: int | None = None
    _diarization_error: ErrorDetail | None = None

    def go_on_from(self, checkpoint: Checkpoint) -> None:
        """Begin with the segments and gaps of the checkpoint, which earlier attempts have found."""
        self.segments, self.untranscribed = list(checkpoint.segments), list(checkpoint.untranscribed)
        self._diarization_error = checkpoint.diarization_error if self.task.diarize else None

    def add(self, text: WindowText) -> WindowText:
        """Add a text; return it as it is to be appended: without words if the task needs none, and with the channel."""
        text = text.model_copy(update={"segments": [self._wanted(segment, text.channel) for segment in text.segments]})
        self.segments += text.segments
        self.untranscribed += text.untranscribed
        return text

    def labels(self, found: DiarizationDone) -> list[str]:
        """Return the names of the speakers: of those in `found.turns`, or of the separate channels that have text."""
        speaking = self.segments if self.channels is not None else found.turns
        return sorted({each.speaker for each in speaking if each.speaker is not None})

    def add_speakers(self, search: BackgroundDiarization) -> DiarizationDone | None:
        """Attribute the words to the speakers that a search has found, or note the error of a failed search.

        Return what was found, with the speakers numbered in the order of their first words; speakers without words come
        last. With separate channels, each channel is a speaker already: then the search was for voices alone.
        """
        if self.channels is not None:
            self.identified = Identified(error=search.error) if search.error is not None else self.identified
            return search.found
        self._diarization_error = search.error
        if search.found is None:
            return None
        turns = search.found.turns
        segments = attribute(self.segments, turns)
        order = [*(segment.speaker or "" for segment in segments), *(turn.speaker for turn in turns)]
        labels = {speaker: speaker_label(number) for number, speaker in enumerate(dict.fromkeys(filter(None, order)))}
        self.segments = [each.model_copy(update={"speaker": labels.get(each.speaker or "")}) for each in segments]
        self.untranscribed = add_speech_gaps(self.untranscribed, segments, turns)
        self._speakers = len(labels)
        return relabelled(search.found, labels)

    def result(
        self, *, duration: float, model: Model, source: Source, audio_sha256: str | None, cached: bool = False
    ) -> TranscriptionResult:
        """Build the task's result."""
        segments, speakers = self.segments, self._speakers
        if not self.task.word_timestamps:
            segments = [segment.model_copy(update={"words": None}) for segment in segments]
        identified, diarization_error = self.identified, self._diarization_error
        if self.channels is not None:
            segments = sorted(segments, key=lambda segment: segment.start)
            speakers = len({segment.channel for segment in segments})
            if diarization_error is not None:  # the speakers are known: what was given up is the search for voices
                identified, diarization_error = Identified(error=diarization_error), None
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
            untranscribed=merge_intervals(
                self.untranscribed
            ),  # two channels may have speech without text at the same time
            channels=self.channels,
            speakers=speakers,
            diarization_error=diarization_error,
            voices=identified.voices,
            voices_error=identified.error,
            audio_error=self.audio_error,
            model=model,
            audio_sha256=audio_sha256,
            cached=cached,
            created_at=datetime.now(UTC),
        )

    def _wanted(self, segment: Segment, channel: int | None) -> Segment:
        """Return the segment as the task needs it: without words if the task asks for none and for no speakers.

        `channel`: a channel that is transcribed on its own, which the segment gets as its channel and speaker.
        """
        changed: dict[str, object] = {}
        if not (self.task.word_timestamps or self.task.diarize):
            changed["words"] = None
        if channel is not None:
            changed |= {"channel": channel, "speaker": speaker_label(channel)}
        return segment.model_copy(update=changed)


def _languages(segments: Sequence[Segment]) -> dict[str, float]:
    """Return the seconds of each language in the segments, the most spoken one first."""
    seconds: dict[str, float] = {}
    for segment in segments:
        if segment.language is not None:
            seconds[segment.language] = seconds.get(segment.language, 0.0) + segment.end - segment.start
    return {each: seconds[each] for each in sorted(seconds, key=seconds.__getitem__, reverse=True)}

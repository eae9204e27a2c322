"""What the mock finds in a recording: copies of the segment and the turn in the examples of the AsyncAPI document."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TypeVar

from natscribe.schemas import examples
from natscribe.schemas.diarization import DiarizationTask, Turn
from natscribe.schemas.kinds import Result
from natscribe.schemas.live import LiveTask
from natscribe.schemas.tasks import SpeakerBounds
from natscribe.schemas.transcription import Segment, TranscriptionTask, Word
from natscribe.schemas.wire import EXAMPLE_SHA256

BATCHES = 3  # segments events of a transcript, and equal parts of its time
_LARGE = 60  # segments of a large transcript
_SECONDS_BETWEEN = examples.RESULT.duration / BATCHES  # from the start of one segment to the start of the next
_USUAL_SPEAKERS = 2

Timed = TypeVar("Timed", Segment, Turn, Word)


@dataclass(frozen=True)
class Content:
    """What the mock finds in the recording of one task."""

    sent: TranscriptionTask | DiarizationTask
    larger_than: int = 0  # bytes: the result is larger

    @property
    def count(self) -> int:
        """The number of segments, or of turns."""
        return _LARGE if self.larger_than else BATCHES

    @property
    def duration(self) -> float:
        """Seconds of the recording."""
        return self.count * _SECONDS_BETWEEN

    def batch(self, sent: TranscriptionTask, number: int) -> list[Segment]:
        """Return the segments of one of the BATCHES segments events; `number` counts them from 0."""
        numbers = range(self.count * number // BATCHES, self.count * (number + 1) // BATCHES)
        return [self._segment(sent, each, with_text=sent.word_timestamps or sent.diarize) for each in numbers]

    def result(self, sha256: str | None) -> Result:
        """Return the result of the task; `sha256` is that of its recording, None if the mock cannot read it."""
        sent = self.sent
        fields: dict[str, object] = {
            "task_id": sent.task_id,
            "audio_file_id": sent.audio_file_id,
            "user_id": sent.user_id,
            "duration": self.duration,
            "audio_sha256": sha256 or EXAMPLE_SHA256,
            "created_at": datetime.now(timezone.utc),
        }
        if isinstance(sent, TranscriptionTask):
            found = [self._segment(sent, number, with_text=sent.word_timestamps) for number in range(self.count)]
            return examples.RESULT.model_copy(update=fields | transcript(sent, found))
        return examples.TURNS.model_copy(update=fields | self._turns(sent))

    def _turns(self, sent: DiarizationTask) -> dict[str, object]:
        example = examples.TURNS.segments[0]
        found = [
            moved(example, number * _SECONDS_BETWEEN).model_copy(update={"speaker": _speaker(sent, number)})
            for number in range(self.count)
        ]
        return {"segments": found, "speakers": _speakers(found)}

    def _segment(self, sent: TranscriptionTask, number: int, *, with_text: bool) -> Segment:
        example, by = examples.SEGMENT, number * _SECONDS_BETWEEN
        repeats = self.larger_than // (2 * len(example.text) * self.count) + 1  # a result has its text twice
        fields = {
            "text": " ".join([example.text] * repeats),
            "words": [moved(word, by) for word in example.words or []] if with_text else None,
            "language": sent.language or example.language,
        }
        return moved(example, by).model_copy(update=fields)


def transcript(sent: TranscriptionTask | LiveTask, found: Sequence[Segment]) -> dict[str, object]:
    """Return the fields of a result that hold the text."""
    if sent.diarize:
        found = [each.model_copy(update={"speaker": _speaker(sent, number)}) for number, each in enumerate(found)]
    language = sent.language or examples.SEGMENT.language
    return {
        "segments": list(found),
        "text": " ".join(segment.text for segment in found),
        "language": language,
        "languages": {language: round(sum(segment.end - segment.start for segment in found), 3)},
        "speakers": _speakers(found) if sent.diarize else None,
    }


def moved(example: Timed, by: float) -> Timed:
    """Return the example `by` seconds later."""
    return example.model_copy(update={"start": round(example.start + by, 3), "end": round(example.end + by, 3)})


def _speaker(sent: SpeakerBounds, number: int) -> str:
    speakers = max(sent.min_speakers or 1, min(_USUAL_SPEAKERS, sent.max_speakers or _USUAL_SPEAKERS))
    return f"SPEAKER_{number % speakers:02}"


def _speakers(found: Sequence[Segment | Turn]) -> int:
    return len({each.speaker for each in found})

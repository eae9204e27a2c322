"""Generates the simulated results of recordings: shifted copies of the AsyncAPI document's example segment and turn."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TypeVar

from natscribe.schemas import examples
from natscribe.schemas.diarization import DiarizationTask, Turn
from natscribe.schemas.kinds import Result, Task
from natscribe.schemas.live import LiveTask
from natscribe.schemas.task_fields import SpeakerBounds
from natscribe.schemas.transcription import Segment, TranscriptionTask, Word
from natscribe.schemas.wire import EXAMPLE_SHA256

BATCHES = 3  # segments events of a transcript, for equal parts of its time, with one segment each
DURATION_S = examples.RESULT.duration  # of each recording
_INTERVAL_S = DURATION_S / BATCHES  # from the start of a segment to the start of the next
_USUAL_SPEAKERS = 2

Timed = TypeVar("Timed", Segment, Turn, Word)


@dataclass(frozen=True)
class Content:
    """The simulated content of the recording of the task `sent`, from which segments and the result are generated.

    `larger_than`: a number of bytes that the result has to exceed; 0: a short result.
    """

    sent: TranscriptionTask | DiarizationTask
    larger_than: int = 0  # bytes that the result exceeds

    def segment(self, sent: TranscriptionTask, number: int, *, with_words: bool) -> Segment:
        """Return the segment with this `number`, from 0 to BATCHES - 1, of the transcript for the task `sent`.

        `with_words`: whether the segment has the times of its words.
        """
        example, by = examples.SEGMENT, number * _INTERVAL_S
        repeats = self.larger_than // (2 * len(example.text) * BATCHES) + 1  # a result has its text twice
        words = [moved(word, by) for word in example.words or ()] if with_words else None
        fields = {"text": " ".join([example.text] * repeats), "language": sent.language or example.language}
        return moved(example, by).model_copy(update=fields | {"words": words})

    def result(self, sha256: str | None) -> Result:
        """Return the simulated result of the task.

        `sha256`: the SHA-256 of the task's recording; None: the mock cannot read the recording, and the result contains
        an example value.
        """
        sent, numbers = self.sent, range(BATCHES)
        fields = result_fields(sent, DURATION_S, sha256 or EXAMPLE_SHA256)
        if isinstance(sent, TranscriptionTask):
            segments = [self.segment(sent, number, with_words=sent.word_timestamps) for number in numbers]
            return examples.RESULT.model_copy(update=fields | transcript(sent, segments))
        turns = with_speakers([moved(examples.TURNS.segments[0], number * _INTERVAL_S) for number in numbers], sent)
        return examples.TURNS.model_copy(update=fields | {"segments": turns, "speakers": _speaker_count(turns)})


def result_fields(sent: Task, duration: float, sha256: str | None) -> dict[str, object]:
    """Return the fields that every result has, by name: its ids, `duration` (seconds), SHA-256 and time of creation."""
    return {
        "task_id": sent.task_id,
        "audio_file_id": sent.audio_file_id,
        "user_id": sent.user_id,
        "duration": duration,
        "audio_sha256": sha256,
        "created_at": datetime.now(timezone.utc),
    }


def transcript(sent: TranscriptionTask | LiveTask, segments: list[Segment]) -> dict[str, object]:
    """Return the fields of a result that depend on its segments, by name.

    They are the segments, with speakers if requested, the text, the languages, and the number of speakers.
    """
    if sent.diarize:
        segments = with_speakers(segments, sent)
    language = sent.language or examples.SEGMENT.language
    return {
        "segments": segments,
        "text": " ".join(segment.text for segment in segments),
        "language": language,
        "languages": {language: round(sum(segment.end - segment.start for segment in segments), 3)},
        "speakers": _speaker_count(segments) if sent.diarize else None,
    }


def moved(example: Timed, by: float) -> Timed:
    """Return a copy of a segment, turn or word that starts and ends `by` seconds later."""
    return example.model_copy(update={"start": round(example.start + by, 3), "end": round(example.end + by, 3)})


def with_speakers(spoken: Sequence[Timed], bounds: SpeakerBounds, first: int = 0) -> list[Timed]:
    """Return copies of segments or turns with alternating speakers: two, unless `bounds` require more or fewer.

    `first`: the index of the first item of `spoken` among all items of the recording, from 0: with it, the speakers
    continue to alternate in a later part.
    """
    count = max(bounds.min_speakers or 1, min(_USUAL_SPEAKERS, bounds.max_speakers or _USUAL_SPEAKERS))
    return [item.model_copy(update={"speaker": f"SPEAKER_{n % count:02}"}) for n, item in enumerate(spoken, first)]


def _speaker_count(spoken: Sequence[Segment] | Sequence[Turn]) -> int:
    return len({item.speaker for item in spoken})

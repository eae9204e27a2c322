"""Writes the turns of speakers as RTTM, which the scoring tools of NIST read."""

from natscribe.formats import FormatUnavailableError, Options
from natscribe.schemas.kinds import Result
from natscribe.schemas.transcription import TranscriptionResult


def write(result: Result, _: Options) -> str:
    """Return a line for each turn, or each segment with a speaker. Speakers have their labels, not their names.

    Raises:
        FormatUnavailableError: The transcript has no speakers.
    """
    if isinstance(result, TranscriptionResult) and result.speakers is None:
        message = "The transcript has no speakers to write as rttm: transcribe with diarize, or ask for another format."
        raise FormatUnavailableError(message)
    return "".join(
        f"SPEAKER {result.task_id} 1 {s.start:.3f} {s.end - s.start:.3f} <NA> <NA> {s.speaker} <NA> <NA>\n"
        for s in result.segments
        if s.speaker
    )

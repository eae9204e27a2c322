"""Converts the speaker turns of a result into RTTM, the format that NIST's scoring tools read."""

from natscribe.formats import FormatUnavailableError, Options
from natscribe.schemas.kinds import Result
from natscribe.schemas.transcription import TranscriptionResult


def write(result: Result, _: Options) -> str:
    """Return an RTTM line for each speaker turn, or for each segment of a transcript that has a speaker.

    The line has the label of the speaker (`SPEAKER_00`), not the name.

    Raises:
        FormatUnavailableError: The result is a transcript without speakers.
    """
    if isinstance(result, TranscriptionResult) and result.speakers is None:
        message = "The transcript has no speakers to write as rttm: transcribe with diarize, or request another format."
        raise FormatUnavailableError(message)
    return "".join(
        f"SPEAKER {result.task_id} 1 {s.start:.3f} {s.end - s.start:.3f} <NA> <NA> {s.speaker} <NA> <NA>\n"
        for s in result.segments
        if s.speaker
    )

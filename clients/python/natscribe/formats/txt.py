"""Converts a transcript into plain text, one line for each segment."""

from natscribe.formats import Options, with_names
from natscribe.schemas.transcription import TranscriptionResult


def write(result: TranscriptionResult, _: Options) -> str:
    """Return the text of all segments, each preceded by its speaker if the transcript has speakers."""
    segments = with_names(result).segments
    return "".join(f"{s.speaker}: {s.text}\n" if s.speaker else f"{s.text}\n" for s in segments)

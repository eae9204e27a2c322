"""Converts a transcript into SubRip subtitles."""

from natscribe.formats import Options, with_names
from natscribe.schemas.transcription import TranscriptionResult
from natscribe.subtitles import Cue, cues
from natscribe.subtitles.writing import to_string


def write(result: TranscriptionResult, options: Options) -> str:
    """Return a transcript as an SRT file; the names of speakers are part of the subtitles' text."""
    return to_string(cues(with_names(result).segments, options.limits, with_names=True), _text, "srt")


def _text(cue: Cue) -> str:
    return "\n".join(cue.lines)

"""Converts a transcript into WebVTT subtitles."""

from natscribe.formats import Options, with_names
from natscribe.schemas.transcription import TranscriptionResult
from natscribe.subtitles import Cue, cues
from natscribe.subtitles.writing import to_string

_ESCAPES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})


def write(result: TranscriptionResult, options: Options) -> str:
    """Return a transcript as a WebVTT file, in which voice spans (`<v NAME>`) mark the speakers."""
    return to_string(cues(with_names(result).segments, options.limits, with_names=False), _text, "vtt")


def _text(cue: Cue) -> str:
    text = "\n".join(cue.lines).translate(_ESCAPES)
    return f"<v {cue.speaker.translate(_ESCAPES)}>{text}" if cue.speaker else text

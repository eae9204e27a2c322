"""Writes segments as SRT or WebVTT."""

from collections.abc import Callable, Iterable

import pysubs2

from natscribe.schemas.requests import SubtitleLimits
from natscribe.schemas.transcription import Segment
from natscribe.subtitles import Cue, cues

_BACKSLASH = "\ue000"  # replaces backslashes while pysubs2 writes, which takes some backslashes for line breaks
_VTT_ESCAPES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}


def srt(segments: Iterable[Segment], limits: SubtitleLimits) -> str:
    """Write segments as SRT; names of speakers are part of the text."""
    return _written(cues(segments, limits, with_names=True), _srt_text, "srt")


def vtt(segments: Iterable[Segment], limits: SubtitleLimits) -> str:
    """Write segments as WebVTT, which has a mark of its own for the speaker of a cue."""
    return _written(cues(segments, limits, with_names=False), _vtt_text, "vtt")


def _written(shown: Iterable[Cue], text: Callable[[Cue], str], fmt: str) -> str:
    subtitles = pysubs2.SSAFile()
    subtitles.events = [
        pysubs2.SSAEvent(
            start=pysubs2.make_time(s=cue.start),
            end=pysubs2.make_time(s=cue.end),
            text=text(cue).replace("\\", _BACKSLASH),
        )
        for cue in shown
    ]
    written = subtitles.to_string(fmt, keep_ssa_tags=True)  # braces are text, not formatting
    return written.replace(_BACKSLASH, "\\")


def _srt_text(cue: Cue) -> str:
    return "\n".join(cue.lines)


def _vtt_text(cue: Cue) -> str:
    text = _escaped("\n".join(cue.lines))
    return f"<v {_escaped(cue.speaker)}>{text}" if cue.speaker else text


def _escaped(text: str) -> str:
    return "".join(_VTT_ESCAPES.get(character, character) for character in text)

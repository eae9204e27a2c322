"""Converts cues into subtitle files with pysubs2."""

from collections.abc import Callable, Iterable

import pysubs2

from natscribe.subtitles import Cue

_BACKSLASH = "\ue000"  # replaces backslashes while pysubs2 writes: it takes some backslashes for line breaks


def to_string(cues: Iterable[Cue], text_of: Callable[[Cue], str], subtitle_format: str) -> str:
    """Return a subtitle file with these cues.

    `text_of`: returns the text of a cue in the syntax of the format. `subtitle_format`: "srt" or "vtt".
    """
    subtitles = pysubs2.SSAFile()
    subtitles.events = [
        pysubs2.SSAEvent(
            start=pysubs2.make_time(s=cue.start),
            end=pysubs2.make_time(s=cue.end),
            text=text_of(cue).replace("\\", _BACKSLASH),
        )
        for cue in cues
    ]
    written = subtitles.to_string(subtitle_format, keep_ssa_tags=True)  # braces are text, not formatting
    return written.replace(_BACKSLASH, "\\")

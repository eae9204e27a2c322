"""Write results as text: plain text, subtitles, speaker turns, JSON."""

from collections.abc import Callable

from natscribe.schemas.diarization import DiarizationResult
from natscribe.schemas.requests import ResultFormat, SubtitleLimits
from natscribe.schemas.transcription import TranscriptionResult
from natscribe.subtitles import Cue, cues

_BACKSLASH = "\ue000"  # replaces backslashes while pysubs2 writes, which takes some backslashes for line breaks
_VTT_ESCAPES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}


Result = TranscriptionResult | DiarizationResult


class FormatUnavailableError(Exception):
    """The format cannot hold this result; the message names one that can."""


def write(result: Result, fmt: ResultFormat, limits: SubtitleLimits) -> str:
    """Write a result in a text format; `limits` is used for subtitles only.

    Raises:
        FormatUnavailableError: The format cannot hold this result.
    """
    if fmt is ResultFormat.SRT:
        return _subtitles(cues(_transcript(result, fmt).segments, limits, with_names=True), fmt, _srt_text)
    if fmt is ResultFormat.VTT:
        return _subtitles(cues(_transcript(result, fmt).segments, limits, with_names=False), fmt, _vtt_text)
    return _WRITERS[fmt](result)


def _transcript(result: Result, fmt: str) -> TranscriptionResult:
    if isinstance(result, TranscriptionResult):
        return result
    message = f"A diarization has no text to write as {fmt}: ask for json or rttm."
    raise FormatUnavailableError(message)


def _txt(result: Result) -> str:
    transcript = _transcript(result, "txt")
    lines = [f"{s.speaker}: {s.text}" if s.speaker else s.text for s in transcript.segments]
    return "\n".join(lines) + "\n" if lines else ""


def _subtitles(shown: list[Cue], fmt: str, text: Callable[[Cue], str]) -> str:
    import pysubs2  # noqa: PLC0415 -- part of the extra `command` of the client

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
    text = "".join(_VTT_ESCAPES.get(character, character) for character in "\n".join(cue.lines))
    return f"<v {cue.speaker}>{text}" if cue.speaker else text


def _rttm(result: Result) -> str:
    if isinstance(result, TranscriptionResult) and result.speakers is None:
        message = "The transcript has no speakers to write as rttm: transcribe with diarize, or ask for another format."
        raise FormatUnavailableError(message)
    return "".join(
        f"SPEAKER {result.task_id} 1 {s.start:.3f} {s.end - s.start:.3f} <NA> <NA> {s.speaker} <NA> <NA>\n"
        for s in result.segments
        if s.speaker
    )


_WRITERS: dict[ResultFormat, Callable[[Result], str]] = {
    ResultFormat.JSON: lambda result: result.model_dump_json(),
    ResultFormat.TXT: _txt,
    ResultFormat.RTTM: _rttm,
}

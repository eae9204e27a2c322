"""Write results as text: plain text, subtitles, speaker turns, JSON, a page to look at."""

from collections.abc import Callable

from natscribe.schemas.kinds import Result
from natscribe.schemas.requests import ResultFormat, SubtitleLimits
from natscribe.schemas.transcription import TranscriptionResult


class FormatUnavailableError(Exception):
    """The format cannot hold this result; the message names one that can."""


def with_names(result: Result) -> Result:
    """Return a result for people: the names of its voices stand in place of their speakers' labels."""
    named = {label: each.name for label, each in (result.voices or {}).items() if each.voice and each.name}
    if not named:
        return result
    segments = [
        each.model_copy(update={"speaker": named.get(each.speaker or "", each.speaker)}) for each in result.segments
    ]
    return result.model_copy(update={"segments": segments})


def write(result: Result, fmt: ResultFormat, limits: SubtitleLimits, recording: str | None = None) -> str:
    """Write a result in a format, for people with the names of its voices.

    `limits` is used for subtitles only, and `recording` for a page, which plays the recording at this address.

    Raises:
        FormatUnavailableError: The format cannot hold this result.
    """
    if fmt in {ResultFormat.SRT, ResultFormat.VTT}:
        return _subtitles(_transcript(with_names(result), fmt), fmt, limits)
    if fmt is ResultFormat.HTML:
        return _html(with_names(result), recording)
    return _WRITERS[fmt](result)


def _transcript(result: Result, fmt: str) -> TranscriptionResult:
    if isinstance(result, TranscriptionResult):
        return result
    message = f"A diarization has no text to write as {fmt}: ask for json, rttm or html."
    raise FormatUnavailableError(message)


def _txt(result: Result) -> str:
    transcript = _transcript(with_names(result), "txt")
    lines = [f"{s.speaker}: {s.text}" if s.speaker else s.text for s in transcript.segments]
    return "\n".join(lines) + "\n" if lines else ""


def _subtitles(transcript: TranscriptionResult, fmt: ResultFormat, limits: SubtitleLimits) -> str:
    from natscribe.subtitles import writing  # noqa: PLC0415 -- needs the extra `command`, and a moment to import

    return (writing.srt if fmt is ResultFormat.SRT else writing.vtt)(transcript.segments, limits)


def _rttm(result: Result) -> str:
    if isinstance(result, TranscriptionResult) and result.speakers is None:
        message = "The transcript has no speakers to write as rttm: transcribe with diarize, or ask for another format."
        raise FormatUnavailableError(message)
    return "".join(
        f"SPEAKER {result.task_id} 1 {s.start:.3f} {s.end - s.start:.3f} <NA> <NA> {s.speaker} <NA> <NA>\n"
        for s in result.segments
        if s.speaker
    )


def _html(result: Result, recording: str | None) -> str:
    from natscribe.transcript_page import page  # noqa: PLC0415 -- few ask for it

    return page(result, recording)


_WRITERS: dict[ResultFormat, Callable[[Result], str]] = {
    ResultFormat.JSON: lambda result: result.model_dump_json(),
    ResultFormat.TXT: _txt,
    ResultFormat.RTTM: _rttm,
}

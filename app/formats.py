"""Results as text: plain, subtitles, speaker turns."""

from collections.abc import Callable

import pysubs2

from handlers.errors import RequestError
from handlers.ports import Result
from schemas.errors import ErrorCode
from schemas.requests import ResultFormat
from schemas.transcription import TranscriptionResult


def write(result: Result, fmt: ResultFormat) -> str:
    """Write a result in a text format (RequestError where the format cannot hold it)."""
    return _WRITERS[fmt](result)


def _transcript(result: Result, fmt: str) -> TranscriptionResult:
    if isinstance(result, TranscriptionResult):
        return result
    message = f"A diarization has no text to write as {fmt}: ask for json or rttm."
    raise RequestError(ErrorCode.FORMAT_UNAVAILABLE, message)


def _txt(result: Result) -> str:
    transcript = _transcript(result, "txt")
    lines = [f"{s.speaker}: {s.text}" if s.speaker else s.text for s in transcript.segments]
    return "\n".join(lines) + "\n" if lines else ""


def _subtitles(fmt: str) -> Callable[[Result], str]:
    def written(result: Result) -> str:
        subtitles = pysubs2.SSAFile()
        subtitles.events = [
            pysubs2.SSAEvent(
                start=pysubs2.make_time(s=segment.start),
                end=pysubs2.make_time(s=segment.end),
                text=f"{segment.speaker}: {segment.text}" if segment.speaker else segment.text,
            )
            for segment in _transcript(result, fmt).segments
        ]
        return subtitles.to_string(fmt, keep_ssa_tags=True)  # braces are what was said, not formatting

    return written


def _rttm(result: Result) -> str:
    if isinstance(result, TranscriptionResult) and result.speakers is None:
        message = "The transcript has no speakers to write as rttm: transcribe with diarize, or ask for another format."
        raise RequestError(ErrorCode.FORMAT_UNAVAILABLE, message)
    return "".join(
        f"SPEAKER {result.task_id} 1 {s.start:.3f} {s.end - s.start:.3f} <NA> <NA> {s.speaker} <NA> <NA>\n"
        for s in result.segments
        if s.speaker
    )


_WRITERS: dict[ResultFormat, Callable[[Result], str]] = {
    ResultFormat.JSON: lambda result: result.model_dump_json(),
    ResultFormat.TXT: _txt,
    ResultFormat.SRT: _subtitles("srt"),
    ResultFormat.VTT: _subtitles("vtt"),
    ResultFormat.RTTM: _rttm,
}

"""Converts results into file formats: each module of this package writes the format that it is named after.

A new format is a module here and a member of `ResultFormat`. The module defines `write(result, options)`, which returns
text, or bytes for a binary format; it is imported at its first use.
"""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import overload

from natscribe.schemas.kinds import Result
from natscribe.schemas.requests import ResultFormat, SubtitleLimits
from natscribe.schemas.transcription import TranscriptionResult


class FormatUnavailableError(Exception):
    """The requested format cannot hold this result, e.g. subtitles of a diarization, which has no text.

    The message says what to request instead.
    """


@dataclass(frozen=True, slots=True)
class Options:
    """Options that only some formats use: `limits` for subtitles, and the URL of the `recording` for the HTML page."""

    limits: SubtitleLimits
    recording: str | None = None


def write(
    result: Result, result_format: ResultFormat, limits: SubtitleLimits, recording: str | None = None
) -> str | bytes:
    """Return a result in the format `result_format`.

    `limits`: for subtitles, the maximum characters per line, lines per cue and seconds per cue. `recording`: the URL of
    the recording, which the HTML page plays; None: the reader of the page chooses a local file.

    Raises:
        FormatUnavailableError: The format cannot represent this result.
        ImportError: The extra `command`, which subtitles need, is not installed.
    """
    if result_format.needs_text and not isinstance(result, TranscriptionResult):
        *others, last = (other.value for other in ResultFormat if not other.needs_text)
        message = f"A diarization has no text to write as {result_format}: request {', '.join(others)} or {last}."
        raise FormatUnavailableError(message)
    write_format: Callable[[Result, Options], str | bytes] = import_module(f"{__name__}.{result_format}").write
    return write_format(result, Options(limits, recording))


def encoded(content: str | bytes) -> bytes:
    """Return the output of `write` as bytes, text in UTF-8."""
    return content.encode() if isinstance(content, str) else content


@overload
def with_names(result: TranscriptionResult) -> TranscriptionResult: ...


@overload
def with_names(result: Result) -> Result: ...


def with_names(result: Result) -> Result:
    """Return a copy of a result in which names replace the labels (`SPEAKER_00`) of identified speakers."""
    names = {label: voice.name for label, voice in (result.voices or {}).items() if voice.voice and voice.name}
    if not names:
        return result
    segments = [
        segment.model_copy(update={"speaker": names.get(segment.speaker or "", segment.speaker)})
        for segment in result.segments
    ]
    return result.model_copy(update={"segments": segments})

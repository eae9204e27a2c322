"""Writes results in formats: each module of this package writes the format that it is named after.

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
    """The format cannot hold this result; the message names one that can."""


@dataclass(frozen=True, slots=True)
class Options:
    """Options of single formats: `limits` of subtitles, and the address of the recording that a page plays."""

    limits: SubtitleLimits
    recording: str | None = None


def write(
    result: Result, result_format: ResultFormat, limits: SubtitleLimits, recording: str | None = None
) -> str | bytes:
    """Write a result in a format. `limits` is used for subtitles only, and the address `recording` for a page.

    Raises:
        FormatUnavailableError: The format cannot hold this result.
        ImportError: The extra `command` is not installed, which writes subtitles.
    """
    if result_format.needs_text and not isinstance(result, TranscriptionResult):
        *others, last = (other.value for other in ResultFormat if not other.needs_text)
        message = f"A diarization has no text to write as {result_format}: ask for {', '.join(others)} or {last}."
        raise FormatUnavailableError(message)
    write_format: Callable[[Result, Options], str | bytes] = import_module(f"{__name__}.{result_format}").write
    return write_format(result, Options(limits, recording))


def encoded(content: str | bytes) -> bytes:
    """Return the bytes of a result that `write` has written."""
    return content.encode() if isinstance(content, str) else content


@overload
def with_names(result: TranscriptionResult) -> TranscriptionResult: ...


@overload
def with_names(result: Result) -> Result: ...


def with_names(result: Result) -> Result:
    """Return a copy of a result for people to read: identified speakers have their names in place of their labels."""
    names = {label: voice.name for label, voice in (result.voices or {}).items() if voice.voice and voice.name}
    if not names:
        return result
    segments = [
        segment.model_copy(update={"speaker": names.get(segment.speaker or "", segment.speaker)})
        for segment in result.segments
    ]
    return result.model_copy(update={"segments": segments})

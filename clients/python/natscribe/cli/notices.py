"""Warnings about a result, for the person who reads the result."""

import math

from natscribe.cli.wording import clock
from natscribe.schemas.kinds import Result
from natscribe.schemas.transcription import Stretch, TranscriptionResult

PLACES_SHOWN = 3  # at most this number of places in the recording is listed


def notices(label: str, result: Result, *, separate: bool = False) -> list[str]:
    """Return warnings, a sentence each: about speech without text, and about a missing second channel."""
    found: list[str] = []
    if not isinstance(result, TranscriptionResult):
        return found
    if result.diarization_error is not None:
        found.append(f"{label} has no speakers: {result.diarization_error.message}")
    if result.untranscribed:
        found.append(f"{label}: speech without text at {_places(result.untranscribed)}: listen there.")
    if separate and result.channels is None:
        found.append(f"{label} has one channel: transcribed as one.")
    return found


def _places(stretches: list[Stretch]) -> str:
    places = [f"{clock(each.start)}-{clock(math.ceil(each.end))}" for each in stretches[:PLACES_SHOWN]]
    more = len(stretches) - PLACES_SHOWN
    return ", ".join(places) + (f" and {more} more" if more > 0 else "")

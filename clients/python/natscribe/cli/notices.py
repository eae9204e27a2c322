"""Warnings about a result, for the person who reads the result."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from natscribe.cli.wording import clock
from natscribe.schemas.kinds import Result
from natscribe.schemas.transcription import Interval, TranscriptionResult

MAX_LISTED_INTERVALS = 12  # at most this number of places in the recording is listed: two lines of a terminal


@dataclass(frozen=True)
class RequestedOptions:
    """What the user asked for and may not get: a number of speakers, and separate channels."""

    fewest: int | None = None
    most: int | None = None
    separate: bool = False


def notices(label: str, result: Result, wanted: RequestedOptions = RequestedOptions()) -> list[str]:
    """Return warnings, a sentence each: what of `wanted` the recording lacks, which steps failed, gaps in the text."""
    found = list(_about_speakers(label, result, wanted))
    if result.voices_error is not None:
        found.append(f"{label} lacks names: {result.voices_error.message}")
    if not isinstance(result, TranscriptionResult):
        return found
    if result.diarization_error is not None:
        found.append(f"{label} has no speakers: {result.diarization_error.message}")
    if result.audio_error is not None:
        found.append(f"The sound of {label} is not kept: {result.audio_error.message}")
    if result.untranscribed:
        found.append(f"{label}: speech without text at {_places(result.untranscribed)}: listen there.")
    if wanted.separate and result.channels is None:
        found.append(f"{label} has one channel: transcribed as one.")
    return found


def _about_speakers(label: str, result: Result, wanted: RequestedOptions) -> Iterator[str]:
    count = result.speakers
    if count is not None and wanted.fewest is not None and count < wanted.fewest:
        yield f"{label}: {count} speakers found, at least {wanted.fewest} wanted: no more can be told apart."
    if count is not None and wanted.most is not None and count > wanted.most:
        yield f"{label}: {count} speakers found, at most {wanted.most} wanted: each channel is one; try --channels mix."


def _places(intervals: list[Interval]) -> str:
    places = [f"{clock(each.start)}-{clock(math.ceil(each.end))}" for each in intervals[:MAX_LISTED_INTERVALS]]
    more = len(intervals) - MAX_LISTED_INTERVALS
    return ", ".join(places) + (f" and {more} more, all in `untranscribed` of --format json" if more > 0 else "")

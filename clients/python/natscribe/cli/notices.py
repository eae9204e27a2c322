"""Warnings about a result for the person who reads it."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from natscribe.cli.wording import clock
from natscribe.schemas.kinds import Result
from natscribe.schemas.transcription import Interval, TranscriptionResult

MAX_LISTED_INTERVALS = 12  # two lines of a terminal


@dataclass(frozen=True)
class RequestedOptions:
    """The options of a task that its result may not fulfil: bounds on the number of speakers, and separate channels."""

    min_speakers: int | None = None
    max_speakers: int | None = None
    separate_channels: bool = False


def notices(label: str, result: Result, requested: RequestedOptions = RequestedOptions()) -> Iterator[str]:
    """Yield a sentence for each warning about a result.

    Warnings concern options that could not be fulfilled, steps that failed, and speech that was not transcribed.
    `label`: the name of the recording in the sentences. `requested`: the options with which the task was submitted.
    """
    count, minimum, maximum = result.speakers, requested.min_speakers, requested.max_speakers
    if count is not None and minimum is not None and count < minimum:
        yield f"{label}: {count} speakers detected, {minimum} or more requested: no more can be distinguished."
    if count is not None and maximum is not None and count > maximum:
        yield (
            f"{label}: {count} speakers detected, at most {maximum} requested: each channel is one; try --channels mix."
        )
    if result.voices_error is not None:
        yield f"{label} lacks names: {result.voices_error.message}"
    if isinstance(result, TranscriptionResult):
        yield from _of_transcription(label, result, requested)


def _of_transcription(label: str, result: TranscriptionResult, requested: RequestedOptions) -> Iterator[str]:
    if result.diarization_error is not None:
        yield f"{label} has no speakers: {result.diarization_error.message}"
    if result.audio_error is not None:
        yield f"The audio of {label} is not stored: {result.audio_error.message}"
    if result.untranscribed:
        yield f"{label}: speech that was not transcribed at {_listed(result.untranscribed)}: check the recording there."
    if requested.separate_channels and result.channels is None:
        yield f"{label} has one channel: transcribed as one."


def _listed(intervals: list[Interval]) -> str:
    """Format intervals as a list, rounded outwards to whole seconds; intervals that then overlap are merged."""
    ranges: list[tuple[float, int]] = []
    for gap in intervals:
        start = ranges.pop()[0] if ranges and int(gap.start) < ranges[-1][1] else gap.start
        ranges.append((start, math.ceil(gap.end)))
    shown = [f"{clock(start)}-{clock(end)}" for start, end in ranges[:MAX_LISTED_INTERVALS]]
    more = len(ranges) - MAX_LISTED_INTERVALS
    return ", ".join(shown) + (f" and {more} more, all in `untranscribed` of --format json" if more > 0 else "")

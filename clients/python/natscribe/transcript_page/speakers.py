"""The speakers of a result: their names and colours, and when they speak."""

from natscribe.schemas.kinds import Result

COLOUR_COUNT = 8  # in the style sheet; the ninth speaker has the colour of the first
Times = list[tuple[float, float]]  # start and end of each segment or turn, in seconds
Speakers = dict[str, Times]  # when each speaker speaks; speakers are in the order of their first speech


def speakers_of(result: Result) -> Speakers:
    """Return the speakers of a result, and the intervals in which each of them speaks."""
    speakers: Speakers = {}
    for segment in result.segments:
        if segment.speaker is not None:
            speakers.setdefault(segment.speaker, []).append((segment.start, segment.end))
    return speakers


def colour(speakers: Speakers, speaker: str | None) -> str:
    """Return the CSS class that gives a speaker a colour; `s0` for None or an unknown speaker."""
    return f"s{list(speakers).index(speaker) % COLOUR_COUNT + 1}" if speaker in speakers else "s0"


def total_seconds(times: Times) -> float:
    """Return the total duration of these intervals, in seconds."""
    return sum(end - start for start, end in times)

"""The speakers of a result: their names and colours, and when they speak."""

from dataclasses import dataclass

from natscribe.schemas.kinds import Result

COLOUR_COUNT = 8  # in the style sheet; the ninth speaker has the colour of the first
Times = list[tuple[float, float]]  # start and end of each segment or turn, in seconds


@dataclass(frozen=True, slots=True)
class Speakers:
    """The intervals in which each speaker of a result speaks; speakers are in the order of their first speech."""

    times: dict[str, Times]

    @classmethod
    def of(cls, result: Result) -> "Speakers":
        """Collect the speakers of a result, and when they speak."""
        times: dict[str, Times] = {}
        for segment in result.segments:
            if segment.speaker is not None:
                times.setdefault(segment.speaker, []).append((segment.start, segment.end))
        return cls(times)

    def colour(self, speaker: str | None) -> str:
        """Return the CSS class that gives a speaker a colour; `s0` for None or an unknown speaker."""
        return f"s{list(self.times).index(speaker) % COLOUR_COUNT + 1}" if speaker in self.times else "s0"


def total_seconds(times: Times) -> float:
    """Return the total duration of these intervals, in seconds."""
    return sum(end - start for start, end in times)

"""Wrong words with several languages in one recording: of each part in the whole, and alone with its language given."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias, cast

from benchmarks.client import TimedClient
from benchmarks.kinds import Part, write_part
from benchmarks.measured import OURS, Measured, Result
from benchmarks.report import Findings, Table, percent, points
from benchmarks.stack import Stack
from tests.truth.words import Score, errors_by_part, scored

Segments: TypeAlias = Sequence[Result]


@dataclass(frozen=True)
class Compared:
    """A part: its errors in the whole, its score alone, its segments and how many have its language for a label."""

    part: Part
    errors: int
    alone: Score
    segments: int
    labelled: int


async def measure(stack: Stack, measured: Measured) -> Findings:
    """Transcribe each part alone; a service without a cache runs."""
    client, parts = TimedClient(stack.nats), measured.kind.parts
    whole = measured.last(OURS)
    errors = errors_by_part([part.words for part in parts], whole.texts[0])
    segments = cast("Segments", whole.results[0]["segments"])
    compared = []
    for number, part in enumerate(parts):
        path = write_part(measured.kind.recordings[0].path, part, stack.folder / f"part-{number}.wav")
        _, result = await client.process(path, language=part.language)
        compared.append(
            Compared(part, errors[number], scored([part.words], [str(result["text"])]), *labels(part, segments))
        )
    return findings(compared)


def labels(part: Part, segments: Segments) -> tuple[int, int]:
    """Count the segments whose middle lies in a part, and those of them that have its language for a label."""
    middles = [(float(str(segment["start"])) + float(str(segment["end"]))) / 2 for segment in segments]
    within = [segment for segment, middle in zip(segments, middles, strict=True) if part.start <= middle < part.end]
    return len(within), sum(segment.get("language") == part.language for segment in within)


def findings(compared: Sequence[Compared]) -> Findings:
    """Put all parts into a table, and sum them."""
    total = Compared(
        Part("", 0.0, 0.0, ""),
        sum(part.errors for part in compared),
        Score.pooled([part.alone for part in compared]),
        sum(part.segments for part in compared),
        sum(part.labelled for part in compared),
    )
    rows = [_row(f"{row.part.language}, {row.part.start:.0f} to {row.part.end:.0f} s", row) for row in compared]
    table = Table(
        "Several languages in one recording",
        ("", "words wrong", "alone, its language given", "points more", "segments labelled right"),
        [*rows, _row("all", total)],
        ["A segment belongs to the part in which its middle lies."],
    )
    figures = {
        "languages_points_beyond_alone": 100 * (total.errors / total.alone.words - total.alone.rate),
        "languages_labelled": total.labelled / total.segments if total.segments else 0.0,
    }
    return Findings([table], figures)


def _row(name: str, row: Compared) -> tuple[str, ...]:
    rate, alone = row.errors / row.alone.words, row.alone.rate
    return name, percent(rate), percent(alone), points(rate - alone), f"{row.labelled} of {row.segments}"

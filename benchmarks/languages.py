"""Wrong words with several languages in one recording: of each part in the whole, and alone with its language given."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from benchmarks.caller import Caller
from benchmarks.kinds import Part, write_part
from benchmarks.measured import OURS, Measured, Result
from benchmarks.report import Findings, Table, percent, points
from benchmarks.stack import Stack
from tests.truth.words import Score, errors_by_part, scored

Segments = Sequence[Result]


@dataclass(frozen=True)
class Both:
    """A part: its errors in the whole, its score alone, its segments and how many have its language for a label."""

    part: Part
    errors: int
    alone: Score
    segments: int
    labelled: int

    @property
    def rate(self) -> float:
        """Word error rate in the whole."""
        return self.errors / self.alone.words


async def measure(stack: Stack, measured: Measured) -> Findings:
    """Transcribe each part alone; a service without a cache runs."""
    caller, parts = Caller(stack.nats), measured.kind.parts
    whole = measured.last(OURS)
    errors = errors_by_part([part.words for part in parts], whole.texts[0])
    segments = cast("Segments", whole.results[0]["segments"])
    found = []
    for number, part in enumerate(parts):
        path = write_part(measured.kind.recordings[0].path, part, stack.folder / f"part-{number}.wav")
        outcome = await caller.run(await caller.upload(path), language=part.language)
        alone = scored([part.words], [str((await caller.result(outcome))["text"])])
        found.append(Both(part, errors[number], alone, *labels(part, segments)))
    return findings(found)


def labels(part: Part, segments: Segments) -> tuple[int, int]:
    """Count the segments whose middle lies in a part, and those of them that have its language for a label."""
    middles = [(float(str(segment["start"])) + float(str(segment["end"]))) / 2 for segment in segments]
    within = [segment for segment, middle in zip(segments, middles, strict=True) if part.start <= middle < part.end]
    return len(within), sum(segment.get("language") == part.language for segment in within)


def findings(found: Sequence[Both]) -> Findings:
    """Put all parts into a table, and sum them."""
    alone = Score.pooled([each.alone for each in found])
    rate = sum(each.errors for each in found) / alone.words
    segments, labelled = sum(each.segments for each in found), sum(each.labelled for each in found)
    rows = [_row(each) for each in found]
    rows.append(
        ("all", percent(rate), percent(alone.rate), points(rate - alone.rate), f"{labelled} of {segments}"),
    )
    table = Table(
        "Several languages in one recording",
        ("", "words wrong", "alone, its language given", "points more", "segments labelled right"),
        rows,
        ["A segment belongs to the part in which its middle lies."],
    )
    figures = {
        "languages_points_beyond_alone": 100 * (rate - alone.rate),
        "languages_labelled": labelled / segments if segments else 0.0,
    }
    return Findings([table], figures)


def _row(each: Both) -> tuple[str, ...]:
    return (
        f"{each.part.language}, {each.part.start:.0f} to {each.part.end:.0f} s",
        percent(each.rate),
        percent(each.alone.rate),
        points(each.rate - each.alone.rate),
        f"{each.labelled} of {each.segments}",
    )

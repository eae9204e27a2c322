"""Error rates over many conversations: pooled over all, the mean of all, and the worst."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import TypeAlias

from benchmarks.report import NOT_MEASURED, Table
from tests.truth.attributed import TimeErrors, WordErrors

Part: TypeAlias = tuple[float, float]  # what is wrong, of how much


@dataclass(frozen=True)
class Scored:
    """One conversation, as one way has heard it; words are null where the truth has none or none were asked for."""

    name: str
    seconds: float
    time: TimeErrors
    speakers: int
    found: int
    words: WordErrors | None = None
    taken: float | None = None  # seconds that diarization takes


@dataclass(frozen=True)
class Spread:
    """One figure of many conversations, as shares."""

    pooled: float
    mean: float
    worst: float
    worst_name: str

    def __str__(self) -> str:
        """The pooled share, the mean, the worst and its name; in percent."""
        return f"{100 * self.pooled:.1f}; {100 * self.mean:.1f}; {100 * self.worst:.1f} {self.worst_name}"


def _of_words(part: Callable[[WordErrors], float]) -> Callable[[Scored], Part | None]:
    return lambda each: (part(each.words), each.words.words) if each.words and each.words.words else None


FIGURES: Mapping[str, Callable[[Scored], Part | None]] = {
    "under another speaker": lambda each: (each.time.under_another, each.time.scored),
    "DER": lambda each: (each.time.wrong, each.time.speech),
    "WER": _of_words(lambda words: words.errors),
    "cpWER": _of_words(lambda words: words.errors_with_speakers),
    "cpWER - WER": _of_words(lambda words: words.errors_with_speakers - words.errors),
}


def spread(scores: Sequence[Scored], figure: str) -> Spread | None:
    """Pool a figure over conversations; null if none of them has it."""
    found = [(part, each.name) for each in scores if (part := FIGURES[figure](each))]
    if not found:
        return None
    worst, name = max((_share(part), name) for part, name in found)
    pooled = _share((sum(wrong for (wrong, _), _ in found), sum(whole for (_, whole), _ in found)))
    return Spread(pooled, fmean(_share(part) for part, _ in found), worst, name)


def _share(part: Part) -> float:
    wrong, whole = part
    return wrong / whole if whole else 0.0


def table(title: str, rows: Mapping[str, Sequence[Scored]], notes: Sequence[str] = ()) -> Table:
    """Write a table with a row for each named group of conversations."""
    figures = [name for name in FIGURES if any(spread(scores, name) for scores in rows.values())]
    columns = ("", "n", *figures, "missed, invented, confused", "speakers right", "real-time factor")
    return Table(title, columns, [_row(name, scores, figures) for name, scores in rows.items()], notes)


def _row(name: str, scores: Sequence[Scored], figures: Sequence[str]) -> tuple[str, ...]:
    cells = [str(spread(scores, figure) or NOT_MEASURED) for figure in figures]
    speech = sum(each.time.speech for each in scores)
    kinds = [sum(getattr(each.time, kind) for each in scores) for kind in ("missed", "invented", "confused")]
    right, off = sum(each.found == each.speakers for each in scores), sum(_off(each) for each in scores)
    counted = f"{right} of {len(scores)}" + (f", {off} off" if off else "")
    parts = ", ".join(f"{100 * kind / speech:.1f}" for kind in kinds)
    return name, str(len(scores)), *cells, parts, counted, _time(scores)


def _off(each: Scored) -> int:
    return abs(each.found - each.speakers)


def _time(scores: Sequence[Scored]) -> str:
    timed = [each for each in scores if each.taken is not None]
    taken, heard = sum(each.taken or 0.0 for each in timed), sum(each.seconds for each in timed)
    return f"{taken / heard:.4f}" if timed else NOT_MEASURED


def line(way: str, each: Scored) -> str:
    """Write the figures of one conversation."""
    shares = {name: _share(part) for name, figure in FIGURES.items() if (part := figure(each))}
    figures = ", ".join(f"{name} {100 * share:.1f} %" for name, share in shares.items())
    return f"{way}: {each.name}: {figures}, {each.found} of {each.speakers} speakers"


def facts(scores: Sequence[Scored]) -> dict[str, object]:
    """Return all figures of a group, and each conversation's, for a machine."""
    spreads = {name: spread(scores, name) for name in FIGURES}
    return {
        "figures": {name: asdict(found) for name, found in spreads.items() if found},
        "speakers_right": sum(each.found == each.speakers for each in scores),
        "conversations": [asdict(each) for each in scores],
    }

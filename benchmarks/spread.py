"""Error rates over many conversations: pooled over all, the mean of all, and the worst."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TypeAlias

from benchmarks.report import NOT_MEASURED, Table
from tests.truth.attributed import TimeErrors, Turns, WordErrors, time_errors, word_errors
from tests.truth.conversations import Conversation

Share: TypeAlias = tuple[float, float]  # what is wrong, of how much
Texts: TypeAlias = Sequence[tuple[str | None, str]]  # each with its speaker


@dataclass(frozen=True)
class Scored:
    """One conversation as one engine processed it; `words` are null where the truth or the engine has none."""

    name: str
    seconds: float
    time: TimeErrors
    speakers: int
    speakers_detected: int
    words: WordErrors | None = None
    taken: float | None = None  # seconds that diarization takes


def scored(
    conversation: Conversation, seconds: float, turns: Turns, texts: Texts | None = None, taken: float | None = None
) -> Scored:
    """Compare turns, and texts with their speakers, with the truth of a conversation of this length."""
    turns = list(turns)
    return Scored(
        conversation.name,
        seconds,
        time_errors(conversation.said, turns, seconds),
        conversation.speakers,
        len({speaker for _, _, speaker in turns}),
        None if texts is None else word_errors(conversation.said, texts),
        taken,
    )


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


def _of_words(wrong: Callable[[WordErrors], float]) -> Callable[[Scored], Share | None]:
    return lambda score: (wrong(score.words), score.words.words) if score.words and score.words.words else None


FIGURES: Mapping[str, Callable[[Scored], Share | None]] = {
    "under another speaker": lambda score: (score.time.under_another, score.time.scored),
    "DER": lambda score: (score.time.wrong, score.time.speech),
    "WER": _of_words(lambda words: words.errors),
    "cpWER": _of_words(lambda words: words.errors_with_speakers),
    "cpWER - WER": _of_words(lambda words: words.errors_with_speakers - words.errors),
}


def spread(scores: Sequence[Scored], figure: str) -> Spread | None:
    """Pool a figure over conversations; null if none of them has it."""
    shares = [(share, score.name) for score in scores if (share := FIGURES[figure](score))]
    if not shares:
        return None
    worst, name = max((_rate(share), name) for share, name in shares)
    pooled = _rate((sum(wrong for (wrong, _), _ in shares), sum(whole for (_, whole), _ in shares)))
    return Spread(pooled, fmean(_rate(share) for share, _ in shares), worst, name)


def _rate(share: Share) -> float:
    wrong, whole = share
    return wrong / whole if whole else 0.0


def table(title: str, rows: Mapping[str, Sequence[Scored]], notes: Sequence[str] = ()) -> Table:
    """Write a table with a row for each named group of conversations."""
    figures = [name for name in FIGURES if any(spread(scores, name) for scores in rows.values())]
    columns = ("", "n", *figures, "missed, invented, confused", "speakers right", "real-time factor")
    return Table(title, columns, [_row(name, scores, figures) for name, scores in rows.items()], notes)


def _row(name: str, scores: Sequence[Scored], figures: Sequence[str]) -> tuple[str, ...]:
    cells = [str(spread(scores, figure) or NOT_MEASURED) for figure in figures]
    speech = sum(score.time.speech for score in scores)
    kinds = [sum(getattr(score.time, kind) for score in scores) for kind in ("missed", "invented", "confused")]
    off = [abs(score.speakers_detected - score.speakers) for score in scores]
    counted = f"{off.count(0)} of {len(scores)}" + (f", {sum(off)} off" if any(off) else "")
    parts = ", ".join(f"{100 * kind / speech:.1f}" for kind in kinds)
    return name, str(len(scores)), *cells, parts, counted, _time(scores)


def _time(scores: Sequence[Scored]) -> str:
    timed = [score for score in scores if score.taken is not None]
    taken, length = sum(score.taken or 0.0 for score in timed), sum(score.seconds for score in timed)
    return f"{taken / length:.4f}" if timed else NOT_MEASURED

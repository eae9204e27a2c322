"""The measurements of each kind of recording, and of all kinds together."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from benchmarks.kinds import RecordingKind
from tests.truth.words import Score, scored

OURS, BATCHED, SEQUENTIAL = "this service", "bare engine, batched", "bare engine, sequential"
ENGINES = (OURS, BATCHED, SEQUENTIAL)

Result = Mapping[str, object]


@dataclass(frozen=True)
class Round:
    """One round: seconds for all recordings of a kind, and the text and result of each."""

    seconds: float
    texts: Sequence[str]
    results: Sequence[Result] = ()


@dataclass(frozen=True)
class Measured:
    """A kind of recordings, and the rounds of each engine."""

    kind: RecordingKind
    rounds: Mapping[str, list[Round]] = field(default_factory=lambda: {engine: [] for engine in ENGINES})

    def seconds(self, engine: str) -> float:
        """Median of the rounds."""
        return statistics.median(run.seconds for run in self.rounds[engine])

    def over(self, engine: str) -> float:
        """The time of the service divided by that of another engine."""
        return self.seconds(OURS) / self.seconds(engine)

    def last(self, engine: str) -> Round:
        """The last round."""
        return self.rounds[engine][-1]

    def score(self, engine: str) -> Score:
        """The word errors of the last round."""
        return scored(self.kind.words, self.last(engine).texts)

    @property
    def beyond_better(self) -> float:
        """Word error rate of the service, less that of the better of the bare engines."""
        return self.score(OURS).rate - min(self.score(BATCHED).rate, self.score(SEQUENTIAL).rate)


@dataclass(frozen=True)
class Overall:
    """All kinds together."""

    measured: Sequence[Measured]

    def over(self, engine: str) -> list[float]:
        """The time of the service divided by that of another engine, kind by kind."""
        return [row.over(engine) for row in self.measured]

    def score(self, engine: str) -> Score:
        """Errors of all kinds divided by words of all kinds, if their words count."""
        return Score.pooled([row.score(engine) for row in self.measured if row.kind.words_count])

    def of_one_language(self) -> "Overall":
        """The kinds whose recordings have one language each."""
        return Overall([row for row in self.measured if not row.kind.several_languages])

    def of_several_languages(self) -> "Overall":
        """The kinds whose recordings have several languages."""
        return Overall([row for row in self.measured if row.kind.several_languages])

    @property
    def better_bare_rate(self) -> float:
        """Word error rate of the better of the bare engines, over all words."""
        return min(self.score(BATCHED).rate, self.score(SEQUENTIAL).rate)

    @property
    def beyond_better(self) -> float:
        """Word error rate of the service over all words, less that of the better of the bare engines."""
        return self.score(OURS).rate - self.better_bare_rate

    @property
    def worst_beyond_better(self) -> float:
        """The same difference for the worst kind."""
        return max(row.beyond_better for row in self.measured)

    @property
    def longest_missing(self) -> int:
        """The longest run of words that the service left out of any recording."""
        return max(row.score(OURS).longest_missing for row in self.measured)

    @property
    def figures(self) -> dict[str, float]:
        """The figures for README."""
        return {
            "kinds": len(self.measured),
            "service_over_bare": statistics.mean(self.over(BATCHED)),
            "service_over_bare_worst": max(self.over(BATCHED)),
            "service_over_sequential": statistics.mean(self.over(SEQUENTIAL)),
            **_words_wrong("words_wrong", self.of_one_language()),
            **_words_wrong("words_wrong_of_several_languages", self.of_several_languages()),
            "words_wrong_points_worst": 100 * self.worst_beyond_better,
            "words_missing_longest": self.longest_missing,
        }


def _words_wrong(name: str, kinds: Overall) -> dict[str, float]:
    if not kinds.measured:
        return {}
    return {name: kinds.score(OURS).rate, f"{name}_better_bare": kinds.better_bare_rate}

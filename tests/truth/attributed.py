"""The errors of one conversation: time under another speaker, and words under another speaker."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from natscribe.schemas.diarization import Turn
from rapidfuzz.distance import Levenshtein

from tests.truth.conversations import Said, said_in
from tests.truth.recordings import DEMO
from tests.truth.words import plain, scored

if TYPE_CHECKING:
    from pyannote.core import Annotation

DEMO_TRUTH = DEMO.with_suffix(".rttm")
COLLAR = 0.25  # seconds on each side of a true boundary in which a wrong speaker does not count

Turns = Iterable[tuple[float, float, str]]  # start and end in seconds, speaker


@dataclass(frozen=True)
class TimeErrors:
    """Seconds without a collar, and seconds `under_another` speaker of those `scored` with the collar."""

    speech: float
    missed: float
    invented: float
    confused: float
    scored: float
    under_another: float

    @property
    def wrong(self) -> float:
        """Seconds that count for the diarization error rate."""
        return self.missed + self.invented + self.confused


@dataclass(frozen=True)
class WordErrors:
    """The number of spoken words; errors of the text, and errors if each word counts for the speaker of its turn."""

    words: int
    errors: int
    errors_with_speakers: int


def time_errors(reference: Sequence[Said], turns: Turns, seconds: float) -> TimeErrors:
    """Compare turns with the truth of a recording of this length; names of speakers are matched as fits best."""
    # ruff: noqa: PLC0415 -- these libraries import pandas and scipy, which takes a second
    from pyannote.core import Segment, Timeline
    from pyannote.metrics.diarization import DiarizationErrorRate

    truth = _annotation((utterance.start, min(utterance.end, seconds), utterance.speaker) for utterance in reference)
    hypothesis, whole = _annotation(turns), Timeline([Segment(0, seconds)])
    strict, lenient = (
        # pyannote.metrics counts the whole width of the collar, both sides together
        DiarizationErrorRate(collar=2 * side)(truth, hypothesis, uem=whole, detailed=True)
        for side in (0.0, COLLAR)
    )
    return TimeErrors(
        speech=strict["total"],
        missed=strict["missed detection"],
        invented=strict["false alarm"],
        confused=strict["confusion"],
        scored=lenient["total"],
        under_another=lenient["confusion"],
    )


def diarization_error_rate(turns: Iterable[Turn], seconds: float, truth: Path = DEMO_TRUTH) -> float:
    """Share of the speech with a wrong, a missing or an extra speaker, without a collar; `truth` is in RTTM."""
    hypothesis = [(turn.start, turn.end, turn.speaker) for turn in turns]
    errors = time_errors(said_in(truth), hypothesis, seconds)
    return errors.wrong / errors.speech


def _annotation(turns: Turns) -> "Annotation":
    from pyannote.core import Annotation, Segment

    annotation = Annotation()
    for index, (start, end, speaker) in enumerate(turns):
        annotation[Segment(start, end), index] = speaker
    return annotation


def word_errors(reference: Sequence[Said], hypothesis: Iterable[tuple[str | None, str]]) -> WordErrors:
    """Compare texts, each with its speaker and in order of time, with the reference.

    The text as a whole is compared with the whole reference, in the order in which people start to speak.
    """
    ordered = sorted(reference, key=lambda utterance: utterance.start)
    texts = [(speaker or "", text) for speaker, text in hypothesis]
    together = scored([" ".join(utterance.words or "" for utterance in ordered)], [" ".join(text for _, text in texts)])
    apart = _errors_apart(
        _by_speaker((utterance.speaker, utterance.words or "") for utterance in ordered),
        _by_speaker(texts),
    )
    return WordErrors(together.words, together.errors, apart)


def _errors_apart(reference: Sequence[list[str]], hypothesis: Sequence[list[str]]) -> int:
    """Count the errors if each speaker's words are compared with one person's: cpWER (Watanabe 2020, CHiME-6).

    Speakers and people are matched so that the errors are fewest; those left over count as errors.
    meeteval 0.4.3 counts the same; it is not used because it needs a C++ compiler.
    """
    from scipy.optimize import linear_sum_assignment

    count = max(len(reference), len(hypothesis))
    one, other = ([*words, *[[]] * (count - len(words))] for words in (reference, hypothesis))
    errors = np.array([[Levenshtein.distance(person, speaker) for speaker in other] for person in one])
    return int(errors[linear_sum_assignment(errors)].sum())


def _by_speaker(texts: Iterable[tuple[str, str]]) -> list[list[str]]:
    words_of = defaultdict[str, list[str]](list)
    for speaker, text in texts:
        words_of[speaker] += plain(text).split()
    return list(words_of.values())


def by_the_turns(words: Iterable[tuple[float, float, str]], turns: Turns) -> list[tuple[str, str]]:
    """Give each word (start, end, text) to the speaker of the turn that covers most of it, else of the nearest turn."""
    known_turns = list(turns)
    return [
        (max(known_turns, key=lambda turn: min(turn[1], end) - max(turn[0], start))[2] if known_turns else "", text)
        for start, end, text in words
    ]

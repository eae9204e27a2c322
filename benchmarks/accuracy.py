"""How much is heard right."""

import re
from collections.abc import Iterable, Mapping

import jiwer
from pyannote.core import Annotation, Segment, Timeline
from pyannote.database.util import load_rttm
from pyannote.metrics.diarization import DiarizationErrorRate

from benchmarks.recordings import DEMO

SPOKEN = {"mr": "mister", "29340": "two nine three four zero"}  # the ways in which models write what is said


def word_error_rate(said: str, heard: str) -> float:
    """Part of the words that are wrong, missing or too many."""
    return float(jiwer.wer(said, _plain(heard)))


def diarization_error_rate(turns: Iterable[Mapping[str, object]], duration: float) -> float:
    """Part of the demo's time that is given to the wrong speaker, to none, or to one too many; no collar."""
    (truth,) = load_rttm(DEMO.with_suffix(".rttm")).values()  # type: ignore[no-untyped-call]
    found = Annotation()
    for turn in turns:
        found[Segment(turn["start"], turn["end"])] = turn["speaker"]
    return float(DiarizationErrorRate(collar=0.0)(truth, found, uem=Timeline([Segment(0, duration)])))


def _plain(text: str) -> str:
    words = re.sub(r"[^a-z0-9' ]", " ", text.lower()).split()
    return " ".join(SPOKEN.get(word, word) for word in words)

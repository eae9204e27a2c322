"""How much of the time is given to the right speaker."""

from collections.abc import Iterable, Mapping

from pyannote.core import Annotation, Segment, Timeline
from pyannote.database.util import load_rttm
from pyannote.metrics.diarization import DiarizationErrorRate

from benchmarks.recordings import DEMO


def diarization_error_rate(turns: Iterable[Mapping[str, object]], duration: float) -> float:
    """Part of the demo's time that is given to the wrong speaker, to none, or to one too many; no collar."""
    (truth,) = load_rttm(DEMO.with_suffix(".rttm")).values()  # type: ignore[no-untyped-call]
    found = Annotation()
    for turn in turns:
        found[Segment(turn["start"], turn["end"])] = turn["speaker"]
    return float(DiarizationErrorRate(collar=0.0)(truth, found, uem=Timeline([Segment(0, duration)])))

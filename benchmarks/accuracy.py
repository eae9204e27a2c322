"""The diarization error rate."""

from collections.abc import Iterable, Mapping

from pyannote.core import Annotation, Segment, Timeline
from pyannote.database.util import load_rttm
from pyannote.metrics.diarization import DiarizationErrorRate

from benchmarks.recordings import DEMO


def diarization_error_rate(turns: Iterable[Mapping[str, object]], duration: float) -> float:
    """Share of the demo's time with a wrong, a missing or an extra speaker, without a collar."""
    (truth,) = load_rttm(DEMO.with_suffix(".rttm")).values()  # type: ignore[no-untyped-call]
    found = Annotation()
    for turn in turns:
        found[Segment(turn["start"], turn["end"])] = turn["speaker"]
    return float(DiarizationErrorRate(collar=0.0)(truth, found, uem=Timeline([Segment(0, duration)])))

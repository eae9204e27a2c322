"""The diarization error rate."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from tests.truth.recordings import DEMO

TRUTH = DEMO.with_suffix(".rttm")


def diarization_error_rate(turns: Iterable[Mapping[str, object]], duration: float, truth: Path = TRUTH) -> float:
    """Share of the speech with a wrong, a missing or an extra speaker, without a collar."""
    # ruff: noqa: PLC0415 -- these libraries import pandas and scipy, which takes a second
    from pyannote.core import Annotation, Segment, Timeline
    from pyannote.database.util import load_rttm
    from pyannote.metrics.diarization import DiarizationErrorRate

    (known,) = load_rttm(truth).values()  # type: ignore[no-untyped-call]
    found = Annotation()
    for turn in turns:
        found[Segment(turn["start"], turn["end"]), turn["start"]] = turn["speaker"]
    return float(DiarizationErrorRate(collar=0.0)(known, found, uem=Timeline([Segment(0, duration)])))

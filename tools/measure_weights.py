"""Measure the diarization error rate and the speed of the models on recordings with known truth.

Install ``sherpa-onnx==2.0.1``, ``soundfile`` and ``pyannote.metrics``. Each recording needs an RTTM
file of its name beside it::

    python tools/measure_weights.py app/cli/demo/two_readers.flac
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import sherpa_onnx
import soundfile
from pyannote.core import Annotation, Segment
from pyannote.metrics.diarization import DiarizationErrorRate

COLLARS = (0.0, 0.25)
"""Seconds on each side of a reference boundary that are not scored."""


def diarizer(options: argparse.Namespace) -> sherpa_onnx.OfflineSpeakerDiarization:
    """Open the two models."""
    config = sherpa_onnx.OfflineSpeakerDiarizationConfig(
        segmentation=sherpa_onnx.OfflineSpeakerSegmentationModelConfig(
            pyannote=sherpa_onnx.OfflineSpeakerSegmentationPyannoteModelConfig(
                model=str(options.models / "segmentation-3.0.onnx")
            ),
            num_threads=options.threads,
        ),
        embedding=sherpa_onnx.SpeakerEmbeddingExtractorConfig(
            model=str(options.models / "campplus.onnx"), num_threads=options.threads
        ),
        clustering=sherpa_onnx.FastClusteringConfig(num_clusters=options.speakers, threshold=options.threshold),
        min_duration_on=options.shortest_speech,
        min_duration_off=options.shortest_pause,
    )
    return sherpa_onnx.OfflineSpeakerDiarization(config)


def reference(path: Path) -> Annotation:
    """Read an RTTM file."""
    truth = Annotation(uri=path.stem)
    for index, line in enumerate(path.read_text(encoding="utf-8").splitlines()):
        _, _, _, start, duration, _, _, speaker, *_ = line.split()
        begin = float(start)
        truth[Segment(begin, begin + float(duration)), index] = speaker
    return truth


def measure(recording: Path, model: sherpa_onnx.OfflineSpeakerDiarization) -> str:
    """Diarize one recording; report error rates, speakers found and real-time factor."""
    samples, rate = soundfile.read(recording, dtype="float32")
    started = time.perf_counter()
    turns = model.process(samples).sort_by_start_time()
    seconds = time.perf_counter() - started
    found = Annotation(uri=recording.stem)
    for index, turn in enumerate(turns):
        found[Segment(turn.start, turn.end), index] = f"SPEAKER_{turn.speaker:02d}"
    truth = reference(recording.with_suffix(".rttm"))
    # pyannote.metrics counts the whole width of the collar, both sides together
    rates = [DiarizationErrorRate(collar=2 * side)(truth, found) for side in COLLARS]
    error = " / ".join(f"{100 * value:.1f}" for value in rates)
    speakers = f"{len(found.labels())} of {len(truth.labels())} speakers"
    speed = seconds * rate / len(samples)
    return f"{recording.name}: DER {error} %, {speakers}, real-time factor {speed:.3f}\n"


def main() -> None:
    """Measure every named recording."""
    parser = argparse.ArgumentParser(description="Measure the diarization models.")
    parser.add_argument("recordings", type=Path, nargs="+", help="audio with an RTTM file beside")
    parser.add_argument("--models", type=Path, default=Path("app/engines/weights"))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--speakers", type=int, default=-1, help="-1 finds out how many there are")
    parser.add_argument("--threshold", type=float, default=0.5)
    parser.add_argument("--shortest-speech", type=float, default=0.3)
    parser.add_argument("--shortest-pause", type=float, default=0.5)
    options = parser.parse_args()
    model = diarizer(options)
    for recording in options.recordings:
        sys.stdout.write(measure(recording, model))


if __name__ == "__main__":
    main()

"""Measure how well and how fast recordings with known speakers are diarized, and compare with sherpa-onnx on request.

Each recording needs an RTTM file of the same name beside it. Folders are searched for recordings; the recordings of one
folder are one row of the table. The real-time factor is computed from processor time, which other load on the machine
changes little. ``tools/make_conversations.py`` and ``tools/make_calls.py`` make such folders::

    python tools/measure_diarization.py app/cli/demo conversations calls
    python tools/measure_diarization.py --sherpa FOLDER conversations  # sherpa-onnx 2.0.1, its two models in the folder
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from pyannote.core import Annotation, Segment, Timeline
from pyannote.metrics.diarization import DiarizationErrorRate

from app.engines.decoding import decode
from app.engines.diarization import diarizer
from app.engines.diarization.networks import Networks
from app.engines.limits import Budget, Limit
from app.engines.messages import Diarize

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    Diarization = Callable[[Path], Annotation]

COLLARS = (0.0, 0.25)
"""Seconds on each side of a true boundary that are not scored; each recording is scored with each collar."""

RATE = 16_000
NO_LIMIT = Limit(float("inf"), "")


@dataclass(frozen=True)
class Score:
    """The result of one recording."""

    errors: list[tuple[float, float]]  # for each collar: seconds of errors, seconds of speech
    parts: tuple[float, float, float]  # seconds missed, invented and given to a wrong speaker, without a collar
    found: int  # speakers that diarization found
    true: int  # speakers that there are
    taken: float  # seconds of processor time
    heard: float  # seconds of the recording


def ours() -> Diarization:
    """Make the diarization of Natscribe, on one thread."""
    networks = Networks(threads=1)

    def diarize(path: Path) -> Annotation:
        done = diarizer.diarize(networks, Diarize(path=path), NO_LIMIT, lambda _: None)
        return annotated((turn.start, turn.end, turn.speaker) for turn in done.turns)

    return diarize


def sherpa(models: Path) -> Diarization:
    """Make the diarization of sherpa-onnx with its defaults, on one thread."""
    import sherpa_onnx as library  # noqa: PLC0415 -- needed only for this comparison

    config = library.OfflineSpeakerDiarizationConfig(
        segmentation=library.OfflineSpeakerSegmentationModelConfig(
            pyannote=library.OfflineSpeakerSegmentationPyannoteModelConfig(model=str(models / "segmentation-3.0.onnx"))
        ),
        embedding=library.SpeakerEmbeddingExtractorConfig(model=str(models / "campplus.onnx")),
        clustering=library.FastClusteringConfig(num_clusters=-1, threshold=0.5),
    )
    model = library.OfflineSpeakerDiarization(config)

    def diarize(path: Path) -> Annotation:
        found = model.process(np.concatenate(list(decode(path, Budget(NO_LIMIT))))).sort_by_start_time()
        return annotated((turn.start, turn.end, str(turn.speaker)) for turn in found)

    return diarize


def annotated(turns: Iterable[tuple[float, float, str]]) -> Annotation:
    """Convert turns to an annotation of pyannote."""
    annotation = Annotation()
    for index, (start, end, speaker) in enumerate(turns):
        annotation[Segment(start, end), index] = speaker
    return annotation


def reference(path: Path) -> Annotation:
    """Read an RTTM file."""
    fields = [line.split() for line in path.read_text(encoding="utf-8").splitlines()]
    return annotated((float(row[3]), float(row[3]) + float(row[4]), row[7]) for row in fields)


def score(recording: Path, diarize: Diarization) -> Score:
    """Diarize one recording and compare the result with the recording's RTTM file."""
    heard = sum(map(len, decode(recording, Budget(NO_LIMIT)))) / RATE
    started = time.process_time()
    found = diarize(recording)
    taken = time.process_time() - started
    truth = reference(recording.with_suffix(".rttm"))
    errors, kinds = [], []
    for side in COLLARS:
        # pyannote.metrics counts the whole width of the collar, both sides together
        parts = DiarizationErrorRate(collar=2 * side)(truth, found, uem=Timeline([Segment(0, heard)]), detailed=True)
        kinds.append((parts["missed detection"], parts["false alarm"], parts["confusion"]))
        errors.append((sum(kinds[-1]), parts["total"]))
    return Score(errors, kinds[0], len(found.labels()), len(truth.labels()), taken, heard)


def row(name: str, scores: list[Score]) -> str:
    """Write one line of the table."""
    rates = []
    for collar in range(len(COLLARS)):
        wrong, speech = (sum(column) for column in zip(*(each.errors[collar] for each in scores), strict=True))
        each_rate = [each.errors[collar][0] / each.errors[collar][1] for each in scores]
        rates.append(f"{100 * wrong / speech:5.1f} ({100 * np.mean(each_rate):5.1f}, {100 * max(each_rate):5.1f})")
    speech = sum(each.errors[0][1] for each in scores)
    parts = " ".join(f"{100 * sum(part) / speech:5.1f}" for part in zip(*(each.parts for each in scores), strict=True))
    right = sum(each.found == each.true for each in scores)
    off = sum(abs(each.found - each.true) for each in scores)
    speed = sum(each.taken for each in scores) / sum(each.heard for each in scores)
    return f"{name:24} {len(scores):3}  {'  '.join(rates)}  {parts}  {right:3} right, {off:3} off  {speed:.3f}"


def report(ways: dict[str, Diarization], recordings: list[Path]) -> None:
    """Print a table for each way to diarize; all ways take turns, so that they run under the same conditions."""
    found: dict[str, dict[str, list[Score]]] = {title: defaultdict(list) for title in ways}
    for recording in recordings:
        for title, diarize in ways.items():
            result = score(recording, diarize)
            for name in ("/".join(recording.parent.parts[-2:]), "all"):
                found[title][name].append(result)
    for title, sets in found.items():
        print(f"{title:24}   n  DER % (mean, worst), then with collar     missed, invented, confused  speakers    RTF")
        for name, scores in sorted(sets.items(), key=lambda item: (item[0] == "all", item[0])):
            print(row(name, scores))


def main() -> None:
    """Measure every recording that is named or lies in a named folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("paths", type=Path, nargs="+", help="recordings with an RTTM file beside, or folders of them")
    parser.add_argument(
        "--sherpa", type=Path, metavar="FOLDER", help="also sherpa-onnx, with the models in this folder"
    )
    options = parser.parse_args()
    warnings.filterwarnings("ignore")  # pyannote.metrics on short recordings
    truths = [truth for path in options.paths for truth in (sorted(path.rglob("*.rttm")) if path.is_dir() else [path])]
    recordings = [
        sound
        for truth in truths
        for sound in sorted(truth.parent.glob(f"{truth.stem}.*"))
        if sound.suffix in {".flac", ".wav"}
    ]
    ways = {"natscribe": ours()}
    if options.sherpa:
        ways["sherpa-onnx"] = sherpa(options.sherpa)
    report(ways, recordings)


if __name__ == "__main__":
    main()

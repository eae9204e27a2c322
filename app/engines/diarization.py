"""Diarization: who speaks when in a whole recording."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from importlib import resources
from itertools import count
from pathlib import Path
from time import monotonic
from typing import Protocol, cast

import numpy as np
import numpy.typing as npt
import sherpa_onnx

from app.engines.decoding import Limit, decode, measure
from app.engines.messages import DiarizationDone, Diarize, StageAdvanced
from app.engines.mixing import SAMPLE_RATE
from schemas.diarization import Turn
from schemas.progress import Stage
from schemas.wire import Model

NAME = "segmentation-3.0+campplus"
_FILES = ("segmentation-3.0.onnx", "campplus.onnx")
_THRESHOLD = 0.5  # how far apart two voices are to count as two speakers
_UNKNOWN = -1  # how many speakers, in sherpa's words
_NEWS_INTERVAL = 1.0  # seconds

Samples = npt.NDArray[np.float32]
Tell = Callable[[StageAdvanced], None]


class _Segment(Protocol):
    start: float
    end: float
    speaker: int


class _Result(Protocol):
    def sort_by_start_time(self) -> list[_Segment]: ...


class _Pipeline(Protocol):
    def set_config(self, config: object, /) -> None: ...
    def process(self, samples: Samples, callback: Callable[[int, int], int]) -> _Result: ...


@dataclass(frozen=True)
class Bounds:
    """How many speakers there may be; null: any number."""

    least: int | None
    most: int | None

    @property
    def exact(self) -> int | None:
        """The number, where it is known."""
        return self.least if self.least == self.most else None

    def nearest(self, found: int) -> int:
        """The number within the bounds that is nearest to the one found."""
        enough = max(found, self.least or found)
        return min(enough, self.most or enough)


class Diarizer:
    """The two models, loaded."""

    def __init__(self, threads: int) -> None:
        folder = Path(str(resources.files("app.engines") / "weights"))
        paths = [folder / name for name in _FILES]
        self.identity = Model(name=NAME, revision=_revision(paths))
        self._segmentation, self._embedding = (str(path) for path in paths)
        self._threads = threads
        self._pipeline = cast("_Pipeline", sherpa_onnx.OfflineSpeakerDiarization(self._config(_UNKNOWN)))

    def diarize(self, job: Diarize, limit: Limit, tell: Tell) -> DiarizationDone:
        """The turns of a recording; `tell` hears of progress, at most once a second.

        Raises PermanentError: audio_unreadable, audio_too_large. Needs about 8 bytes a sample.
        """
        measured = measure(job.path)
        limit.check(measured)
        tell(StageAdvanced(stage=Stage.DECODING, processed_seconds=0.0, duration_seconds=measured))
        samples = np.concatenate(list(decode(job.path, limit)))
        duration = len(samples) / SAMPLE_RATE
        turns = self._turns(samples, Bounds(job.min_speakers, job.max_speakers), _Progress(duration, tell))
        return DiarizationDone(turns=list(_within(turns, duration)), duration_seconds=duration, model=self.identity)

    def _turns(self, samples: Samples, bounds: Bounds, progress: "_Progress") -> list[Turn]:
        exact = bounds.exact
        if exact is not None or (bounds.least is None and bounds.most is None):
            return named(self._process(samples, exact or _UNKNOWN, progress.all))
        turns = named(self._process(samples, _UNKNOWN, progress.first_half))
        found = len({turn.speaker for turn in turns})
        wanted = bounds.nearest(found)
        if found in {0, wanted}:
            return turns
        # sherpa keeps no embeddings, so all is done again
        return named(self._process(samples, wanted, progress.second_half))

    def _process(self, samples: Samples, speakers: int, progress: Callable[[int, int], int]) -> list[_Segment]:
        self._pipeline.set_config(self._config(speakers))
        return self._pipeline.process(samples, progress).sort_by_start_time()

    def _config(self, speakers: int) -> object:
        pyannote = sherpa_onnx.OfflineSpeakerSegmentationPyannoteModelConfig(model=self._segmentation)
        return sherpa_onnx.OfflineSpeakerDiarizationConfig(
            segmentation=sherpa_onnx.OfflineSpeakerSegmentationModelConfig(
                pyannote=pyannote, num_threads=self._threads
            ),
            embedding=sherpa_onnx.SpeakerEmbeddingExtractorConfig(model=self._embedding, num_threads=self._threads),
            clustering=sherpa_onnx.FastClusteringConfig(num_clusters=speakers, threshold=_THRESHOLD),
        )


def named(segments: Sequence[_Segment]) -> list[Turn]:
    """Turns with speakers numbered by first appearance; `segments` are in the order of their starts."""
    numbers = count()
    names: dict[int, str] = {}
    for segment in segments:
        if segment.speaker not in names:
            names[segment.speaker] = f"SPEAKER_{next(numbers):02}"
    return [Turn(start=max(s.start, 0), end=s.end, speaker=names[s.speaker]) for s in segments]


def _within(turns: Sequence[Turn], duration: float) -> Iterator[Turn]:
    for turn in turns:
        if turn.start < duration:
            yield turn.model_copy(update={"end": min(turn.end, duration)})


def _revision(paths: Sequence[Path]) -> str:
    digest = sha256()
    for path in paths:
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


class _Progress:
    """Turns sherpa's counts into news; with bounds there may be two passes, so that each is half of the way."""

    def __init__(self, duration: float, tell: Tell) -> None:
        self._duration = duration
        self._tell = tell
        self._told = monotonic()
        self._report(0.0)

    def all(self, done: int, total: int) -> int:
        return self._news(done / total)

    def first_half(self, done: int, total: int) -> int:
        return self._news(done / total / 2)

    def second_half(self, done: int, total: int) -> int:
        return self._news(0.5 + done / total / 2)

    def _news(self, part: float) -> int:
        if monotonic() - self._told >= _NEWS_INTERVAL:
            self._told = monotonic()
            self._report(part)
        return 0  # sherpa's word for: go on

    def _report(self, part: float) -> None:
        self._tell(
            StageAdvanced(
                stage=Stage.DIARIZING,
                processed_seconds=part * self._duration,
                duration_seconds=self._duration,
            )
        )

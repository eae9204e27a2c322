"""Diarization: who speaks when in a recording, heard stretch by stretch while it is decoded."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from time import monotonic

from app.engines.decoding import Limit, decode, measure
from app.engines.diarization.analysis import analyse
from app.engines.diarization.excerpts import APART, LENGTH, PER_STRETCH, stretches
from app.engines.diarization.networks import Networks
from app.engines.diarization.speakers import Bounds, owners
from app.engines.diarization.stretch import Stretch, unpack
from app.engines.diarization.turns import turns
from app.engines.messages import DiarizationDone, Diarize, StageAdvanced, StretchAnalysed
from app.engines.mixing import SAMPLE_RATE
from app.engines.samples import Samples
from schemas.progress import Stage

_NEWS_INTERVAL = 1.0  # seconds

Tell = Callable[[StageAdvanced | StretchAnalysed], None]


class Diarizer:
    """The two networks, loaded."""

    def __init__(self, threads: int) -> None:
        self._networks = Networks(threads)
        self.identity = self._networks.identity

    def diarize(self, job: Diarize, limit: Limit, tell: Tell) -> DiarizationDone:
        """The turns of a recording; `tell` hears each stretch that was not known, and of progress once a second.

        Raises PermanentError: audio_unreadable, audio_too_large. Holds 70 s of sound, and 2.5 MB for each hour of it.
        """
        measured, _ = measure(job.path)
        limit.check(measured)
        tell(StageAdvanced(stage=Stage.DECODING, processed_seconds=0.0, duration_seconds=measured))
        sound = _Counted(decode(job.path, limit))
        heard = list(self._heard(sound, self._known(job), _Progress(measured, tell), tell))
        duration = sound.samples / SAMPLE_RATE
        found = turns(heard, owners(heard, Bounds(job.min_speakers, job.max_speakers)), duration)
        return DiarizationDone(turns=found, duration_seconds=duration, model=self.identity)

    def _heard(
        self, sound: "_Counted", known: dict[int, Stretch], progress: "_Progress", tell: Tell
    ) -> Iterator[Stretch]:
        for piece in stretches(sound):
            stretch = known.get(piece.index)
            if stretch is None or len(stretch.activity) != piece.excerpts:
                stretch = analyse(self._networks, piece, partial(progress.advance, piece.index * PER_STRETCH))
                tell(StretchAnalysed(index=piece.index, revision=self.identity.revision, record=stretch.pack()))
            yield stretch

    def _known(self, job: Diarize) -> dict[int, Stretch]:
        """What was heard before by the same networks; a record that cannot be read is one that is missing."""
        known = {}
        for each in job.known:
            with suppress(ValueError):
                if each.revision == self.identity.revision:
                    known[each.index] = unpack(each.index, each.record)
        return known


class _Counted:
    """Samples, counted as they go by."""

    def __init__(self, pieces: Iterator[Samples]) -> None:
        self._pieces = pieces
        self.samples = 0

    def __iter__(self) -> Iterator[Samples]:
        for piece in self._pieces:
            self.samples += len(piece)
            yield piece


class _Progress:
    """Turns excerpts heard into news."""

    def __init__(self, duration: float, tell: Tell) -> None:
        self._duration = duration
        self._tell = tell
        self._told = monotonic()
        self._report(0.0)

    def advance(self, before: int, excerpts: int) -> None:
        if monotonic() - self._told >= _NEWS_INTERVAL:
            self._told = monotonic()
            self._report(((before + excerpts - 1) * APART + LENGTH) / SAMPLE_RATE)

    def _report(self, seconds: float) -> None:
        processed = min(seconds, self._duration)
        self._tell(StageAdvanced(stage=Stage.DIARIZING, processed_seconds=processed, duration_seconds=self._duration))

"""Windows: stretches of speech of at most 29.5 s, cut at silences, found while the recording streams by.

All is counted in frames of 512 samples (32 ms, a whole number of milliseconds). Where a window ends, nothing is
remembered but that place, and voice activity is judged in blocks that begin at fixed places: so a run that resumes
where a window ended finds the same windows as an uninterrupted one.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import ceil
from typing import Protocol

import numpy as np
import numpy.typing as npt
from faster_whisper.vad import get_vad_model

from app.engines.messages import LONGEST_WINDOW
from app.engines.mixing import SAMPLE_RATE
from app.engines.samples import Samples

FRAME = 512
FIRST_BLOCK = 35.2  # seconds: enough for one window that begins by the fourth, so that the first text comes soon
LATER_BLOCK = 64

_RATE = SAMPLE_RATE / FRAME  # frames a second
_LONGEST = int(LONGEST_WINDOW * _RATE)
_GAP = round(2 * _RATE)  # a longer silence ends a window
_PAUSE = round(0.25 * _RATE)  # long enough to cut in
_PADDING = round(0.4 * _RATE)  # kept before and after speech
_WARM_UP = 64  # frames that the voice detector hears again before each block
_LEAST_SPEECH = 4  # frames; less is a click
_SPEECH = 0.5


class VoiceDetector(Protocol):
    """Says of each frame how probably somebody speaks."""

    def __call__(self, samples: Samples, /) -> npt.NDArray[np.float32]:
        """One probability a frame; may write into `samples`."""
        ...


@dataclass(frozen=True)
class Window:
    """A stretch of speech; seconds from the start of the recording."""

    start: float
    end: float
    samples: Samples


@dataclass(frozen=True)
class WindowsTranscribed:
    """The windows that a block completed, how many seconds were listened to so far, and whether that is all.

    Up to `settled` seconds it is known what is speech: what comes after may be the beginning of a window.
    """

    windows: list[Window]
    seconds: float
    settled: float
    last: bool = False


def blocks(pieces: Iterable[Samples]) -> Iterator[Samples]:
    """Gather pieces into blocks that begin at fixed places, whole frames all but the last."""
    block, filled = np.zeros(_samples_of(FIRST_BLOCK), np.float32), 0
    for piece in pieces:
        left = piece
        while len(left):
            taken = min(len(left), len(block) - filled)
            block[filled : filled + taken] = left[:taken]
            left, filled = left[taken:], filled + taken
            if filled == len(block):
                yield block
                block, filled = np.zeros(_samples_of(LATER_BLOCK), np.float32), 0
    if filled:
        yield block[:filled]


def listen(
    pieces: Iterable[Samples], start_at: float = 0.0, detector: VoiceDetector | None = None
) -> Iterator[WindowsTranscribed]:
    """Find the windows after `start_at` seconds, which is 0 or the end of a window."""
    listener = _Listener(ceil(start_at * _RATE - 1e-6), detector or get_vad_model())
    for block in blocks(pieces):
        yield WindowsTranscribed(listener.windows(block), listener.seconds, listener.settled)
    yield WindowsTranscribed(listener.rest(), listener.seconds, listener.seconds, last=True)


def next_window(speech: npt.NDArray[np.float32], *, whole: bool) -> tuple[int, int] | None:
    """Frames from and to which the first window reaches; null: none, or (unless `whole`) more must be heard first."""
    voiced = np.flatnonzero(speech >= _SPEECH)
    if not voiced.size:
        return None
    start = max(0, int(voiced[0]) - _PADDING)
    silences = np.diff(voiced, append=len(speech) + (_GAP + 1 if whole else 0))
    ends = voiced[silences > _GAP]
    end = min(int(ends[0]) + 1 + _PADDING, len(speech)) if ends.size else None
    if end is not None and end - start <= _LONGEST:
        return start, end
    if len(speech) - start <= _LONGEST + _GAP and not whole:
        return None
    return start, start + _quiet_place(speech[start : start + _LONGEST])


def _quiet_place(speech: npt.NDArray[np.float32]) -> int:
    """The middle of the last pause of the later half, else of its longest silence, else the frame least like speech.

    Late cuts make few windows: the encoder takes the same time for each, however short.
    """
    half = len(speech) // 2
    later = speech[half:]
    silent = np.concatenate(([0], later < _SPEECH, [0])).astype(np.int8)
    edges = np.flatnonzero(np.diff(silent))
    if not edges.size:
        return half + int(later.argmin())
    starts, ends = edges[::2], edges[1::2]
    pauses = np.flatnonzero(ends - starts >= _PAUSE)
    cut = int(pauses[-1]) if pauses.size else int((ends - starts).argmax())
    return half + int(starts[cut] + ends[cut]) // 2


def _samples_of(seconds: float) -> int:
    return round(seconds * _RATE) * FRAME


class _Listener:
    """Holds the sound since the last window's end, and what was heard in it."""

    def __init__(self, start: int, detector: VoiceDetector) -> None:
        self._detector = detector
        self._start = start  # frame at which the held sound begins
        self._heard = 0  # samples
        self._before = np.zeros(0, np.float32)  # the end of the block before
        self._samples = np.zeros(0, np.float32)
        self._speech = np.zeros(0, np.float32)

    @property
    def seconds(self) -> float:
        return self._heard / SAMPLE_RATE

    @property
    def settled(self) -> float:
        """Seconds before which nothing is held any more: speech that goes on is not done."""
        return min(self._start * FRAME, self._heard) / SAMPLE_RATE

    def windows(self, block: Samples) -> list[Window]:
        first = self._heard // FRAME
        self._heard += len(block)
        skipped = min(max(self._start - first, 0) * FRAME, len(block))
        if skipped < len(block):
            speech = self._judge(block)[skipped // FRAME :]
            self._speech = np.concatenate([self._speech, speech])
            self._samples = np.concatenate([self._samples, block[skipped:]])
        self._before = block[-_WARM_UP * FRAME :]
        return list(self._complete(whole=False))

    def rest(self) -> list[Window]:
        return list(self._complete(whole=True))

    def _judge(self, block: Samples) -> npt.NDArray[np.float32]:
        padding = np.zeros(-len(block) % FRAME, np.float32)
        # a copy, always: the detector writes into what it is given
        speech = self._detector(np.concatenate([self._before, block, padding]))
        return np.asarray(speech, np.float32)[len(self._before) // FRAME :]

    def _complete(self, *, whole: bool) -> Iterator[Window]:
        while (found := next_window(self._speech, whole=whole)) is not None:
            start, end = found
            if (self._speech[start:end] >= _SPEECH).sum() >= _LEAST_SPEECH:
                yield self._window(start, end)
            self._forget(end)
        if not (self._speech >= _SPEECH).any():
            self._forget(max(0, len(self._speech) - _PADDING))

    def _window(self, start: int, end: int) -> Window:
        samples = self._samples[start * FRAME : end * FRAME].copy()
        begin = (self._start + start) * FRAME
        return Window(begin / SAMPLE_RATE, (begin + len(samples)) / SAMPLE_RATE, samples)

    def _forget(self, frames: int) -> None:
        self._start += frames
        self._samples = self._samples[frames * FRAME :]
        self._speech = self._speech[frames:]

"""Windows: pieces of speech, usually of 10 to 20 s together and of 24 s at most, found while the recording streams by.

Silence between pieces is left out, all but .6 s of it, so that a window is speech and little else: what a model needs
for a window grows with the window's sound. 20 s and not the 30 s that Whisper takes at most, because a long window is
more often ended before its speech is, and because a short one holds fewer languages (docs/decisions/0014). A window
ends between pieces where it can: half a sentence is heard worse.

All is counted in frames of 512 samples (32 ms, a whole number of milliseconds). Where a window ends, nothing is
remembered but that place, and voice activity is judged in blocks that begin at fixed places: so a run that resumes
where a window ended finds the same windows as an uninterrupted one.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import ceil
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
from faster_whisper.vad import get_vad_model

from app.engines.messages import LONGEST_WINDOW
from app.engines.mixing import SAMPLE_RATE
from app.engines.samples import Samples
from app.engines.timeline import Piece

FRAME = 512
FIRST_BLOCK = 35.2  # seconds: enough for one window that begins by the fourth, so that the first text comes soon
LATER_BLOCK = 64

_RATE = SAMPLE_RATE / FRAME  # frames a second
_LONGEST = int(LONGEST_WINDOW * _RATE)
_USUAL = round(20 * _RATE)
_ENOUGH = round(10 * _RATE)  # with that much speech, a window ends before a piece that would make it longer than usual
_SPAN = round(90 * _RATE)  # from a window's first piece to its end: so long, sound is held at most
_PADDING = round(0.3 * _RATE)  # kept before and after speech
_GAP = 2 * _PADDING  # a longer silence ends a piece
_WARM_UP = 64  # frames that the voice detector hears again before each block
_LEAST_SPEECH = 4  # frames; less is a click
_SPEECH = 0.5

Probabilities = npt.NDArray[np.float32]


class VoiceDetector(Protocol):
    """Says of each frame how probably somebody speaks."""

    def __call__(self, samples: Samples, /) -> Probabilities:
        """One probability a frame; may write into `samples`."""
        ...


@dataclass(frozen=True)
class Window:
    """Pieces of speech, in seconds from the start of the recording, and their sound, joined."""

    pieces: Sequence[Piece]
    samples: Samples


@dataclass(frozen=True)
class WindowsFound:
    """The windows that a block completed, how many seconds were listened to so far, and whether that is all.

    Up to `settled` seconds it is known what is speech: what comes after may be the beginning of a window.
    """

    windows: list[Window]
    seconds: float
    settled: float
    last: bool = False


class Run(NamedTuple):
    """A piece in frames; `open`: it may go on behind what was heard."""

    start: int
    end: int
    open: bool = False

    @property
    def length(self) -> int:
        """Frames."""
        return self.end - self.start


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
) -> Iterator[WindowsFound]:
    """Find the windows after `start_at` seconds, which is 0 or the end of a window."""
    listener = _Listener(ceil(start_at * _RATE - 1e-6), detector or get_vad_model())
    for block in blocks(pieces):
        yield WindowsFound(listener.windows(block), listener.seconds, listener.settled)
    yield WindowsFound(listener.rest(), listener.seconds, listener.seconds, last=True)


def next_window(speech: Probabilities, *, whole: bool) -> list[Run]:
    """The pieces of the first window; none: nobody speaks, or (unless `whole`) more must be heard first."""
    taken: list[Run] = []
    length = 0
    for run in _runs(speech, whole=whole):
        if taken and run.end - taken[0].start > _SPAN:
            return taken
        if length + run.length > _USUAL and length >= _ENOUGH:
            return taken
        if length + run.length > _LONGEST:
            return [*taken, _cut(run, speech, _LONGEST - length)]
        if run.open:
            return []
        taken.append(run)
        length += run.length
    complete = whole or (taken and len(speech) - taken[0].start > _SPAN)
    return taken if complete else []


def _runs(speech: Probabilities, *, whole: bool) -> Iterator[Run]:
    """The pieces of speech in order: voices with the silences up to `_GAP` between them, and padding around."""
    voiced = np.flatnonzero(speech >= _SPEECH)
    breaks = np.flatnonzero(np.diff(voiced) > _GAP) + 1
    reach = 0
    for frames in np.split(voiced, breaks) if voiced.size else ():
        first, after = int(frames[0]), int(frames[-1]) + 1
        run = Run(
            max(first - _PADDING, reach),
            min(after + _PADDING, len(speech)),
            open=not whole and len(speech) - after <= _GAP,
        )
        if run.open or len(frames) >= _LEAST_SPEECH:
            reach = run.end
            yield run


def _cut(run: Run, speech: Probabilities, room: int) -> Run:
    """The beginning of a piece that is too long for a window: up to its widest pause in the later half of the room."""
    return Run(run.start, run.start + _quiet_place(speech[run.start : run.start + room]))


def _quiet_place(speech: Probabilities) -> int:
    """The middle of the longest silence in the later half, or else the frame there that is least like speech."""
    half = len(speech) // 2
    later = speech[half:]
    silent = np.concatenate(([0], later < _SPEECH, [0])).astype(np.int8)
    edges = np.flatnonzero(np.diff(silent))
    if not edges.size:
        return half + int(later.argmin())
    starts, ends = edges[::2], edges[1::2]
    widest = int((ends - starts).argmax())
    return half + int(starts[widest] + ends[widest]) // 2


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

    def _judge(self, block: Samples) -> Probabilities:
        padding = np.zeros(-len(block) % FRAME, np.float32)
        # a copy, always: the detector writes into what it is given
        speech = self._detector(np.concatenate([self._before, block, padding]))
        return np.asarray(speech, np.float32)[len(self._before) // FRAME :]

    def _complete(self, *, whole: bool) -> Iterator[Window]:
        while runs := next_window(self._speech, whole=whole):
            yield self._window(runs)
            self._forget(runs[-1].end)
        first = next(_runs(self._speech, whole=whole), None)
        self._forget(first.start if first else max(0, len(self._speech) - _PADDING))

    def _window(self, runs: Sequence[Run]) -> Window:
        sounds = [self._samples[run.start * FRAME : run.end * FRAME] for run in runs]
        begins = [(self._start + run.start) * FRAME for run in runs]
        pieces = [
            (begin / SAMPLE_RATE, (begin + len(sound)) / SAMPLE_RATE)
            for begin, sound in zip(begins, sounds, strict=True)
        ]
        return Window(pieces, np.concatenate(sounds))

    def _forget(self, frames: int) -> None:
        self._start += frames
        self._samples = self._samples[frames * FRAME :]
        self._speech = self._speech[frames:]

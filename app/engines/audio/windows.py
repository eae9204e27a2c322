"""Find the windows of a recording while it is decoded; each window joins pieces of speech, 10 to 20 s in total.

Silence between pieces is cut to 0.8 s, because the time and memory that a model needs grow with the window's sound. A
window is shorter than the 30 s that Whisper can take, because models transcribe a longer window more often only to its
middle, and because it holds more languages (docs/decisions/0014). A window ends in the widest pause that its length
allows, because models transcribe half a sentence worse.

Times are counted in frames of 512 samples (32 ms). Voice activity is judged in blocks that begin at fixed places, and
the next window depends only on the place where the last window ended. So a run that resumes at the end of a window
finds the same windows as an uninterrupted run.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from math import ceil
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from faster_whisper.vad import get_vad_model
from natscribe.schemas.sharing import LONGEST_WINDOW_S

from app.engines.audio.mixing import SAMPLE_RATE
from app.engines.audio.samples import Samples
from app.engines.audio.timeline import Piece

FRAME = 512  # samples
# The first block is short, so that the first text comes soon, but usually long enough for one window.
FIRST_BLOCK_S = 35.2
LATER_BLOCK_S = 64

_RATE = SAMPLE_RATE / FRAME  # frames a second
# Lengths in frames.
_LONGEST = int(LONGEST_WINDOW_S * _RATE)
_ENOUGH = round(10 * _RATE)  # a window with this much speech may end before a piece that does not fit
_SPAN = round(90 * _RATE)  # longest time from a window's start to its end: limits the sound held in memory
_PADDING = round(0.4 * _RATE)  # silence kept before and after a piece of speech
_PAUSE = round(0.3 * _RATE)  # a longer silence ends a piece
_WIDE = round(0.8 * _RATE)  # all pauses this wide or wider are equally good ends of a window
_WARM_UP = 64  # end of the previous block, which the voice detector reads again to warm up its state
_LEAST_SPEECH = 4  # a piece with less speech is only a click

_SPEECH = 0.5  # a frame with at least this probability of speech counts as speech

Probabilities = npt.NDArray[np.float32]
VoiceDetector = Callable[[Samples], Probabilities]  # finds the probability of speech per frame; may change the samples


@dataclass(frozen=True)
class Window:
    """A window: its pieces of speech, in seconds from the start of the recording, and their joined sound."""

    pieces: Sequence[Piece]
    samples: Samples


@dataclass(frozen=True)
class WindowsFound:
    """The windows that a block completes, the seconds decoded so far, and whether the recording ends there.

    All windows before `settled` seconds are found.
    """

    windows: list[Window]
    seconds: float
    settled: float
    last: bool = False


class Run(NamedTuple):
    """A piece of speech and the pause after it, in frames; `open`: the piece may go on in sound not decoded yet."""

    start: int
    end: int
    pause: int = 0
    open: bool = False

    @property
    def length(self) -> int:
        """The length of the piece in frames."""
        return self.end - self.start


def blocks(pieces: Iterable[Samples]) -> Iterator[Samples]:
    """Join pieces to blocks that begin at fixed places; each block but the last is a whole number of frames."""
    block, filled = np.zeros(_samples_of(FIRST_BLOCK_S), np.float32), 0
    for piece in pieces:
        left = piece
        while len(left):
            taken = min(len(left), len(block) - filled)
            block[filled : filled + taken] = left[:taken]
            left, filled = left[taken:], filled + taken
            if filled == len(block):
                yield block
                block, filled = np.zeros(_samples_of(LATER_BLOCK_S), np.float32), 0
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
    """Find the pieces of the first window.

    The list is empty if there is no speech, or if more sound is needed first. `whole`: no more sound will follow.
    """
    taken: list[Run] = []
    length = 0
    for run in _runs(speech, whole=whole):
        if taken and run.end - taken[0].start > _SPAN:
            return taken
        if length + run.length > _LONGEST:
            return _to_widest_pause(taken) if length >= _ENOUGH else [*taken, _cut(run, speech, _LONGEST - length)]
        if run.open:
            return []
        taken.append(run)
        length += run.length
    complete = whole or (taken and len(speech) - taken[0].start > _SPAN)
    return taken if complete else []


def _to_widest_pause(taken: Sequence[Run]) -> list[Run]:
    """Drop the pieces after the widest pause that leaves the window long enough.

    All pauses of 0.8 s or more count as equally wide; the last of them is chosen.
    """
    lengths = list(accumulate(run.length for run in taken))
    ends = [number for number, length in enumerate(lengths) if length >= _ENOUGH]
    return list(taken[: max(ends, key=lambda number: (min(taken[number].pause, _WIDE), number)) + 1])


def _runs(speech: Probabilities, *, whole: bool) -> Iterator[Run]:
    """Yield the pieces of speech in order, with padding; if a pause is shorter than two paddings, two pieces meet."""
    voiced = np.flatnonzero(speech >= _SPEECH)
    breaks = np.flatnonzero(np.diff(voiced) > _PAUSE)
    firsts = voiced[np.concatenate(([0], breaks + 1))] if voiced.size else voiced
    afters = voiced[np.concatenate((breaks, [len(voiced) - 1]))] + 1 if voiced.size else voiced
    edges = [0, *((afters[:-1] + firsts[1:]) // 2), len(speech)]
    for number, (first, after) in enumerate(zip(firsts, afters, strict=True)):
        last = number == len(firsts) - 1
        run = Run(
            max(int(first) - _PADDING, int(edges[number])),
            min(int(after) + _PADDING, int(edges[number + 1])),
            pause=0 if last else int(firsts[number + 1] - after),
            open=last and not whole and len(speech) - int(after) <= 2 * _PADDING,
        )
        if run.open or (speech[first:after] >= _SPEECH).sum() >= _LEAST_SPEECH:
            yield run


def _cut(run: Run, speech: Probabilities, room: int) -> Run:
    """Cut a piece to at most `room` frames, in the longest silence of their second half."""
    return Run(run.start, run.start + _quiet_place(speech[run.start : run.start + room]))


def _quiet_place(speech: Probabilities) -> int:
    """Find the middle of the longest silence in the second half, or else the frame there least like speech."""
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
    """Holds the sound after the end of the last window, and the probability of speech in each of its frames."""

    def __init__(self, start: int, detector: VoiceDetector) -> None:
        self._detector = detector
        self._start = start  # frame at which the held sound begins
        self._taken = 0  # samples decoded so far
        self._before = np.zeros(0, np.float32)  # the end of the previous block
        self._samples = np.zeros(0, np.float32)
        self._speech = np.zeros(0, np.float32)

    @property
    def seconds(self) -> float:
        return self._taken / SAMPLE_RATE

    @property
    def settled(self) -> float:
        """The time in seconds up to which all windows are found; earlier sound is no longer kept in memory."""
        return min(self._start * FRAME, self._taken) / SAMPLE_RATE

    def windows(self, block: Samples) -> list[Window]:
        first = self._taken // FRAME
        self._taken += len(block)
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
        # Always a copy, because the detector changes its argument.
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

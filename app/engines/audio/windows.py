"""Find the windows of a recording while it is decoded; each window joins regions of speech, up to 20 s in total.

Silence between regions is cut to 0.8 s, because the time and memory that a model needs grow with the window's sound. A
window is shorter than the 30 s that Whisper can hear, because models transcribe a longer window more often only to its
middle, and because it holds more languages (docs/decisions/0014). A window that would grow too long ends in the widest
pause after its first 10 s, because models transcribe half a sentence worse.

Times are counted in frames of 512 samples (32 ms). The voice detector hears one chunk at a time. Chunks begin at fixed
times, and sound before the end of the last window does not change the next window. So a job that begins at the end of a
window finds the same windows as a job that began at the start of the recording.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from math import ceil
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from faster_whisper.vad import get_vad_model
from natscribe.schemas.windows import LONGEST_WINDOW_S

from app.engines.audio.mixing import SAMPLE_RATE
from app.engines.audio.samples import Samples
from app.engines.audio.timeline import Times

FRAME = 512  # samples
# The first chunk is short, so that the first text comes soon, but usually long enough for one window.
FIRST_CHUNK_S = 35.2
LATER_CHUNK_S = 64

FRAMES_PER_SECOND = SAMPLE_RATE / FRAME
# Lengths in frames.
_LONGEST = int(LONGEST_WINDOW_S * FRAMES_PER_SECOND)
_ENOUGH = round(10 * FRAMES_PER_SECOND)  # a window with this much speech may end before a region that does not fit
_REACH = round(90 * FRAMES_PER_SECOND)  # longest time from a window's start to its end: limits the sound held in memory
_PADDING = round(0.4 * FRAMES_PER_SECOND)  # silence kept before and after the speech of a region
_PAUSE = round(0.3 * FRAMES_PER_SECOND)  # a longer silence ends a region
_WIDE = round(0.8 * FRAMES_PER_SECOND)  # all pauses this wide or wider are equally good ends of a window
WARM_UP = 64  # end of the previous chunk, which the voice detector reads again to warm up its state
MIN_SPEECH = 4  # a region with less speech is only a click

SPEECH = 0.5  # a frame with at least this probability of speech counts as speech

Probabilities = npt.NDArray[np.float32]
VoiceDetector = Callable[[Samples], Probabilities]  # finds the probability of speech per frame; may change the samples


@dataclass(frozen=True)
class UnpackedWindow:
    """A window: when its regions start and end, in seconds from the start of the recording, and their joined sound."""

    regions: Sequence[Times]
    samples: Samples


@dataclass(frozen=True)
class DetectedWindows:
    """The windows that a chunk completes, and the seconds decoded so far.

    All windows before `complete_until` seconds are found.
    """

    windows: list[UnpackedWindow]
    seconds: float
    complete_until: float


class Region(NamedTuple):
    """A region and the pause after it, in frames of 32 ms; `open`: it may go on in sound that is not decoded yet."""

    start: int
    end: int
    pause: int = 0
    open: bool = False

    @property
    def length(self) -> int:
        """The length of the region in frames."""
        return self.end - self.start


def chunks(sound: Iterable[Samples]) -> Iterator[Samples]:
    """Join samples to chunks that begin at fixed times; each chunk but the last is a whole number of frames."""
    chunk, filled = np.zeros(_samples_of(FIRST_CHUNK_S), np.float32), 0
    for samples in sound:
        left = samples
        while len(left):
            taken = min(len(left), len(chunk) - filled)
            chunk[filled : filled + taken] = left[:taken]
            left, filled = left[taken:], filled + taken
            if filled == len(chunk):
                yield chunk
                chunk, filled = np.zeros(_samples_of(LATER_CHUNK_S), np.float32), 0
    if filled:
        yield chunk[:filled]


def detect_windows(
    sound: Iterable[Samples], start_at: float = 0.0, detector: VoiceDetector | None = None
) -> Iterator[DetectedWindows]:
    """Find the windows after `start_at` seconds, which is 0 or the end of a window."""
    listener = _WindowDetector(ceil(start_at * FRAMES_PER_SECOND - 1e-6), detector or get_vad_model())
    for chunk in chunks(sound):
        yield DetectedWindows(listener.windows(chunk), listener.seconds, listener.complete_until)
    yield DetectedWindows(listener.rest(), listener.seconds, listener.seconds)


def next_window(speech: Probabilities, *, whole: bool) -> list[Region]:
    """Return the regions of the first window; [] if nobody speaks, or if more sound may still change the window.

    `speech`: the probability of speech in each frame. `whole`: no more sound will follow.
    """
    taken: list[Region] = []
    length = 0
    for region in _regions(speech, whole=whole):
        if taken and region.end - taken[0].start > _REACH:
            return taken
        if length + region.length > _LONGEST:
            return _to_widest_pause(taken) if length >= _ENOUGH else [*taken, _cut(region, speech, _LONGEST - length)]
        if region.open:
            return []
        taken.append(region)
        length += region.length
    complete = whole or (taken and len(speech) - taken[0].start > _REACH)
    return taken if complete else []


def _to_widest_pause(taken: Sequence[Region]) -> list[Region]:
    """Drop the regions after the widest pause, of the pauses that come after the first 10 s of the window.

    All pauses of 0.8 s or more count as equally wide; the last of them is chosen.
    """
    lengths = list(accumulate(region.length for region in taken))
    ends = [number for number, length in enumerate(lengths) if length >= _ENOUGH]
    return list(taken[: max(ends, key=lambda number: (min(taken[number].pause, _WIDE), number)) + 1])


def _regions(speech: Probabilities, *, whole: bool) -> Iterator[Region]:
    """Yield the regions in order, with 0.4 s of silence on both sides; regions meet in a pause of less than 0.8 s.

    A region with too few frames of speech is not yielded, unless it is open.
    """
    voiced = np.flatnonzero(speech >= SPEECH)
    breaks = np.flatnonzero(np.diff(voiced) > _PAUSE)
    firsts = voiced[np.concatenate(([0], breaks + 1))] if voiced.size else voiced
    afters = voiced[np.concatenate((breaks, [len(voiced) - 1]))] + 1 if voiced.size else voiced
    edges = [0, *((afters[:-1] + firsts[1:]) // 2), len(speech)]
    for number, (first, after) in enumerate(zip(firsts, afters, strict=True)):
        last = number == len(firsts) - 1
        region = Region(
            max(int(first) - _PADDING, int(edges[number])),
            min(int(after) + _PADDING, int(edges[number + 1])),
            pause=0 if last else int(firsts[number + 1] - after),
            open=last and not whole and len(speech) - int(after) <= 2 * _PADDING,
        )
        if region.open or (speech[first:after] >= SPEECH).sum() >= MIN_SPEECH:
            yield region


def _cut(region: Region, speech: Probabilities, room: int) -> Region:
    """Cut a region within its first `room` frames, at the quiet place in the second half of these frames."""
    return Region(region.start, region.start + quietest_frame(speech[region.start : region.start + room]))


def quietest_frame(speech: Probabilities) -> int:
    """Return the middle of the longest silence in the second half of these frames.

    Without silence there, return the frame of the second half that is least like speech.
    """
    half = len(speech) // 2
    later = speech[half:]
    silent = np.concatenate(([0], later < SPEECH, [0])).astype(np.int8)
    edges = np.flatnonzero(np.diff(silent))
    if not edges.size:
        return half + int(later.argmin())
    starts, ends = edges[::2], edges[1::2]
    widest = int((ends - starts).argmax())
    return half + int(starts[widest] + ends[widest]) // 2


def _samples_of(seconds: float) -> int:
    return round(seconds * FRAMES_PER_SECOND) * FRAME


class _WindowDetector:
    """Finds windows; it holds the sound after the last window, and the probability of speech in each of its frames."""

    def __init__(self, start: int, detector: VoiceDetector) -> None:
        self._detector = detector
        self._start = start  # frame at which the held sound begins
        self._taken = 0  # samples decoded so far
        self._before = np.zeros(0, np.float32)  # the end of the previous chunk
        self._samples = np.zeros(0, np.float32)
        self._speech = np.zeros(0, np.float32)

    @property
    def seconds(self) -> float:
        return self._taken / SAMPLE_RATE

    @property
    def complete_until(self) -> float:
        """The time in seconds up to which all windows are found; earlier sound is no longer kept in memory."""
        return min(self._start * FRAME, self._taken) / SAMPLE_RATE

    def windows(self, chunk: Samples) -> list[UnpackedWindow]:
        first = self._taken // FRAME
        self._taken += len(chunk)
        skipped = min(max(self._start - first, 0) * FRAME, len(chunk))
        if skipped < len(chunk):
            speech = self._judge(chunk)[skipped // FRAME :]
            self._speech = np.concatenate([self._speech, speech])
            self._samples = np.concatenate([self._samples, chunk[skipped:]])
        self._before = chunk[-WARM_UP * FRAME :]
        return list(self._complete(whole=False))

    def rest(self) -> list[UnpackedWindow]:
        return list(self._complete(whole=True))

    def _judge(self, chunk: Samples) -> Probabilities:
        if not chunk.any() and not self._before.any():  # a gap in time stamps may be a silence of many hours
            return np.zeros(ceil(len(chunk) / FRAME), np.float32)
        padding = np.zeros(-len(chunk) % FRAME, np.float32)
        # Always a copy, because the detector changes its argument.
        speech = self._detector(np.concatenate([self._before, chunk, padding]))
        return np.asarray(speech, np.float32)[len(self._before) // FRAME :]

    def _complete(self, *, whole: bool) -> Iterator[UnpackedWindow]:
        while regions := next_window(self._speech, whole=whole):
            yield self._window(regions)
            self._forget(regions[-1].end)
        first = next(_regions(self._speech, whole=whole), None)
        self._forget(first.start if first else max(0, len(self._speech) - _PADDING))

    def _window(self, regions: Sequence[Region]) -> UnpackedWindow:
        sounds = [self._samples[region.start * FRAME : region.end * FRAME] for region in regions]
        begins = [(self._start + region.start) * FRAME for region in regions]
        times = [
            (begin / SAMPLE_RATE, (begin + len(sound)) / SAMPLE_RATE)
            for begin, sound in zip(begins, sounds, strict=True)
        ]
        return UnpackedWindow(times, np.concatenate(sounds))

    def _forget(self, frames: int) -> None:
        self._start += frames
        self._samples = self._samples[frames * FRAME :]
        self._speech = self._speech[frames:]

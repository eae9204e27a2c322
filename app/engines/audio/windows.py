"""Detect the windows of a recording while it is decoded.

A region is an interval of speech without a longer pause, with up to 0.4 s of silence on both sides. A window joins
consecutive regions, up to 20 s in total, which the model transcribes at once.

So the silence between two regions is cut to 0.8 s: the time and memory that a model needs grow with the window's
length. A window is shorter than Whisper's 30 s for two reasons: of a longer window, models more often leave out the
second half, and it may contain more languages (docs/decisions/0014). A window that would grow too long ends in the
widest pause after its first 10 s, because models make more mistakes in half a sentence.

Times are counted in frames of 512 samples (32 ms). The voice detector processes one chunk at a time: the first 35 s of
the recording, then 64 s each. Chunks begin at fixed times, and audio before the end of a window does not influence the
next window. So a job that begins at the end of a window detects the same windows as a job that began at the start.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from math import ceil
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from app.engines.audio.mixing import SAMPLE_RATE
from app.engines.audio.samples import Samples
from app.engines.audio.timeline import Times
from app.engines.windows import MAX_WINDOW_S

FRAME = 512  # samples
# The first chunk is short, so that the first text comes soon, but usually long enough for one window.
FIRST_CHUNK_S = 35.2
LATER_CHUNK_S = 64

FRAMES_PER_SECOND = SAMPLE_RATE / FRAME
# Lengths in frames.
_LONGEST = int(MAX_WINDOW_S * FRAMES_PER_SECOND)
_ENOUGH = round(10 * FRAMES_PER_SECOND)  # a window with this much speech may end before a region that does not fit
_REACH = round(90 * FRAMES_PER_SECOND)  # longest time from a window's start to its end: limits the samples in memory
_PADDING = round(0.4 * FRAMES_PER_SECOND)  # silence before and after the speech of a region
_PAUSE = round(0.3 * FRAMES_PER_SECOND)  # a longer silence ends a region
_WIDE = round(0.8 * FRAMES_PER_SECOND)  # all pauses this wide or wider are equally good ends of a window
WARM_UP = 64  # frames of the previous chunk that the voice detector processes again to warm up its state
MIN_SPEECH = 4  # a region with less speech is only a click

SPEECH = 0.5  # a frame with at least this probability of speech counts as speech

Probabilities = npt.NDArray[np.float32]
# Returns the probability of speech in each frame of 512 samples; may change the samples.
VoiceDetector = Callable[[Samples], Probabilities]


@dataclass(frozen=True)
class UnpackedWindow:
    """A window, i.e. regions of speech to be transcribed together, whose samples are not yet packed into a message.

    `regions`: the start and end of each region, in seconds from the start of the recording. `samples`: the samples of
    all regions, joined. `speech`: the probability of speech in each frame of the samples, if it is known.
    """

    regions: Sequence[Times]
    samples: Samples
    speech: Probabilities = field(default_factory=lambda: np.zeros(0, np.float32))


@dataclass(frozen=True)
class DetectedWindows:
    """The windows of speech that became complete with the latest chunk (about a minute) of a recording.

    `seconds`: how much of the recording is decoded. `complete_until`: the time up to which all windows are detected, in
    seconds from the start of the recording.
    """

    windows: list[UnpackedWindow]
    seconds: float
    complete_until: float


class Region(NamedTuple):
    """A region of speech and the length of the pause after it, all in frames of 32 ms.

    `open`: it may continue in audio that is not decoded yet.
    """

    start: int
    end: int
    pause: int = 0
    open: bool = False

    @property
    def length(self) -> int:
        """The length of the region in frames."""
        return self.end - self.start


class SpeechBuffer:
    """Buffers the samples of speech that are in no complete window yet, and the probability of speech in each frame.

    `start`: the number of the first buffered frame of 512 samples. `received`: how many samples of the recording have
    arrived. Both count from the start of the recording.
    """

    def __init__(self, start: int, received: int = 0) -> None:
        self.start = start
        self.received = received
        self.speech = np.zeros(0, np.float32)
        self._samples = np.zeros(0, np.float32)

    @property
    def seconds(self) -> float:
        """How many seconds of the recording have arrived."""
        return self.received / SAMPLE_RATE

    @property
    def complete_until(self) -> float:
        """The time up to which all windows are detected, in seconds: earlier samples are no longer in the buffer."""
        return min(self.start * FRAME, self.received) / SAMPLE_RATE

    def append(self, samples: Samples, speech: Probabilities, frame: int) -> None:
        """Append samples that begin at the frame number `frame`; frames before the start of the buffer are left out.

        `speech`: the probability of speech in each frame of the samples.
        """
        skipped = min(max(self.start - frame, 0), len(speech))
        self.speech = np.concatenate([self.speech, speech[skipped:]])
        self._samples = np.concatenate([self._samples, samples[skipped * FRAME :]])

    def drop(self, frames: int) -> None:
        """Remove the first `frames` frames from the buffer."""
        self.start += frames
        self._samples = self._samples[frames * FRAME :]
        self.speech = self.speech[frames:]

    def window(self, regions: Iterable[tuple[int, int]]) -> UnpackedWindow:
        """Join regions into a window; each is given as its start and end, in frames from the start of the buffer."""
        samples, times, speech = list[Samples](), list[Times](), list[Probabilities]()
        for start, end in regions:
            speech.append(self.speech[start:end])
            samples.append(self._samples[start * FRAME : end * FRAME])
            offset = (self.start + start) * FRAME
            times.append((offset / SAMPLE_RATE, (offset + len(samples[-1])) / SAMPLE_RATE))
        return UnpackedWindow(times, np.concatenate(samples), np.concatenate(speech))


def chunks(audio: Iterable[Samples]) -> Iterator[Samples]:
    """Regroup the samples of a recording into chunks of 64 s, the first of 35.2 s; only the last may be shorter."""
    chunk, filled = _empty_chunk(FIRST_CHUNK_S), 0
    for samples in audio:
        remaining = samples
        while len(remaining):
            count = min(len(remaining), len(chunk) - filled)
            chunk[filled : filled + count] = remaining[:count]
            remaining, filled = remaining[count:], filled + count
            if filled == len(chunk):
                yield chunk
                chunk, filled = _empty_chunk(LATER_CHUNK_S), 0
    if filled:
        yield chunk[:filled]


def _empty_chunk(seconds: float) -> Samples:
    return np.zeros(round(seconds * FRAMES_PER_SECOND) * FRAME, np.float32)


def detect_windows(audio: Iterable[Samples], start_at: float, detector: VoiceDetector) -> Iterator[DetectedWindows]:
    """Detect the windows of speech in a recording after `start_at` (seconds), which is 0 or the end of a window.

    `audio`: all samples of the recording, in order. After each chunk (about a minute), yield the windows that are now
    complete.
    """
    window_detector = _WindowDetector(ceil(start_at * FRAMES_PER_SECOND - 1e-6), detector)
    buffer = window_detector.buffer
    for chunk in chunks(audio):
        window_detector.append(chunk)
        yield DetectedWindows(list(window_detector.complete(whole=False)), buffer.seconds, buffer.complete_until)
    yield DetectedWindows(list(window_detector.complete(whole=True)), buffer.seconds, buffer.seconds)


def next_window(speech: Probabilities, *, whole: bool) -> list[Region]:
    """Return the regions of the first window in `speech`; [] if there is none, or while more audio may change it.

    `speech`: the probability of speech in each frame, shape (frames,). `whole`: whether no more audio follows.
    """
    regions: list[Region] = []
    length = 0
    for region in _regions(speech, whole=whole):
        if regions and region.end - regions[0].start > _REACH:
            return regions
        if length + region.length > _LONGEST and length >= _ENOUGH:
            return _to_widest_pause(regions)
        if length + region.length > _LONGEST:
            first = speech[region.start : region.start + _LONGEST - length]
            return [*regions, Region(region.start, region.start + quietest_frame(first))]
        if region.open:
            return []
        regions.append(region)
        length += region.length
    complete = whole or (regions and len(speech) - regions[0].start > _REACH)
    return regions if complete else []


def _to_widest_pause(regions: Sequence[Region]) -> list[Region]:
    """Return the regions up to the widest of the pauses that follow the first 10 s of speech in a window.

    All pauses of 0.8 s or more count as equally wide; of equally wide pauses, the last is chosen.
    """
    lengths = list(accumulate(region.length for region in regions))
    ends = [number for number, length in enumerate(lengths) if length >= _ENOUGH]
    return list(regions[: max(ends, key=lambda number: (min(regions[number].pause, _WIDE), number)) + 1])


def _regions(speech: Probabilities, *, whole: bool) -> Iterator[Region]:
    """Yield the regions in `speech` in order, each with up to 0.4 s of silence on both sides.

    If the pause between two regions is shorter than 0.8 s, they meet in the middle of the pause. A region with too few
    frames of speech is skipped, unless it is open, i.e. may continue in audio that is not decoded yet.
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


def quietest_frame(speech: Probabilities) -> int:
    """Return the index of the frame of `speech` in the middle of the longest silence within its second half.

    Without silence there, return the frame of the second half with the lowest probability of speech.
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


class _WindowDetector:
    """Detects the windows of a recording chunk by chunk, from the frame number `start` on."""

    def __init__(self, start: int, detector: VoiceDetector) -> None:
        self._detector = detector
        self._before = np.zeros(0, np.float32)  # the end of the previous chunk
        self.buffer = SpeechBuffer(start)

    def append(self, chunk: Samples) -> None:
        """Detect the speech in the next chunk."""
        frame = self.buffer.received // FRAME
        self.buffer.received += len(chunk)
        if self.buffer.received > self.buffer.start * FRAME:
            self.buffer.append(chunk, self._speech(chunk), frame)
        self._before = chunk[-WARM_UP * FRAME :]

    def _speech(self, chunk: Samples) -> Probabilities:
        if not chunk.any() and not self._before.any():  # a gap in time stamps may be a silence of many hours
            return np.zeros(ceil(len(chunk) / FRAME), np.float32)
        padding = np.zeros(-len(chunk) % FRAME, np.float32)
        # Always a copy, because the detector changes its argument.
        speech = self._detector(np.concatenate([self._before, chunk, padding]))
        return np.asarray(speech, np.float32)[len(self._before) // FRAME :]

    def complete(self, *, whole: bool) -> Iterator[UnpackedWindow]:
        """Yield the windows that are complete now; `whole`: whether no more audio follows."""
        while regions := next_window(self.buffer.speech, whole=whole):
            yield self.buffer.window((region.start, region.end) for region in regions)
            self.buffer.drop(regions[-1].end)
        first = next(_regions(self.buffer.speech, whole=whole), None)
        self.buffer.drop(first.start if first else max(0, len(self.buffer.speech) - _PADDING))

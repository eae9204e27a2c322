"""Convert audio frames of any format to 16 kHz mono, even if the format changes within a recording."""

from collections.abc import Iterable, Iterator
from itertools import groupby

import av
import numpy as np
import numpy.typing as npt

from app.engines.audio.samples import Samples

SAMPLE_RATE = 16_000

_MAX_MIXED_CHANNELS = 8  # the most channels that the resampler can mix


def merge_frames(frames: Iterable[av.AudioFrame], seconds: float) -> Iterator[av.AudioFrame]:
    """Merge short frames into frames of `seconds` seconds; only the last frame in each format may be shorter."""
    # A queue for each format: AudioFifo does not check the layout, and reads planes that a frame does not have.
    for _, group in groupby(frames, _shape):
        queue = av.AudioFifo()
        for frame in group:
            frame.pts = None
            queue.write(frame)
            yield from queue.read_many(round(frame.sample_rate * seconds))
        if remainder := queue.read():
            yield remainder


def _shape(frame: av.AudioFrame) -> tuple[str, str, int]:
    return frame.format.name, frame.layout.name, frame.sample_rate


class Mixer:
    """Converts frames to samples at 16 kHz, from -1 to 1: all channels mixed, or only `channel`, counted from 0.

    Where a frame has another number of channels than `channels`, channel 0 consists of the mix, and any other channel
    of silence.
    """

    def __init__(self, channel: int | None = None, channels: int = 1) -> None:
        self._channel = channel
        self._channels = channels
        self._format: tuple[str, str, int] | None = None
        self._resampler: av.AudioResampler | None = None

    def mix(self, frame: av.AudioFrame) -> Iterator[Samples]:
        """Convert a frame, and yield the samples that the resampler returns so far."""
        frame = self._selected(frame)
        shape = _shape(frame)
        if shape != self._format:
            yield from self.flush()
            self._format = shape
            self._resampler = av.AudioResampler(format="flt", layout="mono", rate=SAMPLE_RATE)
        frame.pts = None  # the caller fills in what is missing between time stamps
        yield from self._resampled(frame)

    def flush(self) -> Iterator[Samples]:
        """Yield the samples that remain in the resampler when the audio ends or the format of the frames changes."""
        yield from self._resampled(None)
        self._resampler = None

    def _selected(self, frame: av.AudioFrame) -> av.AudioFrame:
        channels = frame.layout.nb_channels
        if self._channel is not None and channels == self._channels:
            return _mono(_by_channel(frame)[self._channel][np.newaxis], frame.sample_rate)
        if self._channel:
            return _mono(np.zeros((1, frame.samples)), frame.sample_rate)
        if channels <= _MAX_MIXED_CHANNELS:
            return frame
        # Dividing by the root of their number keeps a voice on one of a hundred channels audible.
        return _mono(_by_channel(frame).sum(axis=0, keepdims=True) / np.sqrt(channels), frame.sample_rate)

    def _resampled(self, frame: av.AudioFrame | None) -> Iterator[Samples]:
        if self._resampler is not None:
            for ready in self._resampler.resample(frame):
                yield np.nan_to_num(ready.to_ndarray()[0].astype(np.float32, copy=False))


def _by_channel(frame: av.AudioFrame) -> npt.NDArray[np.float64]:
    channels = frame.layout.nb_channels
    if frame.format.is_planar and channels >= _MAX_MIXED_CHANNELS:  # PyAV would read one plane too many
        packed = av.AudioResampler(format="flt", layout=frame.layout, rate=frame.sample_rate)
        parts = [part.to_ndarray() for part in (*packed.resample(frame), *packed.resample(None))]
        return np.concatenate(parts, axis=1).reshape(-1, channels).T.astype(np.float64)
    samples = frame.to_ndarray()
    values = (samples if frame.format.is_planar else samples.reshape(-1, channels).T).astype(np.float64)
    if samples.dtype.kind == "f":
        return values
    full = float(2 ** (8 * samples.dtype.itemsize - 1))
    return values / full - 1 if samples.dtype.kind == "u" else values / full


def _mono(samples: npt.NDArray[np.float64], rate: int) -> av.AudioFrame:
    mono = av.AudioFrame.from_ndarray(np.clip(samples, -1, 1).astype(np.float32), format="flt", layout="mono")
    mono.sample_rate = rate
    return mono

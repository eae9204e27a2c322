"""Convert audio frames of any format to 16 kHz mono, even if the format changes within a recording."""

from collections.abc import Iterator

import av
import numpy as np
import numpy.typing as npt

from app.engines.audio.samples import Samples

SAMPLE_RATE = 16_000

_WIDEST_LAYOUT = 8  # the most channels that the resampler can mix


class Mixer:
    """Converts frames to float samples between -1 and 1: all channels mixed, or only `channel`, counted from 0."""

    def __init__(self, channel: int | None = None) -> None:
        self._channel = channel
        self._shape: tuple[str, str, int] | None = None
        self._resampler: av.AudioResampler | None = None

    def mix(self, frame: av.AudioFrame) -> Iterator[Samples]:
        """Convert a frame; yield the samples that are ready after it."""
        if self._channel is not None:
            frame = _only(frame, self._channel)
        elif frame.layout.nb_channels > _WIDEST_LAYOUT:
            frame = _mixed(frame)
        shape = (frame.format.name, frame.layout.name, frame.sample_rate)
        if shape != self._shape:
            yield from self.flush()
            self._shape = shape
            self._resampler = av.AudioResampler(format="flt", layout="mono", rate=SAMPLE_RATE)
        frame.pts = None  # the caller fills in what is missing between time stamps
        yield from self._resampled(frame)

    def flush(self) -> Iterator[Samples]:
        """Yield the samples that the resampler still holds."""
        yield from self._resampled(None)
        self._resampler = None

    def _resampled(self, frame: av.AudioFrame | None) -> Iterator[Samples]:
        if self._resampler is not None:
            for ready in self._resampler.resample(frame):
                yield np.nan_to_num(ready.to_ndarray()[0].astype(np.float32, copy=False))


def _only(frame: av.AudioFrame, channel: int) -> av.AudioFrame:
    """Return one channel of a frame; if the format has changed and the frame has fewer channels, its last channel."""
    by_channel = _by_channel(frame)
    return _mono(by_channel[min(channel, len(by_channel) - 1)][np.newaxis], frame.sample_rate)


def _mixed(frame: av.AudioFrame) -> av.AudioFrame:
    """Mix all channels: divide by the root of their number, so that a voice on one of a hundred channels is heard."""
    by_channel = _by_channel(frame)
    return _mono(by_channel.sum(axis=0, keepdims=True) / np.sqrt(len(by_channel)), frame.sample_rate)


def _by_channel(frame: av.AudioFrame) -> npt.NDArray[np.float64]:
    channels = frame.layout.nb_channels
    if frame.format.is_planar and channels >= _WIDEST_LAYOUT:  # PyAV would read one plane too many
        packed = av.AudioResampler(format="flt", layout=frame.layout, rate=frame.sample_rate)
        parts = [part.to_ndarray() for part in (*packed.resample(frame), *packed.resample(None))]
        return np.concatenate(parts, axis=1).reshape(-1, channels).T.astype(np.float64)
    samples = frame.to_ndarray()
    return _scaled(samples if frame.format.is_planar else samples.reshape(-1, channels).T)


def _mono(samples: npt.NDArray[np.float64], rate: int) -> av.AudioFrame:
    mono = av.AudioFrame.from_ndarray(np.clip(samples, -1, 1).astype(np.float32), format="flt", layout="mono")
    mono.sample_rate = rate
    return mono


def _scaled(samples: npt.NDArray[np.generic]) -> npt.NDArray[np.float64]:
    values = samples.astype(np.float64)
    if samples.dtype.kind == "f":
        return values
    full = float(2 ** (8 * samples.dtype.itemsize - 1))
    return values / full - 1 if samples.dtype.kind == "u" else values / full

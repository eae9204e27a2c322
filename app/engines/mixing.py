"""Any frame to 16 kHz mono, also where the format changes in the middle of a recording."""

from collections.abc import Iterator

import av
import numpy as np
import numpy.typing as npt

from app.engines.samples import Samples

SAMPLE_RATE = 16_000

_WIDEST_LAYOUT = 8  # channels that the resampler mixes by itself


class Mixer:
    """Turns frames into float samples between -1 and 1."""

    def __init__(self) -> None:
        self._shape: tuple[str, str, int] | None = None
        self._resampler: av.AudioResampler | None = None

    def mix(self, frame: av.AudioFrame) -> Iterator[Samples]:
        """The samples that are ready after this frame."""
        if frame.layout.nb_channels > _WIDEST_LAYOUT:
            frame = _mono(frame)
        shape = (frame.format.name, frame.layout.name, frame.sample_rate)
        if shape != self._shape:
            yield from self.flush()
            self._shape = shape
            self._resampler = av.AudioResampler(format="flt", layout="mono", rate=SAMPLE_RATE)
        frame.pts = None  # gaps are the caller's business
        yield from self._resampled(frame)

    def flush(self) -> Iterator[Samples]:
        """The samples still held back."""
        if self._resampler is not None:
            yield from self._resampled(None)
        self._resampler = None

    def _resampled(self, frame: av.AudioFrame | None) -> Iterator[Samples]:
        if self._resampler is not None:
            for ready in self._resampler.resample(frame):
                yield np.nan_to_num(ready.to_ndarray()[0].astype(np.float32, copy=False))


def _mono(frame: av.AudioFrame) -> av.AudioFrame:
    """All channels as one; a voice on one of a hundred must still be heard, hence the root."""
    channels = frame.layout.nb_channels
    samples = frame.to_ndarray()
    by_channel = samples if frame.format.is_planar else samples.reshape(-1, channels).T
    mixed = _scaled(by_channel).sum(axis=0, keepdims=True) / np.sqrt(channels)
    mono = av.AudioFrame.from_ndarray(np.clip(mixed, -1, 1).astype(np.float32), format="flt", layout="mono")
    mono.sample_rate = frame.sample_rate
    return mono


def _scaled(samples: npt.NDArray[np.generic]) -> npt.NDArray[np.float64]:
    values = samples.astype(np.float64)
    if samples.dtype.kind == "f":
        return values
    full = float(2 ** (8 * samples.dtype.itemsize - 1))
    return values / full - 1 if samples.dtype.kind == "u" else values / full

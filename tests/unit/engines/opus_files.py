"""Files as browsers record them: Opus in Ogg or WebM."""

import io

import av
import numpy as np
import numpy.typing as npt
from av.audio.stream import AudioStream

RATE = 48_000
RECORDED = {"webm": {"live": "1", "cluster_time_limit": "1000"}}  # unknown sizes, as a browser writes
Samples = npt.NDArray[np.int16]


def hum(seconds: float, channels: int = 1, rate: int = RATE) -> Samples:
    """A tone whose loudness changes, another one on each channel."""
    time = np.arange(round(seconds * rate)) / rate
    tones = [np.sin(2 * np.pi * 330 * (number + 1) * time) * np.sin(3 * time) for number in range(channels)]
    return np.asarray(np.stack(tones, axis=1) * 12_000, np.int16)


def recorded(kind: str, samples: Samples, *, codec: str = "libopus", rate: int = RATE, bit_rate: int = 0) -> bytes:
    """A file with these samples, (time, channel)."""
    file = io.BytesIO()
    layout = "mono" if samples.shape[1] == 1 else "stereo"
    with av.open(file, "w", format=kind, options=RECORDED.get(kind, {})) as container:
        stream = container.add_stream(codec, rate=rate, layout=layout)
        assert isinstance(stream, AudioStream)
        if bit_rate:
            stream.bit_rate = bit_rate
        for at in range(0, len(samples), rate // 50):
            part = np.ascontiguousarray(samples[at : at + rate // 50])
            frame = av.AudioFrame.from_ndarray(part.reshape(1, -1), format="s16", layout=layout)
            frame.sample_rate, frame.pts = rate, at
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return file.getvalue()

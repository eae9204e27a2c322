"""Test audio: the LibriVox clips, generated samples, and samples written as files of any format."""

import struct
from collections.abc import Sequence
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
from av.audio.stream import AudioStream
from av.container import OutputContainer

from app.engines.audio.decoding import decode
from app.engines.audio.limits import Budget, Limit
from app.engines.audio.mixing import SAMPLE_RATE

Samples = npt.NDArray[np.float32]

CLIPS = sorted((Path(__file__).parent / "recordings" / "librivox").glob("*.flac"))
NO_LIMIT = Limit(float("inf"), "AUDIO_MAX_SECONDS")


def load(path: Path, channel: int | None = None) -> Samples:
    return np.concatenate(list(decode(path, Budget(NO_LIMIT), channel)))


def tone(seconds: float, frequency: float = 440) -> Samples:
    time = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    return (np.sin(2 * np.pi * frequency * time) * 0.3).astype(np.float32)


def strength(samples: Samples, frequency: float, second: float = 0.5) -> float:
    """How loud a frequency is in the second of audio that starts at an offset."""
    start = round(second * SAMPLE_RATE)
    spectrum = np.abs(np.fft.rfft(samples[start : start + SAMPLE_RATE]))
    return float(spectrum[round(frequency)] * 2 / SAMPLE_RATE)


def silence(seconds: float) -> Samples:
    return np.zeros(round(seconds * SAMPLE_RATE), np.float32)


def write(path: Path, samples: Samples, codec: str, *, rate: int = SAMPLE_RATE, layout: str = "mono") -> Path:
    """Write samples as the format of the path's suffix."""
    with av.open(str(path), "w") as container:
        _add_audio(container, samples, codec, rate=rate, layout=layout)
    return path


def write_channels(path: Path, channels: Sequence[Samples], codec: str, *, rate: int = SAMPLE_RATE) -> Path:
    """Write a recording of which each channel has other samples."""
    layout = "mono" if len(channels) == 1 else "stereo" if len(channels) == 2 else f"{len(channels)}c"
    frame = av.AudioFrame.from_ndarray(np.stack(channels), format="fltp", layout=layout)
    with av.open(str(path), "w") as container:
        add_frame(container, frame, codec, rate=rate, layout=layout)
    return path


def write_mp3_without_duration(path: Path, samples: Samples, bit_rate: int | None = None) -> Path:
    frame = av.AudioFrame.from_ndarray(samples[np.newaxis], format="flt", layout="mono")
    with av.open(str(path), "w", options={"write_xing": "0"}) as container:
        add_frame(container, frame, "libmp3lame", rate=SAMPLE_RATE, layout="mono", bit_rate=bit_rate)
    return path


def write_film(path: Path, samples: Samples | None) -> Path:
    """A film: two seconds of a grey picture, and the samples, if any, as its audio."""
    with av.open(str(path), "w") as container:
        pictures = container.add_stream("mpeg4", rate=5)
        pictures.width, pictures.height, pictures.pix_fmt = 64, 64, "yuv420p"
        picture = np.full((64, 64, 3), 128, np.uint8)
        if samples is not None:
            _add_audio(container, samples, "aac", rate=SAMPLE_RATE, layout="mono")
        for _ in range(10):
            container.mux(pictures.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(pictures.encode(None))
    return path


def _add_audio(container: OutputContainer, samples: Samples, codec: str, *, rate: int, layout: str) -> None:
    frame = av.AudioFrame.from_ndarray(samples[np.newaxis], format="flt", layout="mono")
    add_frame(container, frame, codec, rate=rate, layout=layout)


def add_frame(
    container: OutputContainer, frame: av.AudioFrame, codec: str, *, rate: int, layout: str, bit_rate: int | None = None
) -> None:
    frame.sample_rate, frame.pts = SAMPLE_RATE, 0
    stream = container.add_stream(codec, rate=rate, layout=layout)
    assert isinstance(stream, AudioStream)
    if bit_rate is not None:
        stream.bit_rate = bit_rate
    resampler = av.AudioResampler(
        format=stream.codec_context.format, layout=layout, rate=rate, frame_size=stream.codec_context.frame_size or 1024
    )
    for piece in [*resampler.resample(frame), *resampler.resample(None)]:
        container.mux(stream.encode(piece))
    container.mux(stream.encode(None))


def wav(samples: Samples, *, channels: int = 1, promised: int | None = None) -> bytes:
    """A WAV whose last channel has the samples and whose header promises this number of bytes, true or not."""
    frames = np.zeros((len(samples), channels), "<i2")
    frames[:, -1] = samples * 32767
    data = frames.tobytes()
    size = len(data) if promised is None else promised
    layout = struct.pack("<IHHIIHH", 16, 1, channels, SAMPLE_RATE, SAMPLE_RATE * channels * 2, channels * 2, 16)
    return (
        struct.pack("<4sI8s", b"RIFF", min(size + 36, 2**32 - 1), b"WAVEfmt ")
        + layout
        + struct.pack("<4sI", b"data", size)
        + data
    )

"""Recordings whose words are known: made of the repository's own, as long as a measurement wants them."""

import wave
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt

Samples = npt.NDArray[np.int16]

ROOT = Path(__file__).parents[2]
DEMO = ROOT / "app/command/demo/two_readers.flac"
CLIPS = tuple(sorted((ROOT / "tests/recordings/librivox").glob("*.flac")))
RATE = 16_000  # Hz
PAUSE = 0.5  # seconds between recordings


@dataclass(frozen=True)
class Spoken:
    """A recording, its duration, and its reference text."""

    path: Path
    seconds: float
    words: str


def speech(path: Path, minutes: int) -> Spoken:
    """Speech without a rest: all clips and the demo, about a minute, again and again."""
    samples, words = _minute()
    write(path, [samples] * minutes)
    return Spoken(path, minutes * len(samples) / RATE, " ".join([words] * minutes))


def talk_and_silence(path: Path, minutes: int, *, talk_first: int, then_every: int) -> None:
    """A recording that starts with this number of minutes of speech; of the others, each `then_every`-th has some."""
    silence, (talk, _) = np.zeros(60 * RATE, np.int16), _minute()
    write(path, [talk if minute < talk_first or minute % then_every == 0 else silence for minute in range(minutes)])


def words_of(recording: Path) -> str:
    """The reference text of one of the repository's recordings."""
    lines = recording.with_suffix(".txt").read_text(encoding="utf-8").splitlines()
    return " ".join(line.partition(": ")[2] or line for line in lines).strip()


@cache
def _minute() -> tuple[Samples, str]:
    pause = np.zeros(int(PAUSE * RATE), np.int16)
    recordings = (*CLIPS, DEMO)
    samples = [part for recording in recordings for part in (read(recording), pause)]
    return np.concatenate(samples), " ".join(map(words_of, recordings))


def read(recording: Path) -> Samples:
    """The samples of a recording at 16 kHz, mono."""
    with av.open(str(recording)) as container:
        return np.concatenate([frame.to_ndarray()[0] for frame in container.decode(audio=0)]).astype(np.int16)


def channels_of(recording: Path) -> list[Samples]:
    """The samples of each channel at 16 kHz."""
    resampler = av.AudioResampler(format="s16p", rate=RATE)
    with av.open(str(recording)) as container:
        decoded = [*container.decode(audio=0), None]  # the last flushes the resampler
        parts = [part.to_ndarray() for frame in decoded for part in resampler.resample(frame)]
    return list(np.concatenate(parts, axis=1))


def write(path: Path, parts: Sequence[Samples]) -> None:
    """A wav file, part after part; a part with several channels has the shape (samples, channels)."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(parts[0].shape[1] if parts[0].ndim > 1 else 1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        for part in parts:
            file.writeframes(part.astype("<i2").tobytes())

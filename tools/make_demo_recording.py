"""Make the demo recording, in which two readers take turns, and a file that says who speaks when.

The clips come from the Debian package ``pocketsphinx-testdata`` (BSD-2-Clause). SPEAKER_00 reads
Jane Austen for LibriVox; SPEAKER_01 is the speaker of the package's command and digit recordings.
The readers never met: this script joins their clips, each at the same loudness. The order was
chosen so that the speakers are easy to tell apart: the recording is a demonstration, no benchmark.

    apt-get download pocketsphinx-testdata
    dpkg -x pocketsphinx-testdata_*.deb testdata
    pip install numpy soundfile
    python tools/make_demo_recording.py testdata/usr/share/pocketsphinx/test/data
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import soundfile

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    Samples = npt.NDArray[np.float64]

NAME = "two_readers"
SAMPLE_RATE = 16_000
FRAME = SAMPLE_RATE // 50
"""Samples in a frame of 20 ms; each frame is taken for speech or for silence."""

BACKGROUND_PERCENTILE = 10
"""The background level of a clip is this percentile of the levels of its frames."""

SPEECH_LEVEL = 1 / 3
"""A frame is speech if its level is above this fraction of the way from background to loudest frame, in decibels."""

MARGIN = 0.2
"""Seconds of a clip's own background kept before and after its speech."""

LOUDNESS = 0.08
"""Root mean square of the speech of every clip."""

AUSTEN = "librivox/sense_and_sensibility_01_austen_64kb-{}.wav"


@dataclass(frozen=True)
class Clip:
    """One file of the package, its speaker and text, and the pause after the clip in seconds."""

    speaker: str
    file: str
    text: str
    pause: float


@dataclass(frozen=True)
class Span:
    """Where a clip's speech lies in the recording, in seconds."""

    start: float
    end: float


CLIPS = (
    Clip(
        "SPEAKER_00",
        AUSTEN.format("0870"),
        "and mister john dashwood had then leisure to consider how much there might be prudently"
        " in his power to do for them",
        0.7,
    ),
    Clip("SPEAKER_01", "something.raw", "go somewhere and do something", 0.4),
    Clip("SPEAKER_01", "goforward.raw", "go forward ten meters", 0.7),
    Clip("SPEAKER_00", AUSTEN.format("0880"), "he was not an ill disposed young man", 0.4),
    Clip(
        "SPEAKER_00",
        AUSTEN.format("0890"),
        "unless to be rather cold hearted and rather selfish is to be ill disposed",
        0.7,
    ),
    Clip("SPEAKER_01", "tidigits/dhd.2934z.raw", "two nine three four zero", 0.7),
    Clip(
        "SPEAKER_00",
        AUSTEN.format("0920"),
        "had he married a more amiable woman he might have been made still more respectable than he was",
        0.4,
    ),
    Clip(
        "SPEAKER_00",
        AUSTEN.format("0930"),
        "he might even have been made amiable himself",
        0.7,
    ),
)


def read(path: Path) -> Samples:
    """Read a clip; the package's raw files are 16-bit little-endian mono at 16 kHz."""
    if path.suffix == ".raw":
        return np.frombuffer(path.read_bytes(), "<i2") / 32768
    samples, rate = soundfile.read(path)
    if rate != SAMPLE_RATE:
        message = f"{path} has {rate} samples a second, not {SAMPLE_RATE}"
        raise ValueError(message)
    return np.asarray(samples)


def speech_bounds(samples: Samples) -> tuple[int, int]:
    """Find the first and the last sample of a clip's speech by its loudness."""
    frames = samples[: len(samples) // FRAME * FRAME].reshape(-1, FRAME)
    level = 20 * np.log10(np.sqrt(np.mean(frames**2, axis=1)) + 1e-9)
    background = np.percentile(level, BACKGROUND_PERCENTILE)
    loud = np.flatnonzero(level > background + SPEECH_LEVEL * (level.max() - background))
    return int(loud[0]) * FRAME, (int(loud[-1]) + 1) * FRAME


def cut(samples: Samples) -> tuple[Samples, int]:
    """Trim a clip to its speech and margins, level it and fade its ends; return it and its offset in the file."""
    start, end = speech_bounds(samples)
    margin = int(MARGIN * SAMPLE_RATE)
    level = float(np.sqrt(np.mean(samples[start:end] ** 2)))
    before = max(0, start - margin)
    piece = samples[before : end + margin] * (LOUDNESS / level)
    fade = np.linspace(0, 1, FRAME)
    piece[:FRAME] *= fade
    piece[-FRAME:] *= fade[::-1]
    return piece, before


def assemble(folder: Path, clips: Sequence[Clip]) -> tuple[Samples, list[Span]]:
    """Join the clips so that between the speech of two clips is the first clip's pause; return the spans of speech."""
    spans: list[Span] = []
    placed: list[tuple[int, Samples]] = []
    clock = int(0.5 * SAMPLE_RATE)
    for clip in clips:
        samples = read(folder / clip.file)
        start, end = speech_bounds(samples)
        piece, origin = cut(samples)
        placed.append((clock - (start - origin), piece))
        spans.append(Span(clock / SAMPLE_RATE, (clock + end - start) / SAMPLE_RATE))
        clock += end - start + int(clip.pause * SAMPLE_RATE)
    recording = np.zeros(clock)
    for offset, piece in placed:
        recording[offset : offset + len(piece)] += piece
    return recording, spans


def rttm(clips: Sequence[Clip], spans: Sequence[Span]) -> str:
    """Write who speaks when as RTTM, one line for each clip."""
    return "".join(
        f"SPEAKER {NAME} 1 {span.start:.3f} {span.end - span.start:.3f} <NA> <NA> {clip.speaker} <NA> <NA>\n"
        for clip, span in zip(clips, spans, strict=True)
    )


def turns(clips: Sequence[Clip]) -> str:
    """Write who says what, one line for each turn."""
    lines: list[tuple[str, str]] = []
    for clip in clips:
        if lines and lines[-1][0] == clip.speaker:
            lines[-1] = (clip.speaker, f"{lines[-1][1]} {clip.text}")
        else:
            lines.append((clip.speaker, clip.text))
    return "".join(f"{speaker}: {text}\n" for speaker, text in lines)


def main() -> None:
    """Write the recording, its RTTM and its text into the folder ``--to``."""
    parser = argparse.ArgumentParser(description="Cut the demo recording.")
    parser.add_argument("data", type=Path, help="the package's folder pocketsphinx/test/data")
    parser.add_argument("--to", type=Path, default=Path("app/cli/demo"), help="folder to write")
    options = parser.parse_args()
    recording, spans = assemble(options.data, CLIPS)
    target: Path = options.to / NAME
    soundfile.write(target.with_suffix(".flac"), recording, SAMPLE_RATE, subtype="PCM_16")
    target.with_suffix(".rttm").write_text(rttm(CLIPS, spans), encoding="utf-8")
    target.with_suffix(".txt").write_text(turns(CLIPS), encoding="utf-8")


if __name__ == "__main__":
    main()

"""Hours of live audio without speech: how many words the service finds in it.

The utterance detection and the engine of a live task run in this process, as fast as they can.
"""

import asyncio
import os
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from natscribe.schemas.live import LiveAudio

from app.engines.messages import (
    CloseLiveStream,
    LiveAudioProcessed,
    ProcessLiveAudio,
    Reply,
    Setup,
    Transcribe,
    WindowsTranscribed,
)
from app.engines.process.job_runner import JobRunner
from app.settings import Settings
from benchmarks.report import Findings, Table, whole
from benchmarks.sizes import Sizes
from benchmarks.stack import ROOT
from tests.truth.recordings import RATE, channels_of

MUSIC = "MUSIC_RECORDINGS"  # names a folder with music on hold
Sound = npt.NDArray[np.float64]  # ten seconds, or less
PIECE = 10 * RATE
PIECES_OF_A_LEVEL = 6  # a minute


@dataclass(frozen=True)
class Found:
    """What was found in sound of one kind."""

    name: str
    hours: float
    utterances: int
    words: int


async def measure(sizes: Sizes) -> Findings:
    """Process each kind of sound for an equal part of the hours."""
    kinds = _kinds()
    found = []
    for name, sound in kinds.items():
        sizes.log(name)
        found.append(await asyncio.to_thread(_process, name, sound, sizes.silent_hours / len(kinds)))
    total = sum(row.words for row in found)
    title = f"Live audio without speech: words found in {sizes.silent_hours:g} hours"
    rows = [(row.name, f"{row.hours:.1f}", whole(row.utterances), whole(row.words)) for row in found]
    notes = [
        "Utterance detection and engine of a live task, faster than the audio would be played.",
        "Another level each minute; music is that of Debian's asterisk-moh-opsound-wav.",
    ]
    return Findings([Table(title, ("", "hours", "utterances", "words"), rows, notes)], {"words_in_silence": total})


def _process(name: str, sound: Iterator[Sound], hours: float) -> Found:
    """Send sound as live audio, a second at a time, and transcribe what is taken for an utterance."""
    runner, seconds, utterances, words = JobRunner(_setup()), 0.0, 0, 0
    while seconds < hours * 3600:
        pcm = (np.clip(next(sound), -1, 1) * (2**15 - 1)).astype("<i2")
        for at in range(0, len(pcm), RATE):
            data = b64encode(pcm[at : at + RATE].tobytes()).decode()
            job = ProcessLiveAudio(stream=name, audio=LiveAudio(), first=not seconds, data=data, include_open=False)
            for reply in _run(runner, job):
                if isinstance(reply, LiveAudioProcessed):
                    utterances += len(reply.windows)
                    words += sum(
                        _words(runner, Transcribe(windows=[window], previous=[None])) for window in reply.windows
                    )
            seconds += len(pcm[at : at + RATE]) / RATE
    _run(runner, CloseLiveStream(stream=name))
    return Found(name, seconds / 3600, utterances, words)


def _words(runner: JobRunner, job: Transcribe) -> int:
    texts = [text for reply in _run(runner, job) if isinstance(reply, WindowsTranscribed) for text in reply.texts]
    return sum(len(segment.text.split()) for text in texts for segment in text.segments)


def _run(runner: JobRunner, job: ProcessLiveAudio | CloseLiveStream | Transcribe) -> list[Reply]:
    replies = list[Reply]()
    runner.run(job, replies.append)
    return replies


def _setup() -> Setup:
    settings = Settings(_env_file=None)
    return Setup.model_validate(
        {name: getattr(settings, name) for name in Setup.model_fields if name in Settings.model_fields}
        | {"engine_threads": 1, "engine_parallel": 1}
    )


def _kinds() -> dict[str, Iterator[Sound]]:
    random = np.random.default_rng(1)
    kinds = {
        "digital silence": _repeated(np.zeros(PIECE)),
        "a quiet room: pink noise, -70 to -50 dB": _noise(random, 1, (-70, -60, -50)),
        "mains hum of 50 Hz with noise": _noise(random, 0, (-70, -60), hum=0.05),
        "white noise, -40 to -15 dB": _noise(random, 0, (-40, -30, -20, -15)),
        "pink noise, -40 to -15 dB": _noise(random, 1, (-40, -30, -20, -15)),
        "brown noise, -40 to -15 dB": _noise(random, 2, (-40, -30, -20, -15)),
        "clicks": _clicks(random),
    }
    folder = os.environ.get(MUSIC)
    return kinds | ({"music on hold": _music(ROOT / folder)} if folder else {})


def _repeated(sound: Sound) -> Iterator[Sound]:
    while True:
        yield sound


def _noise(random: np.random.Generator, slope: int, levels: tuple[int, ...], *, hum: float = 0.0) -> Iterator[Sound]:
    """Noise whose power falls with the frequency to the power of `slope`, and hum with odd and even harmonics."""
    times = np.arange(PIECE) / RATE
    tone = hum * sum((np.sin(2 * np.pi * 50 * number * times) / number for number in (1, 2, 3, 5, 7)), np.zeros(PIECE))
    while True:
        for level in levels:
            for _ in range(PIECES_OF_A_LEVEL):
                spectrum = np.fft.rfft(random.normal(size=PIECE))
                noise = np.fft.irfft(spectrum / np.maximum(np.arange(len(spectrum)), 1) ** (slope / 2), PIECE)
                yield noise / noise.std() * 10 ** (level / 20) + tone


def _clicks(random: np.random.Generator) -> Iterator[Sound]:
    length = RATE // 20
    while True:
        sound = random.normal(size=PIECE) * 1e-3
        for _ in range(random.integers(0, 12)):
            at, decay = random.integers(0, PIECE - length), np.exp(-np.arange(length) / random.integers(20, 200))
            sound[at : at + length] += random.normal(size=length) * decay * random.uniform(0.05, 0.5)
        yield sound


def _music(folder: Path) -> Iterator[Sound]:
    pieces = [channels_of(path)[0] / 2**15 for path in sorted(folder.rglob("*.wav"))]
    while True:
        for piece in pieces:
            yield from (piece[at : at + PIECE] for at in range(0, len(piece), PIECE))

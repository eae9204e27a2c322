"""Decide whether the channels of a recording carry different speech, as the two sides of a call do.

A channel has speech of its own while speech is detected in it and no other channel carries the same voice.
A copy of a voice is the same speech, even if it is quieter, later or with more echo: two microphones in one room record
the same people, and transcribed separately they would give every sentence twice. Figures: docs/decisions/0028.
"""

from collections.abc import Sequence
from itertools import combinations, pairwise
from math import ceil
from pathlib import Path

import numpy as np
import numpy.typing as npt
from faster_whisper.vad import get_vad_model

from app.engines.audio.decoding import COMPARED_S, chunks_at
from app.engines.audio.limits import Budget
from app.engines.audio.mixing import SAMPLE_RATE
from app.engines.audio.samples import Samples
from app.engines.audio.windows import FRAME, SPEECH, VoiceDetector

MAX_CHUNKS = 24
ENOUGH_SPEECH_S = 60.0  # no more chunks are compared after this much speech
MIN_SPEECH_S = 1.0  # a channel with less speech is silent, except for noise
MIN_OWN_SHARE = 0.6  # share of a channel's speech that has to be its own
SAME_VOICE_CORRELATION = 0.5  # two channels with a spectrogram correlation above this carry the same voice

_GOLDEN = 0.6180339887  # multiples of the golden ratio, without their integer parts, are spread evenly
_HINT = 0.15  # probability from which another channel may have the same speech, though more quietly
_BLOCK = 31  # frames that are compared at once: about a second
_HOP = FRAME // 2  # samples between two columns of a spectrogram
_MAX_SHIFT = 31  # hops between the channels: about half a second
# Limits of the bands of a spectrogram in bins of 31 Hz: from 125 to 3500 Hz, which telephones transmit.
_BANDS = np.unique(np.round(np.geomspace(4, 112, 19)).astype(int))
_SILENCE = 1e-9  # power that keeps the logarithm of digital silence finite

Spectrogram = npt.NDArray[np.float32]
FrameMask = npt.NDArray[np.bool_]


class ChannelSpeech:
    """Measures how much speech each channel of a recording has, and how much of that speech is in no other channel.

    The figures are totals over the chunks added so far, which are excerpts of up to 10 s.
    """

    def __init__(self, channels: int, detector: VoiceDetector | None = None) -> None:
        self._detector = detector or get_vad_model()
        self._voiced = np.zeros(channels)  # seconds
        self._own = np.zeros(channels)  # seconds
        self.seconds = 0.0  # with speech in any channel

    @property
    def differs(self) -> bool:
        """Whether two or more channels have speech, and most of the speech of each of them is in no other channel."""
        speaking = self._voiced >= MIN_SPEECH_S
        return bool(speaking.sum() > 1 and (self._own >= MIN_OWN_SHARE * self._voiced)[speaking].all())

    def add(self, chunk: Sequence[Samples]) -> None:
        """Add the speech in an excerpt of up to 10 s to the totals.

        `chunk`: the samples of each channel, all equally long.
        """
        whole = len(chunk[0]) // FRAME * FRAME
        if not whole:
            return
        probabilities = np.stack([self._detector(channel[:whole].copy()) for channel in chunk])
        voiced, hinted = probabilities >= SPEECH, probabilities >= _HINT
        own = voiced.copy()
        for a, b in combinations(range(len(chunk)), 2):
            shared = voiced[[a, b]] & hinted[[b, a]]
            if shared.any():
                own[[a, b]] &= ~(shared & _same(np.logical_or(*shared), chunk[a][:whole], chunk[b][:whole]))
        self._voiced += voiced.sum(axis=1) * FRAME / SAMPLE_RATE
        self._own += own.sum(axis=1) * FRAME / SAMPLE_RATE
        self.seconds += voiced.any(axis=0).sum() * FRAME / SAMPLE_RATE


def channels_differ(path: Path, budget: Budget, seconds: float, channels: int) -> bool:
    """Return whether the channels of a recording carry different speech, as the two sides of a call do.

    `seconds`: the duration of the recording. `channels`: the number of its channels. `budget`: limits the CPU time and
    the memory for reading. Up to 24 excerpts from all over the recording are compared, until they contain a minute of
    speech. The result depends on the recording alone, so that each attempt at a task gets the same result.

    Raises:
        PermanentError: audio_unreadable, audio_too_large.
    """
    speech = ChannelSpeech(channels)
    for chunk in chunks_at(path, budget, channels, _starts(seconds)):
        speech.add(chunk)
        if speech.seconds >= ENOUGH_SPEECH_S:
            break
    return speech.differs


def _starts(seconds: float) -> list[float]:
    """Choose where the compared excerpts start, in seconds; even the first few of them are spread over the recording.

    `seconds`: the duration of the recording.
    """
    number = min(ceil(seconds / COMPARED_S), MAX_CHUNKS)
    step = max(seconds / number, COMPARED_S)
    return [index * step for index in sorted(range(number), key=lambda index: index * _GOLDEN % 1)]


def _same(mask: FrameMask, a: Samples, b: Samples) -> FrameMask:
    """Return for each frame whether the channels `a` and `b` carry the same voice.

    The channels are compared block by block, in blocks of 31 frames (about 1 s), whose frames all get the same value.
    `mask`: True for the frames in which one channel has speech, and the other has speech or at least a hint of it.
    Blocks without such a frame are not compared: their value is False.
    """
    same = np.zeros(len(mask), np.bool_)
    one, other = spectrogram(a), spectrogram(b)
    for first in range(0, len(mask), _BLOCK):
        frames = slice(first, first + _BLOCK)
        if mask[frames].any():
            block = one[2 * first : 2 * (first + _BLOCK)]
            nearby = other[max(2 * first - _MAX_SHIFT, 0) : 2 * first + _MAX_SHIFT + len(block)]
            same[frames] = likeness(block, nearby) > SAME_VOICE_CORRELATION
    return same


def likeness(block: Spectrogram, nearby: Spectrogram) -> float:
    """Return the highest correlation of a spectrogram with a part of equal length of another one.

    `nearby`: the other channel somewhat before and after the `block`, because a voice may reach one microphone later.
    """
    centred = _centred(block)
    starts = range(len(nearby) - len(block) + 1)
    return max((_correlation(centred, _centred(nearby[at : at + len(block)])) for at in starts), default=0.0)


def _centred(columns: Spectrogram) -> Spectrogram:
    centred: Spectrogram = columns - columns.mean(axis=0)
    return centred


def _correlation(a: Spectrogram, b: Spectrogram) -> float:
    power = float((a * a).sum() * (b * b).sum())
    return float((a * b).sum()) / power**0.5 if power > 0 else 0.0


def spectrogram(samples: Samples) -> Spectrogram:
    """Compute the log power in each frequency band, shape (times, bands), with one row every 16 ms."""
    frames = np.lib.stride_tricks.sliding_window_view(np.pad(samples, (0, _HOP)), FRAME)[::_HOP]
    power = np.abs(np.fft.rfft(frames * np.hanning(FRAME).astype(np.float32))) ** 2
    bands = [power[:, low:high].mean(axis=1) for low, high in pairwise(_BANDS)]
    return np.log(np.column_stack(bands) + _SILENCE).astype(np.float32)

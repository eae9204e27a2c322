"""Crosstalk of live audio: the speech of one channel, more quietly in another one, as the echo in a telephone call.

The person on the other side would otherwise be a speaker of this channel, too, and perhaps even its first one.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np

from app.engines.audio.channels import SAME_VOICE_CORRELATION, Spectrogram, likeness, spectrogram
from app.engines.audio.samples import Samples
from app.engines.audio.windows import FRAME, FRAMES_PER_SECOND, UnpackedWindow

_BLOCK: Final = 16  # frames that are compared at once, 0.5 s: also the longest delay of crosstalk
_BLOCK_SAMPLES: Final = _BLOCK * FRAME
_KEPT: Final = 2048  # blocks, 17 minutes: more than a job of the engine may have
_MIN_POWER_RATIO: Final = 4.0  # crosstalk has at least 6 dB less power than the speech in the other channel


class Crosstalk:
    """Detects which blocks of each channel of a live stream are crosstalk: the voice of another channel, and quieter.

    The voice may be up to half a second late. Where people speak at the same time, the louder one decides: so most of a
    person's own speech is no crosstalk.
    """

    def __init__(self, channels: int, first: int) -> None:
        """`first`: the number of the first frame of 512 samples that `append` gets, 0 at the start of the recording."""
        self._first = first
        self._samples: Sequence[Samples] = [np.zeros(_BLOCK_SAMPLES, np.float32)] * channels  # from the last block on
        self._is_crosstalk = np.zeros((channels, _KEPT), np.bool_)  # of the last blocks, in turn
        self._blocks = 0  # how many blocks were compared

    def append(self, channel: int, samples: Samples) -> None:
        """Add the next samples of a channel; compare the channels as far as all of them have arrived."""
        own = np.concatenate([self._samples[channel], samples])
        self._samples = [*self._samples[:channel], own, *self._samples[channel + 1 :]]
        while min(map(len, self._samples)) >= 2 * _BLOCK_SAMPLES:
            self._compare([spectrogram(samples[: 2 * _BLOCK_SAMPLES]) for samples in self._samples])
            self._samples = [samples[_BLOCK_SAMPLES:] for samples in self._samples]

    def without(self, channel: int, utterance: UnpackedWindow) -> UnpackedWindow:
        """Return an utterance of a channel with a probability of speech of 0 in all crosstalk.

        The end, as far as it was not compared yet, counts as what was before it.
        """
        first = round(utterance.regions[0][0] * FRAMES_PER_SECOND) - self._first
        blocks = np.arange(first, first + len(utterance.speech)) // _BLOCK
        is_crosstalk = self._is_crosstalk[channel, np.minimum(blocks, self._blocks - 1) % _KEPT]
        return replace(utterance, speech=np.where(is_crosstalk, 0, utterance.speech))

    def _compare(self, channels: Sequence[Spectrogram]) -> None:
        """Compare the second block of each channel with both blocks of the others."""
        for number, channel in enumerate(channels):
            block = channel[len(channel) // 2 :]
            others = [*channels[:number], *channels[number + 1 :]]
            self._is_crosstalk[number, self._blocks % _KEPT] = any(_is_crosstalk(block, other) for other in others)
        self._blocks += 1


def _is_crosstalk(block: Spectrogram, other: Spectrogram) -> bool:
    is_quieter = bool(np.exp(other).mean() >= _MIN_POWER_RATIO * np.exp(block).mean())
    return is_quieter and likeness(block, other) > SAME_VOICE_CORRELATION

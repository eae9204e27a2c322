"""Crosstalk: the speech of one channel, more quietly in another one, as the echo in a telephone call.

The person on the other side would otherwise be a speaker of this channel, too, and perhaps even its first one.
"""

from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import replace
from typing import Final

import numpy as np

from app.engines.audio.channels import SAME_VOICE_CORRELATION, FrameMask, Spectrogram, likeness, spectrogram
from app.engines.audio.samples import Samples
from app.engines.audio.windows import FRAME, FRAMES_PER_SECOND, UnpackedWindow

CHANNELS: Final = 2  # how many channels are compared

_BLOCK: Final = 16  # frames that are compared at once, 0.5 s
_BLOCK_SAMPLES: Final = _BLOCK * FRAME
_COMPARED: Final = 3  # blocks of the other channels: crosstalk may be 1 s late, as an echo that has gone both ways
_KEPT: Final = 2048  # blocks, 17 minutes: more than a job of the engine may have
# Differences of the natural logarithm of power. Crosstalk is at least 6 dB quieter than the speech of the other side.
# Each is compared with the loudest block of its channel, because one side of a call may be louder than the other one;
# but at first there may be nothing but crosstalk in a channel, so at most 9 dB are compensated.
_MIN_DIFFERENCE: Final = 1.38
_MAX_COMPENSATED: Final = 2.07


class Crosstalk:
    """Detects which blocks of two channels are crosstalk: the voice of the other channel, and quieter.

    The voice may be up to a second late. Where people speak at the same time, the louder one decides: so most of a
    person's own speech is no crosstalk.
    """

    def __init__(self, first: int) -> None:
        """`first`: the number of the first frame of 512 samples that `append` gets, 0 at the start of the recording."""
        self._first = first
        self._samples: list[Samples] = [np.zeros((_COMPARED - 1) * _BLOCK_SAMPLES, np.float32)] * CHANNELS
        self._is_crosstalk = np.zeros((CHANNELS, _KEPT), np.bool_)  # of the last blocks, in turn
        self._blocks = 0  # how many blocks were compared
        self._loudest = np.full(CHANNELS, -np.inf)  # the largest log power of a block in each channel

    def append(self, channel: int, samples: Samples) -> None:
        """Add the next samples of a channel; compare both channels as far as they have arrived."""
        self._samples[channel] = np.concatenate([self._samples[channel], samples])
        while min(map(len, self._samples)) >= _COMPARED * _BLOCK_SAMPLES:
            parts = [samples[: _COMPARED * _BLOCK_SAMPLES] for samples in self._samples]
            is_silent = not all(part.any() for part in parts)  # as the audio that another worker has processed
            block = [False] * CHANNELS if is_silent else self._compare(list(map(spectrogram, parts)))
            self._is_crosstalk[:, self._blocks % _KEPT] = block
            self._is_crosstalk[:, (self._blocks + 1) % _KEPT] = block  # until it is compared, too
            self._samples = [samples[_BLOCK_SAMPLES:] for samples in self._samples]
            self._blocks += 1

    def without(self, channel: int, utterance: UnpackedWindow) -> UnpackedWindow:
        """Return an utterance of a channel with a probability of speech of 0 in all crosstalk.

        The end, as far as it was not compared yet, counts as what was before it.
        """
        frames = np.arange(len(utterance.speech)) + round(utterance.regions[0][0] * FRAMES_PER_SECOND) - self._first
        is_crosstalk = self._confirmed(channel)[np.minimum(frames // _BLOCK, self._blocks - 1) % _KEPT]
        return replace(utterance, speech=np.where(is_crosstalk, 0, utterance.speech))

    def mute(
        self, channel: Generator[Samples, None, None], other: Generator[Samples, None, None]
    ) -> Generator[Samples, None, None]:
        """Yield the samples of a channel of a recording, with silence in place of crosstalk from the `other` one.

        Both are closed at the end. They may have different lengths, as in a recording of joined files with different
        numbers of channels.
        """
        waiting, number = np.zeros(0, np.float32), 0  # samples from the block with this number on
        ahead = 0  # by how many samples more was read of the other channel
        with closing(channel), closing(other):
            for samples in channel:
                self.append(0, samples)
                ahead -= len(samples)
                while ahead < 0:
                    others = next(other, np.zeros(-ahead, np.float32))
                    self.append(1, others)
                    ahead += len(others)
                waiting = np.concatenate([waiting, samples])
                while number < self._blocks - 1:
                    yield waiting[:_BLOCK_SAMPLES] * (not self._confirmed(0)[number % _KEPT])
                    waiting, number = waiting[_BLOCK_SAMPLES:], number + 1
            self._is_crosstalk[:, self._blocks % _KEPT] = False  # what is left is less than a block
            yield waiting * (not self._confirmed(0)[number % _KEPT])

    def _confirmed(self, channel: int) -> FrameMask:
        """Return which of the last blocks are crosstalk next to crosstalk: a single block may be alike by chance."""
        blocks = self._is_crosstalk[channel]
        confirmed: FrameMask = blocks & (np.roll(blocks, 1) | np.roll(blocks, -1))
        return confirmed

    def _compare(self, channels: Sequence[Spectrogram]) -> list[bool]:
        """Compare the last block of each channel with all blocks of the other one; return whether it is crosstalk."""
        blocks = [channel[-len(channel) // _COMPARED :] for channel in channels]
        of_blocks, of_all = (np.array([np.log(np.exp(part).mean()) for part in parts]) for parts in (blocks, channels))
        self._loudest = np.maximum(self._loudest, of_blocks)
        loudest = np.maximum(self._loudest, self._loudest.max() - _MAX_COMPENSATED)
        is_quieter = (of_all - loudest)[::-1] - (of_blocks - loudest) >= _MIN_DIFFERENCE
        return [
            may_be and likeness(block, other) > SAME_VOICE_CORRELATION
            for may_be, block, other in zip(is_quieter.tolist(), blocks, channels[::-1], strict=True)
        ]

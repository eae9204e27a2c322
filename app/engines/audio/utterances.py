"""Find utterances while somebody speaks: a live recording is transcribed utterance by utterance.

An utterance ends in a pause of half a second; one that grows too long is cut where it is quiet. The next utterance
depends on the speech after the end of the last one alone. So a job that begins at such an end, or at a second that was
`complete_until`, finds the same utterances as a job that began at the start of the recording.
"""

from collections.abc import Iterator
from math import ceil
from typing import NamedTuple

import numpy as np
from natscribe.schemas.live import LONGEST_UTTERANCE_S

from app.engines.audio.mixing import SAMPLE_RATE
from app.engines.audio.samples import Samples
from app.engines.audio.windows import (
    FRAME,
    FRAMES_PER_SECOND,
    MIN_SPEECH,
    SPEECH,
    Probabilities,
    UnpackedWindow,
    VoiceDetector,
    quietest_frame,
)

# Lengths in frames.
_LONGEST = int(LONGEST_UTTERANCE_S * FRAMES_PER_SECOND)
_PAUSE = round(0.5 * FRAMES_PER_SECOND)  # silence that ends an utterance
_PAUSED = round(0.1 * FRAMES_PER_SECOND)  # silence after which nobody seems to speak on
_PADDING = int(0.3 * FRAMES_PER_SECOND)  # silence kept before the speech
_PADDING_AFTER = int(0.13 * FRAMES_PER_SECOND)  # and after it: shorter, because a text is begun when it is complete


class Utterance(NamedTuple):
    """An utterance: its start and end in frames of 32 ms; `open`: it may go on; `click`: it is too short for speech."""

    start: int
    end: int
    open: bool = False
    click: bool = False


def next_utterance(speech: Probabilities, *, whole: bool) -> Utterance | None:
    """Return the first utterance or click, even if it is open; None if there is no speech.

    `speech`: the probability of speech in each frame. `whole`: no more sound will follow.
    """
    voiced = np.flatnonzero(speech >= SPEECH)
    if not voiced.size:
        return None
    pauses = np.flatnonzero(np.diff(voiced) > _PAUSE)
    count = int(pauses[0]) + 1 if pauses.size else len(voiced)
    after = int(voiced[count - 1]) + 1
    start = max(int(voiced[0]) - _PADDING, 0)
    end, limit = min(after + _PADDING_AFTER, len(speech)), start + _LONGEST
    paused = after + _PAUSE <= min(limit, len(speech))
    if not paused and len(speech) >= limit:
        return Utterance(start, start + quietest_frame(speech[start:limit]))
    return Utterance(start, end, open=not paused and not whole, click=count < MIN_SPEECH)


class UtteranceDetector:
    """Finds the utterances of one channel after `start_at` seconds, while its sound comes."""

    def __init__(self, start_at: float, voice: VoiceDetector, begin: int = 0) -> None:
        """`begin` is the number of the first frame that `hear` gets, 0 at the start of the recording."""
        self._voice = voice
        self._start = first_frame(start_at)  # of the held sound
        self._taken = begin * FRAME  # samples so far
        self._heard = begin  # frames so far
        self._rest = np.zeros(0, np.float32)  # the samples of a frame that is not complete yet
        self._samples = np.zeros(0, np.float32)
        self._speech = np.zeros(0, np.float32)
        self._closing = 0  # the frame in which the utterance ended that was closing last

    @property
    def seconds(self) -> float:
        """The second of the recording up to which there was sound so far."""
        return self._taken / SAMPLE_RATE

    @property
    def complete_until(self) -> float:
        """The second before which all utterances are found."""
        return min(self._start * FRAME, self._taken) / SAMPLE_RATE

    def process(self, samples: Samples) -> list[UnpackedWindow]:
        """Hear the next sound; return the utterances that are complete now."""
        self._taken += len(samples)
        sound = np.concatenate([self._rest, samples])
        whole = len(sound) // FRAME * FRAME
        self._rest = sound[whole:]
        self._judge(sound[:whole])
        return list(self._complete(whole=False))

    def end(self) -> list[UnpackedWindow]:
        """Return the utterances that are left, because no more sound follows."""
        if len(self._rest):
            self._judge(np.pad(self._rest, (0, FRAME - len(self._rest))))
            self._rest = self._rest[:0]
        return list(self._complete(whole=True))

    def open(self) -> UnpackedWindow | None:
        """Return the utterance so far if somebody speaks now; None in a pause, in which it may be over already."""
        found = next_utterance(self._speech, whole=False)
        paused = not (self._speech[-_PAUSED:] >= SPEECH).any()
        return None if found is None or found.click or paused else self._window(found)

    def closing(self) -> UnpackedWindow | None:
        """Return the utterance that is closing; None if there is none, or if an earlier call has returned it.

        If nobody speaks in the rest of its pause, the complete utterance is equal to this one.
        """
        found = next_utterance(self._speech, whole=False)
        if found is None or found.click or found.end >= len(self._speech):
            return None
        end = self._start + found.end
        if end == self._closing:
            return None
        self._closing = end
        return self._window(found)

    def _judge(self, sound: Samples) -> None:
        speech = self._voice(sound)
        skipped = min(max(self._start - self._heard, 0), len(speech))
        self._heard += len(speech)
        self._speech = np.concatenate([self._speech, speech[skipped:]])
        self._samples = np.concatenate([self._samples, sound[skipped * FRAME :]])

    def _complete(self, *, whole: bool) -> Iterator[UnpackedWindow]:
        while (found := next_utterance(self._speech, whole=whole)) and not found.open:
            if not found.click:
                yield self._window(found)
            self._forget(found.end)
        held = len(self._speech) if whole else _PADDING  # the padding of an utterance to come
        self._forget(found.start if found else max(len(self._speech) - held, 0))

    def _window(self, found: Utterance) -> UnpackedWindow:
        begin = self._start + found.start
        end = min((self._start + found.end) * FRAME, self._taken)
        sound = self._samples[found.start * FRAME : end - self._start * FRAME]
        return UnpackedWindow([(begin * FRAME / SAMPLE_RATE, end / SAMPLE_RATE)], sound)

    def _forget(self, frames: int) -> None:
        self._start += frames
        self._samples = self._samples[frames * FRAME :]
        self._speech = self._speech[frames:]


def first_frame(start_at: float) -> int:
    """Return the number of the first frame that begins at `start_at` seconds or later.

    A frame that begins up to a third of a millisecond earlier counts, because `start_at` may be rounded up.
    """
    return ceil(start_at * FRAMES_PER_SECOND - 1e-2)

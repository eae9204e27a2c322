"""Detect utterances in live audio, which is transcribed utterance by utterance.

An utterance ends in a pause of 0.5 s; an utterance longer than 15 s is cut at its quietest frame. While an utterance
may still continue, it is open; once its last words are followed by the start of a pause, it is closing. `finalize` ends
an open utterance early, because a client has requested its text, or because another person has begun to speak.

Each other utterance depends only on the speech after the previous one. So a job that begins where an utterance ended,
or at any other time up to which all utterances were detected, detects the same utterances as a job that begins at the
start of the recording.
"""

from collections.abc import Iterator
from itertools import pairwise
from math import ceil
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from natscribe.schemas.live import MAX_UTTERANCE_S

from app.engines.audio.samples import Samples
from app.engines.audio.timeline import Times
from app.engines.audio.windows import (
    FRAME,
    FRAMES_PER_SECOND,
    MIN_SPEECH,
    SPEECH,
    Probabilities,
    SpeechBuffer,
    UnpackedWindow,
    VoiceDetector,
    quietest_frame,
)

# On telephones, a frame right after speech counts as speech, too, with at least this probability. These are utterances
# whose speech has a mean probability below _CLEAR: 0.81 to 0.9 on telephones, mostly 0.96 at full bandwidth.
_CONTINUED = 0.2
_CLEAR = 0.9
# Lengths in frames.
_LONGEST = int(MAX_UTTERANCE_S * FRAMES_PER_SECOND)
_PAUSE = round(0.5 * FRAMES_PER_SECOND)  # silence that ends an utterance
_PAUSED = round(0.1 * FRAMES_PER_SECOND)  # silence that hides an open utterance: it may be over
_SHORT_PAUSE = round(0.2 * FRAMES_PER_SECOND)  # after which another person may go on
_PADDING = int(0.3 * FRAMES_PER_SECOND)  # silence before the speech
_PADDING_AFTER = int(0.13 * FRAMES_PER_SECOND)  # and after it: shorter, because transcription begins at its end


class Utterance(NamedTuple):
    """An utterance, from the frame `start` up to, but without, the frame `end`.

    Frames are 32 ms long, and are counted from the start of the buffered audio. `open`: whether the utterance may
    continue in audio that has not arrived yet. `click`: whether it is too short to be speech.
    """

    start: int
    end: int
    open: bool = False
    click: bool = False


def next_utterance(speech: Probabilities, *, whole: bool) -> Utterance | None:
    """Return the first utterance in `speech`; None if there is no speech.

    The utterance may be open, i.e. still in progress, or a click, i.e. too short to be speech. `speech`: the
    probability of speech in each frame, shape (frames,). `whole`: whether no more audio follows.
    """
    voiced = _voiced(speech)
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


def _voiced(speech: Probabilities) -> npt.NDArray[np.intp]:
    """Return the indices of the frames that contain speech: those with a high probability of speech.

    In audio from a telephone also those with a lower probability that follow a frame of speech. Whether a frame is from
    a telephone is judged by the speech before it alone, so that later audio does not change the result. Frames with a
    lower probability just before speech are left out: how many of them are buffered depends on the sizes of the jobs.
    """
    frames, is_probable = np.arange(len(speech)), speech >= SPEECH
    mean = np.cumsum(speech * is_probable) / np.maximum(np.cumsum(is_probable), 1)
    is_silent = speech < np.where(mean < _CLEAR, _CONTINUED, SPEECH)
    spoken, silent = (np.maximum.accumulate(np.where(chosen, frames, -1)) for chosen in (is_probable, is_silent))
    return np.flatnonzero(spoken > silent)


class UtteranceDetector:
    """Detects the utterances of one channel of live audio from `start_at` (seconds) on, while the audio arrives.

    `buffer`: the audio that is in no complete utterance yet.
    """

    def __init__(self, start_at: float, detector: VoiceDetector, first: int = 0) -> None:
        """`start_at`: where to start, in seconds; audio before it only prepares the `detector`.

        `first`: the number of the first frame that `process` gets, 0 at the start of the recording.
        """
        self._detector = detector
        self.buffer = SpeechBuffer(first_frame(start_at), first * FRAME)
        self._rest = np.zeros(0, np.float32)  # the samples of an incomplete frame
        self._closing = 0  # the frame at which the last closing utterance ended

    def process(self, samples: Samples) -> list[UnpackedWindow]:
        """Process the next samples of the channel; return the utterances that are complete now."""
        pending = np.concatenate([self._rest, samples])
        whole = len(pending) // FRAME * FRAME
        self._rest = pending[whole:]
        self._append(pending[:whole])
        self.buffer.received += len(samples)
        return list(self._complete(whole=False))

    def flush(self) -> list[UnpackedWindow]:
        """End the audio, and return the remaining utterances."""
        self._append(self._rest)
        self._rest = self._rest[:0]
        return list(self._complete(whole=True))

    def finalize(self, at: float | None = None) -> list[UnpackedWindow]:
        """End the utterance in progress as if its pause were over, and return it, if there is one.

        Less speech than an utterance needs stays, because it may be the beginning of a word. `at`: a time within the
        utterance, in seconds, at which to end it; what follows begins another one.
        """
        utterance = self._next()
        if utterance is None:
            return []
        if at is not None:
            utterance = utterance._replace(end=round(at * FRAMES_PER_SECOND) - self.buffer.start)
        window = self._window(utterance)
        self.buffer.drop(utterance.end)
        return [window]

    def open(self) -> UnpackedWindow | None:
        """Return the utterance in progress as far as its audio has arrived.

        None if there is none, or if its last 0.1 s are silent, because then it may already have ended.
        """
        paused = not (self.buffer.speech[-_PAUSED:] >= _CONTINUED).any()
        return None if paused else self.current()

    def current(self) -> UnpackedWindow | None:
        """Return the utterance in progress as far as its audio has arrived, even in a pause; None if there is none."""
        utterance = self._next()
        return None if utterance is None else self._window(utterance)

    def closing(self) -> UnpackedWindow | None:
        """Return the closing utterance, i.e. one whose last words are followed by a pause that may end it.

        None if there is none, or if an earlier call has returned it. If the pause lasts, the complete utterance is
        equal to this one: so it can already be transcribed.
        """
        utterance = self._next()
        if utterance is None or utterance.end >= len(self.buffer.speech):
            return None
        end = self.buffer.start + utterance.end
        if end == self._closing:
            return None
        self._closing = end
        return self._window(utterance)

    def _next(self) -> Utterance | None:
        utterance = next_utterance(self.buffer.speech, whole=False)
        return None if utterance is None or utterance.click else utterance

    def _append(self, samples: Samples) -> None:
        speech = self._detector(np.pad(samples, (0, -len(samples) % FRAME)))
        self.buffer.append(samples, speech, self.buffer.received // FRAME)

    def _complete(self, *, whole: bool) -> Iterator[UnpackedWindow]:
        while (utterance := next_utterance(self.buffer.speech, whole=whole)) and not utterance.open:
            if not utterance.click:
                yield self._window(utterance)
            self.buffer.drop(utterance.end)
        frames = len(self.buffer.speech)
        padding = frames if whole else _PADDING  # of an utterance to come
        self.buffer.drop(utterance.start if utterance else max(frames - padding, 0))

    def _window(self, utterance: Utterance) -> UnpackedWindow:
        return self.buffer.window([(utterance.start, utterance.end)])


def between_pauses(utterance: UnpackedWindow) -> Iterator[Times]:
    """Cut an utterance in the middle of each pause of more than 0.2 s; yield each part as start and end, in seconds.

    After such a pause another person may speak, in another language, so the language is detected for each part.
    """
    ((start, end),) = utterance.regions
    voiced = _voiced(utterance.speech)
    pauses = np.flatnonzero(np.diff(voiced) > _SHORT_PAUSE)
    middles = (voiced[pauses] + 1 + voiced[pauses + 1]) // 2
    yield from pairwise([start, *(start + middles / FRAMES_PER_SECOND).tolist(), end])


def first_frame(start_at: float) -> int:
    """Return the number of the first frame that begins at `start_at` (seconds) or later.

    As `start_at` may be rounded up, a frame may also begin up to 0.3 ms earlier.
    """
    return ceil(start_at * FRAMES_PER_SECOND - 1e-2)

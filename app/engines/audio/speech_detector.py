"""Voice activity detection for audio that arrives in pieces: keeps the network's state between the pieces.

The detector resets its state at fixed times, and then warms it up with the last 2 s before the reset. So its results do
not depend on older audio, and a worker can resume in the middle of a recording. A second of audio takes 2 to 3 ms of
CPU time; it would take 17 ms if the state were reset and warmed up for each piece of an eighth of a second.

Telephones do not transmit the fundamental frequency of a voice, and without it the network detects a tenth to a half of
the speech. The envelope of speech has this frequency, so the network gets telephone audio together with its envelope.
"""

import numpy as np
import numpy.typing as npt
from faster_whisper.vad import get_vad_model

from app.engines.audio.samples import Samples
from app.engines.audio.windows import FRAME, FRAMES_PER_SECOND, WARM_UP, Probabilities

SECTION = 1024  # frames from one reset to the next

_CONTEXT = 64  # samples before a frame that the network gets with it
# The fundamental is what changes in the envelope from some 60 to 300 Hz: the difference of two moving averages, over so
# many samples.
_SHORT, _LONG = 27, 267
# Audio is from a telephone as long as its section has less than this share of its power below 250 Hz.
_MAX_LOW_SHARE = 0.08
_LOW = round(250 / FRAMES_PER_SECOND)  # frequencies of a frame's spectrum
_STATE = (1, 1, 128)

_State = tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]


class SpeechDetector:
    """Computes the probability of speech in each frame of a recording that arrives in pieces, with a recurrent network.

    A recording is cut into sections of 33 s, and the network's state is reset at the start of each. Frames have 512
    samples and are numbered from the start of the recording. Sections that end before the frame `start` are not
    processed: their frames get the probability 0.
    """

    def __init__(self, start: int = 0, first: int = 0) -> None:
        """`start`: the number of the first frame whose probability is needed.

        `first`: the number of the first frame that is passed to this object. It is 0, or lies in an earlier section of
        33 s than `start`, so that the network has the audio before the section of `start`.
        """
        self._processed_from = start // SECTION * SECTION
        self._frame = first  # the next one
        self._before = np.zeros(0, np.float32)  # the last samples, to warm up the state after a reset
        self._state = _initial_state()
        self._power = np.zeros(2)  # of the section so far: at low frequencies, and at all

    def __call__(self, samples: Samples) -> Probabilities:
        """Return the probability of speech in each of the next frames, shape (frames,).

        `samples`: the samples of these frames, a multiple of 512.
        """
        speech = [np.zeros(0, np.float32)]
        while len(samples):
            count = min(SECTION - self._frame % SECTION, len(samples) // FRAME)
            speech.append(self._in_section(samples[: count * FRAME]))
            samples = samples[count * FRAME :]
        return np.concatenate(speech)

    def _in_section(self, samples: Samples) -> Probabilities:
        """Return the probability of speech in each of the next frames, shape (frames,).

        All these frames must belong to one section of 33 s, at whose start the network's state is reset.
        """
        is_processed = self._frame >= self._processed_from
        if self._frame % SECTION == 0 and is_processed:
            self._state, self._power = _initial_state(), np.zeros(2)
            self._run(self._before, self._before[:0])
        frames = len(samples) // FRAME
        speech = self._run(samples, self._before) if is_processed else np.zeros(frames, np.float32)
        self._before = np.concatenate([self._before, samples])[-WARM_UP * FRAME :]
        self._frame += frames
        return speech

    def _run(self, samples: Samples, before: Samples) -> Probabilities:
        """Return the probability of speech in each frame of `samples`; `before`: the samples before them."""
        if not len(samples):
            return np.zeros(0, np.float32)
        needed = before[-_CONTEXT - _LONG :]
        audio = np.concatenate([np.zeros(_CONTEXT + _LONG - len(needed), np.float32), needed, samples])
        power = self._power + np.cumsum(_powers(samples), axis=0)
        self._power = power[-1]
        from_telephone = power[:, 0] < _MAX_LOW_SHARE * power[:, 1]
        frames = np.where(from_telephone[:, np.newaxis], _frames(_with_fundamental(audio)), _frames(audio[_LONG:]))
        hidden, cell = self._state
        inputs = {"input": frames, "h": hidden, "c": cell}
        speech, hidden, cell = get_vad_model().session.run(None, inputs)
        self._state = hidden, cell
        return np.asarray(speech, np.float32).ravel()


def speech_in_chunk(chunk: Samples) -> Probabilities:
    """Return the probability of speech in each frame of a chunk of a recording, shape (frames,).

    `chunk`: a multiple of 512 samples, which may be changed. If it is from a telephone, the network gets it together
    with its envelope.
    """
    low, all_power = _powers(chunk).sum(axis=0)
    if low < _MAX_LOW_SHARE * all_power:
        chunk = _with_fundamental(np.concatenate([np.zeros(_LONG, np.float32), chunk]))
    return np.asarray(get_vad_model()(chunk), np.float32).ravel()


def _frames(audio: Samples) -> Samples:
    """Return the frames of the audio, each with the 64 samples before it, shape (frames, 576)."""
    return np.lib.stride_tricks.sliding_window_view(audio, _CONTEXT + FRAME)[::FRAME]


def _with_fundamental(audio: Samples) -> Samples:
    """Return all but the first `_LONG` samples, with the fundamental frequency of a voice added from its envelope."""
    sums = np.cumsum(np.abs(audio), dtype=np.float64)
    fast, slow = ((sums[_LONG:] - sums[_LONG - length : -length]) / length for length in (_SHORT, _LONG))
    return audio[_LONG:] + (fast - slow).astype(np.float32)


def _powers(samples: Samples) -> npt.NDArray[np.float64]:
    """Return the power of each frame at low frequencies and at all, shape (frames, 2)."""
    spectrum = np.abs(np.fft.rfft(samples.reshape(-1, FRAME) * np.hanning(FRAME))) ** 2
    return np.stack([spectrum[:, :_LOW].sum(axis=1), spectrum.sum(axis=1)], axis=1)


def _initial_state() -> _State:
    return np.zeros(_STATE, np.float32), np.zeros(_STATE, np.float32)

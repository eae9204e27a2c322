"""Voice activity detection for audio that arrives in pieces: keeps the network's state between the pieces.

The detector resets its state at fixed times, and then warms it up with the last 2 s before the reset. So its results do
not depend on older audio, and a worker can resume in the middle of a recording. A second of audio takes 2 to 3 ms of
CPU time; it would take 17 ms if the state were reset and warmed up for each piece of an eighth of a second.
"""

import numpy as np
import numpy.typing as npt
from faster_whisper.vad import get_vad_model

from app.engines.audio.samples import Samples
from app.engines.audio.windows import FRAME, WARM_UP, Probabilities

SECTION = 1024  # frames from one reset to the next

_CONTEXT = 64  # samples before a frame that the network gets with it
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
            self._state = _initial_state()
            self._run(self._before, np.zeros(_CONTEXT, np.float32))
        context = self._before[-_CONTEXT:] if len(self._before) else np.zeros(_CONTEXT, np.float32)
        frames = len(samples) // FRAME
        speech = self._run(samples, context) if is_processed else np.zeros(frames, np.float32)
        self._before = np.concatenate([self._before, samples])[-WARM_UP * FRAME :]
        self._frame += frames
        return speech

    def _run(self, samples: Samples, context: Samples) -> Probabilities:
        if not len(samples):
            return np.zeros(0, np.float32)
        joined = np.concatenate([context, samples])
        frames = np.lib.stride_tricks.sliding_window_view(joined, _CONTEXT + FRAME)[::FRAME]
        hidden, cell = self._state
        inputs = {"input": np.ascontiguousarray(frames), "h": hidden, "c": cell}
        speech, hidden, cell = get_vad_model().session.run(None, inputs)
        self._state = hidden, cell
        return np.asarray(speech, np.float32).ravel()


def _initial_state() -> _State:
    return np.zeros(_STATE, np.float32), np.zeros(_STATE, np.float32)

"""Cut an utterance into windows of up to 1.5 s of speech, and compute the speaker embedding of each.

An open utterance grows. The windows that no later audio can change are embedded while people still speak, so that at
its end only the last ones remain.
"""

from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from app.engines.audio.mixing import SAMPLE_RATE
from app.engines.audio.samples import Samples
from app.engines.audio.windows import FRAME, Probabilities, UnpackedWindow
from app.engines.diarization.chunk_analysis import EMBEDDING_SIZE, Quantized, quantized
from app.engines.diarization.features import features
from app.engines.diarization.networks import Networks
from app.engines.diarization.telephone import is_from_telephone, simulate_telephone

_SPEECH = 0.2  # lower than for utterances: speech on telephones is less probable, and an utterance is mostly speech
# Lengths in samples.
_WINDOW = 24_000  # 1.5 s
_STEP = 12_000  # 0.75 s, between the starts of two windows of one run of speech
_PADDING = 480  # 30 ms, before and after the run of speech
# Lengths in frames of the voice activity detector, 32 ms.
_MAX_PAUSE = 3  # a longer pause ends a run: another person may go on
_MIN_SPEECH = 6  # a run with less speech gets no embedding

_NO_EMBEDDING = np.zeros(EMBEDDING_SIZE, np.int8)


class SpeechWindow(NamedTuple):
    """Up to 1.5 s of speech and its speaker embedding; `start`, `end`: in samples from the start of the stream.

    `telephone`: the embedding of the same speech as simulated telephone audio; all zeros if it was not computed.
    `from_telephone`: whether a telephone has transmitted the speech.
    """

    start: int
    end: int
    values: Quantized
    telephone: Quantized = _NO_EMBEDDING
    from_telephone: bool = False


class WindowEmbedder:
    """Cuts one utterance after the other into windows of up to 1.5 s of speech, and embeds them.

    While an utterance grows, each of its windows is embedded only once.
    """

    def __init__(self, networks: Networks, *, telephone: bool) -> None:
        """`telephone`: whether to compute a second embedding of some windows, from simulated telephone audio.

        The windows with a second embedding do not overlap.
        """
        self._networks = networks
        self._telephone = telephone
        self._telephone_until = 0  # the end of the last window with one
        self._embedded: dict[tuple[int, int], SpeechWindow] = {}  # by start and end, of the open utterance

    def windows(self, utterance: UnpackedWindow, *, is_open: bool) -> list[SpeechWindow]:
        """Return the windows of an utterance, with their embeddings.

        `is_open`: whether the utterance may continue; then a last window that more audio may change is left out.
        """
        first = round(utterance.regions[0][0] * SAMPLE_RATE)
        spans = list(_spans(utterance.speech, is_open=is_open))
        windows = [self._window(first, start, end, utterance.samples) for start, end in spans]
        if not is_open:
            self._embedded.clear()
        return windows

    def _window(self, first: int, start: int, end: int, samples: Samples) -> SpeechWindow:
        span = first + start, first + end
        if span not in self._embedded:
            speech = samples[start:end]
            window = SpeechWindow(*span, self._embedding(speech), from_telephone=is_from_telephone(speech))
            if self._telephone and window.start >= self._telephone_until:
                window = window._replace(telephone=self._embedding(simulate_telephone(speech)))
                self._telephone_until = window.end
            self._embedded[span] = window
        return self._embedded[span]

    def _embedding(self, speech: Samples) -> Quantized:
        return quantized(self._networks.embed(features(speech)))


def _spans(speech: Probabilities, *, is_open: bool) -> Iterator[tuple[int, int]]:
    """Yield the start and end of each window of up to 1.5 s in an utterance, in samples from its start.

    `speech`: the probability of speech in each frame of 512 samples. `is_open`: whether the utterance may continue;
    then a last window that more audio may change is left out.
    """
    for start, end in _speech_runs(speech):
        starts = range(start, end - _WINDOW, _STEP)
        yield from ((at, at + _WINDOW) for at in starts)
        if not is_open or end <= (len(speech) - _MAX_PAUSE) * FRAME:
            yield max(end - _WINDOW, start), end


def _speech_runs(speech: Probabilities) -> Iterator[tuple[int, int]]:
    """Yield the start and end, in samples, of each interval of speech without a pause of more than 0.1 s.

    `speech`: the probability of speech in each frame of 512 samples. Intervals of less than 0.2 s are skipped.
    """
    voiced = np.flatnonzero(speech >= _SPEECH)
    breaks = np.flatnonzero(np.diff(voiced) > _MAX_PAUSE) + 1
    for first, after in pairwise([0, *breaks.tolist(), len(voiced)]):
        if after - first >= _MIN_SPEECH:
            start, end = int(voiced[first]) * FRAME, (int(voiced[after - 1]) + 1) * FRAME
            yield max(start - _PADDING, 0), min(end + _PADDING, len(speech) * FRAME)

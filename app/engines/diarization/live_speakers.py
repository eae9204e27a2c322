"""Diarize a live stream while its audio arrives: as a whole, or each of its channels on its own."""

from base64 import b64decode, b64encode
from collections.abc import Sequence
from contextlib import suppress
from itertools import pairwise

import numpy as np
from natscribe.schemas.diarization import Turn

from app.engines.audio.mixing import SAMPLE_RATE
from app.engines.audio.windows import UnpackedWindow
from app.engines.diarization import VOICE_NETWORK
from app.engines.diarization.chunk_analysis import quantized
from app.engines.diarization.live_labels import LiveLabels
from app.engines.diarization.live_windows import SpeechWindow, WindowEmbedder
from app.engines.diarization.networks import Networks
from app.engines.messages import LiveDiarization, LiveSpeakerOptions, RecordingEmbeddings, SpeakerEmbedding

_MIN_TURN = SAMPLE_RATE  # samples: so much speech after a change of the speaker
_LONG = 3  # windows, 3 s: so much new speech of an open utterance is labelled before its end


class LiveSpeakers:
    """Detects the speakers of a live stream, or of one of its channels.

    After each utterance, and during a long one, the speech of the last two minutes is clustered again. `labels`: gives
    the speakers their labels. `has_news`: whether `diarization` returns something new. `others`:
    the `LiveSpeakers` of the other channels.
    """

    def __init__(self, networks: Networks, options: LiveSpeakerOptions, channel: int, channels: int) -> None:
        """`channel`: the number of the channel, from 0. `channels`: the number of channels; 1 if they are mixed."""
        self.others: Sequence[LiveSpeakers] = ()
        self.has_news = False
        self._channel, self._channels = channel, channels
        self._maximum = options.max_speakers
        self._embed = options.embed
        self._embedder = WindowEmbedder(networks, telephone=options.embed)
        taken = -((channel - options.labels) // channels)  # of this channel: labels are dealt to the channels in turn
        self.labels = LiveLabels(options.max_speakers, taken, of_channel=channels > 1)
        self._labelled = 0  # windows of the open utterance
        with suppress(ValueError, LookupError):  # there is no state, or of another version: speakers get new labels
            revision, packed = options.states[channel].split(" ")
            if revision == VOICE_NETWORK.model.revision:
                self.labels.restore(b64decode(packed, validate=True))
                self.has_news = True

    def open(self, utterance: UnpackedWindow) -> str | None:
        """Embed an utterance in progress as far as its audio has arrived; return the label of its last speaker.

        None: the speaker is unknown.
        """
        windows = self._embedder.windows(utterance, is_open=True)
        if len(windows) >= self._labelled + _LONG:
            self._label(windows)
        label = self.labels.nearest(windows[-1]) if windows else None
        return None if label is None else self._name(label)

    def change(self, utterance: UnpackedWindow) -> float | None:
        """Return the middle of the first pause in which the speaker changes, in seconds; None: there is none.

        The next speaker has to have spoken for a second, and both have to have labels already. `utterance`: an
        utterance in progress as far as its audio has arrived.
        """
        for before, after in pairwise(self._embedder.windows(utterance, is_open=True)):
            if before.end < after.start <= after.end - _MIN_TURN:
                labels = self.labels.nearest(before), self.labels.nearest(after)
                if None not in labels and labels[0] != labels[1]:
                    return (before.end + after.start) / 2 / SAMPLE_RATE
        return None

    def add(self, utterance: UnpackedWindow) -> None:
        """Add a complete utterance, and label the speakers of the last two minutes again, as it may change them.

        Speech that was added before, here or by the process whose state was restored, is skipped.
        """
        self._label(self._embedder.windows(utterance, is_open=False))
        self._labelled = 0

    def _label(self, windows: Sequence[SpeechWindow]) -> None:
        if self._maximum is not None:
            others = sum(max(len(other.labels.labels), 1) for other in self.others)
            self.labels.limit(max(self._maximum - others, 1))
        self.labels.add(windows)
        self._labelled, self.has_news = len(windows), True

    def diarization(self, seconds: float) -> LiveDiarization:
        """Return all speakers, the turns of the last two minutes, and the state for another process to continue from.

        `seconds`: the duration of the audio so far.
        """
        self.has_news = False
        self.labels.settle(round(seconds * SAMPLE_RATE))
        return LiveDiarization(
            turns=[
                Turn(start=start / SAMPLE_RATE, end=end / SAMPLE_RATE, speaker=self._name(label))
                for start, end, label in self.labels.turns()
            ],
            merged={self._name(label): self._name(into) for label, into in self.labels.merged.items()},
            labels=[self._name(label) for label in self.labels.labels],
            settled_until=self.labels.settled_until / SAMPLE_RATE,
            embedded=self._embeddings() if self._embed else None,
            state=f"{VOICE_NETWORK.model.revision} {b64encode(self.labels.pack()).decode()}",
        )

    def _embeddings(self) -> RecordingEmbeddings:
        speakers = [
            SpeakerEmbedding(
                speaker=self._name(item.label),
                seconds=item.seconds,
                agreement=float(np.linalg.norm(item.mean)),
                values=b64encode(quantized(item.mean).tobytes()).decode(),
                telephone=b64encode(quantized(item.telephone).tobytes()).decode(),
            )
            for item in self.labels.embeddings()
            if item.telephone.any()
        ]
        return RecordingEmbeddings(model=VOICE_NETWORK.model, speakers=speakers)

    def _name(self, label: int) -> str:
        """Return a label as clients see it, such as SPEAKER_03.

        With separate channels, its number also tells the channel, as in the labels of recordings.
        """
        return f"SPEAKER_{self._channel + label * self._channels:02}"


def speakers_of_channels(networks: Networks, options: LiveSpeakerOptions, channels: int) -> list[LiveSpeakers]:
    """Create the `LiveSpeakers` of each channel of a new stream; a mix is one channel.

    They continue with the states in `options`, if any.
    """
    speakers = [LiveSpeakers(networks, options, channel, channels) for channel in range(channels)]
    for own in speakers:
        own.others = [other for other in speakers if other is not own]
    return speakers

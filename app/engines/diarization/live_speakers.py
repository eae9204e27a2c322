"""Diarize a live stream while its audio arrives."""

from base64 import b64decode, b64encode
from contextlib import suppress

import numpy as np
from natscribe.schemas.diarization import Turn

from app.engines.audio.mixing import SAMPLE_RATE
from app.engines.audio.windows import UnpackedWindow
from app.engines.diarization.chunk_analysis import quantized
from app.engines.diarization.identity import embedding_network
from app.engines.diarization.live_labels import LiveLabels
from app.engines.diarization.live_windows import WindowEmbedder
from app.engines.diarization.networks import Networks
from app.engines.messages import LiveDiarization, LiveSpeakerOptions, RecordingEmbeddings, SpeakerEmbedding


class LiveSpeakers:
    """Detects the speakers of a live stream: clusters the speech of the last two minutes again after each utterance."""

    def __init__(self, networks: Networks, options: LiveSpeakerOptions) -> None:
        self._embed = options.embed
        self._embedder = WindowEmbedder(networks, telephone=options.embed)
        self._labels = LiveLabels(options.max_speakers, options.labels)
        self._until = 0.0  # the end of the last utterance, in seconds
        with suppress(ValueError, LookupError):  # there is no state, or of another version: speakers get new labels
            revision, until, packed = options.state.split(" ")
            if revision == embedding_network().revision:
                self._labels.restore(b64decode(packed, validate=True))
                self._until = float(until)

    def open(self, utterance: UnpackedWindow) -> str | None:
        """Embed an utterance in progress as far as its audio has arrived; return the label of its last speaker.

        None: the speaker is unknown.
        """
        windows = self._embedder.windows(utterance, is_open=True)
        label = self._labels.nearest(windows[-1]) if windows else None
        return None if label is None else _name(label)

    def add(self, utterance: UnpackedWindow) -> None:
        """Add a complete utterance, and label the speakers of all recent speech again.

        The utterance is skipped if the state that this object has restored from an earlier process already contains it.
        """
        ((_, end),) = utterance.regions
        if end > self._until:
            self._until = end
            self._labels.add(self._embedder.windows(utterance, is_open=False))

    def diarization(self) -> LiveDiarization:
        """Return the turns whose speakers may still change (about two minutes), and the state.

        With the state, another process can continue the diarization.
        """
        return LiveDiarization(
            turns=[
                Turn(start=start / SAMPLE_RATE, end=end / SAMPLE_RATE, speaker=_name(label))
                for start, end, label in self._labels.turns()
            ],
            merged={_name(label): _name(into) for label, into in self._labels.merged.items()},
            settled_until=self._labels.settled_until / SAMPLE_RATE,
            embedded=self._embeddings() if self._embed else None,
            state=f"{embedding_network().revision} {self._until} {b64encode(self._labels.pack()).decode()}",
        )

    def _embeddings(self) -> RecordingEmbeddings:
        speakers = [
            SpeakerEmbedding(
                speaker=_name(item.label),
                seconds=item.seconds,
                agreement=float(np.linalg.norm(item.mean)),
                values=b64encode(quantized(item.mean).tobytes()).decode(),
                telephone=b64encode(quantized(item.telephone).tobytes()).decode(),
            )
            for item in self._labels.embeddings()
            if item.telephone.any()
        ]
        return RecordingEmbeddings(model=embedding_network(), speakers=speakers)


def _name(label: int) -> str:
    return f"SPEAKER_{label:02}"

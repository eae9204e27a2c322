"""Networks that detect speakers by level: 1 is the first of three voices, 4 the first two at once, 6 the last two."""

import numpy as np
from natscribe.schemas.wire import Model

from app.engines.diarization.chunk_analysis import EMBEDDING_SIZE
from app.engines.diarization.networks import POWERSET_CLASSES, Networks
from app.engines.diarization.windows import FRAME_SAMPLES, WINDOW_FRAMES, WINDOW_SAMPLES
from tests.audio import Samples


class FakeNetworks:
    """Measures the loudness in the middle of each frame, and records what it has embedded."""

    identity = Model(name="loudness", revision="1")

    def __init__(self) -> None:
        self.segmented = 0
        self.embedded: list[Samples] = []

    def segment(self, excerpt: Samples) -> Samples:
        assert len(excerpt) == WINDOW_SAMPLES
        self.segmented += 1
        middle = excerpt[
            np.minimum(np.arange(WINDOW_FRAMES) * FRAME_SAMPLES + FRAME_SAMPLES // 2, WINDOW_SAMPLES - 1)
        ].astype(int)
        return np.where(middle[:, np.newaxis] == np.arange(POWERSET_CLASSES), 0, -50).astype(np.float32)

    def embed(self, samples: Samples) -> Samples:
        """Return an embedding for the most frequent loudness."""
        self.embedded.append(samples)
        direction: Samples = np.eye(EMBEDDING_SIZE, dtype=np.float32)[int(np.median(samples))]
        return direction


def as_networks(fake: FakeNetworks) -> Networks:
    return fake  # type: ignore[return-value]  # all that is used of them

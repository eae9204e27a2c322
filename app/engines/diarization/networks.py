"""The two networks of diarization: segmentation finds which voice speaks when in a window, the other embeds speech."""

from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import cast

import numpy as np
import numpy.typing as npt
import onnxruntime
from natscribe.schemas.wire import Model

from app.engines.diarization.identity import EMBEDDING_FILE, TELEPHONE_FILE, weights
from app.engines.onnx.session import session_options

Array = npt.NDArray[np.float32]
Compute = Callable[[None, dict[str, Array]], Sequence[Array]]  # computes all outputs of a network from its inputs

NAME = "segmentation-3.0+campplus"
_FILES = ("segmentation-3.0.onnx", EMBEDDING_FILE)
_PIPELINE = b"3"  # part of the revision: raise it when code changes the turns, so that older chunks are not reused
_TINY = 1e-9  # prevents a division by zero
POWERSET_CLASSES = 7  # sets of voices that the segmentation network distinguishes


class Networks:
    """Both networks of diarization, loaded; `identity`: the name and revision that stand in results."""

    def __init__(self, threads: int) -> None:
        folder = weights()
        contents = [(folder / name).read_bytes() for name in (*_FILES, TELEPHONE_FILE)]
        self.identity = Model(name=NAME, revision=sha256(b"".join([_PIPELINE, *contents])).hexdigest()[:12])
        self._segmentation, self._embeddings = (_opened(content, threads) for content in contents[: len(_FILES)])
        self._telephone: Array = np.load(folder / TELEPHONE_FILE)

    def segment(self, window: Array) -> Array:
        """Return log probabilities (frames, 7) that nobody, each of three voices, or each two of them speak.

        `window`: the samples of a window.
        """
        return self._segmentation(None, {"x": window[np.newaxis, np.newaxis]})[0].reshape(-1, POWERSET_CLASSES)

    def embed(self, features: Array) -> Array:
        """Return the embedding (192 values, length 1) of one person's speech from its features (frames, 80).

        The embedding lacks the four directions in which telephones change everybody's speech (nuisance attribute
        projection, Solomonoff 2005): with these directions, all people on telephones would be alike.
        """
        embedding = self.embed_unprojected(features)
        share = (embedding @ self._telephone.T) @ self._telephone
        return _unit(np.asarray(embedding - share, np.float32))

    def embed_unprojected(self, features: Array) -> Array:
        """Return the embedding (192 values, length 1) as the network computes it, without removing directions."""
        return _unit(self._embeddings(None, {"x": features[np.newaxis]})[0].reshape(-1))


def _unit(values: Array) -> Array:
    unit: Array = values / max(float(np.linalg.norm(values)), _TINY)
    return unit


def _opened(content: bytes, threads: int) -> Compute:
    session = onnxruntime.InferenceSession(content, session_options(threads), providers=["CPUExecutionProvider"])
    return cast("Compute", session.run)

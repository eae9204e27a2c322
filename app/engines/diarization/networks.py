"""The two networks of diarization: which voice speaks when in an excerpt, and the embedding of a voice."""

from collections.abc import Callable, Sequence
from hashlib import sha256
from importlib import resources
from pathlib import Path
from typing import cast

import numpy as np
import numpy.typing as npt
import onnxruntime

from app.engines.onnx_session import session_options
from schemas.wire import Model

Array = npt.NDArray[np.float32]
Compute = Callable[[None, dict[str, Array]], Sequence[Array]]  # all outputs of a network

NAME = "segmentation-3.0+campplus"
_FILES = ("segmentation-3.0.onnx", "campplus.onnx")
_TELEPHONE = "telephone.npy"
_SHIFT = np.float32(0.75)  # of the telephone's mean: with 1 two people of a real call are too near each other
_PIPELINE = b"2"  # raised when the same networks give other turns, so that no older record is used
_TINY = 1e-9
SETS = 7


class Networks:
    """Both networks in memory, and the name and revision that results carry."""

    def __init__(self, threads: int) -> None:
        folder = Path(str(resources.files("app.engines") / "weights"))
        contents = [(folder / name).read_bytes() for name in (*_FILES, _TELEPHONE)]
        self.identity = Model(name=NAME, revision=sha256(b"".join([_PIPELINE, *contents])).hexdigest()[:12])
        self._segmentation, self._embeddings = (_opened(content, threads) for content in contents[: len(_FILES)])
        self._telephone: Array = np.load(folder / _TELEPHONE)

    def segment(self, excerpt: Array) -> Array:
        """Find the log probabilities (frames, 7 sets of voices) for the samples of an excerpt."""
        return self._segmentation(None, {"x": excerpt[np.newaxis, np.newaxis]})[0].reshape(-1, SETS)

    def embed(self, features: Array, *, telephone: bool = False) -> Array:
        """Find the embedding (192) of one voice from its features (frames, 80).

        A telephone moves all voices the same way, towards each other, so what they have in common is subtracted. The
        embedding has length 1 before that.
        """
        embedding = self._embeddings(None, {"x": features[np.newaxis]})[0].reshape(-1)
        embedding = embedding / max(float(np.linalg.norm(embedding)), _TINY)
        return embedding - _SHIFT * self._telephone if telephone else embedding


def _opened(content: bytes, threads: int) -> Compute:
    session = onnxruntime.InferenceSession(content, session_options(threads), providers=["CPUExecutionProvider"])
    return cast("Compute", session.run)

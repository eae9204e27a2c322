"""The two networks of diarization: the segmentation model and the speaker embedding model."""

from collections.abc import Callable, Sequence
from hashlib import sha256
from importlib import resources
from pathlib import Path
from typing import cast

import numpy as np
import numpy.typing as npt
import onnxruntime
from natscribe.schemas.wire import Model

from app.engines.diarization import VOICE_NETWORK
from app.engines.onnx.session import session_options

Array = npt.NDArray[np.float32]
Compute = Callable[[None, dict[str, Array]], Sequence[Array]]  # maps the inputs of a network to its outputs

SEGMENTATION = Path(str(resources.files("app.engines"))) / "weights/segmentation-3.0.onnx"
_PIPELINE = b"5"  # part of the revision: increment it when code changes the turns, so that older chunks are not reused
_TINY = 1e-9  # prevents a division by zero
POWERSET_CLASSES = 7  # sets of local speakers that the segmentation model distinguishes


class Networks:
    """The two networks of diarization, loaded into memory.

    `identity`: the name and the revision of both networks together, which the results of tasks contain.
    """

    def __init__(self, threads: int) -> None:
        embedding, telephone = VOICE_NETWORK.weights
        contents = [path.read_bytes() for path in (SEGMENTATION, embedding, telephone)]
        name = f"{SEGMENTATION.stem}+{embedding.stem}"
        self.identity = Model(name=name, revision=sha256(b"".join([_PIPELINE, *contents])).hexdigest()[:12])
        self._segmentation, self._embedding = (_load(content, threads) for content in contents[:2])
        self._telephone: Array = np.load(telephone)

    def segment(self, window: Array) -> Array:
        """Run the segmentation model on a window of 10 s: return the log probability of each class in each frame.

        The shape is (frames, 7). The powerset classes are: nobody speaks, one of three local speakers speaks, or two of
        them speak. `window`: the samples of the window.
        """
        return self._segmentation(None, {"x": window[np.newaxis, np.newaxis]})[0].reshape(-1, POWERSET_CLASSES)

    def embed(self, features: Array) -> Array:
        """Return the speaker embedding of `features`, shape (frames, 80): 192 values of norm 1.

        Nuisance attribute projection (Solomonoff 2005) removes the four directions in which telephones change every
        embedding. Otherwise the embeddings of all people on telephones would be similar.
        """
        embedding = self.embed_unprojected(features)
        nuisance = (embedding @ self._telephone.T) @ self._telephone
        return _normalized(np.asarray(embedding - nuisance, np.float32))

    def embed_unprojected(self, features: Array) -> Array:
        """Return the speaker embedding of `features` without the nuisance attribute projection that `embed` applies."""
        return _normalized(self._embedding(None, {"x": features[np.newaxis]})[0].reshape(-1))


def _normalized(values: Array) -> Array:
    normalized: Array = values / max(float(np.linalg.norm(values)), _TINY)
    return normalized


def _load(content: bytes, threads: int) -> Compute:
    session = onnxruntime.InferenceSession(content, session_options(threads), providers=["CPUExecutionProvider"])
    return cast("Compute", session.run)

"""The speaker embedding model: its identity, as only embeddings of the same revision can be compared, and whitening."""

from functools import cache
from hashlib import sha256
from importlib import resources
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
from natscribe.schemas.wire import Model

EMBEDDING_FILE, TELEPHONE_FILE, WHITENING_FILE = "campplus.onnx", "telephone.npy", "whitening.npy"
WHITENED_DISTANCE: Final = 0.05  # by how much larger distances of whitened embeddings of one person may be
_FEATURES: Final = b"1"  # increment it when code changes the features, or how a speaker's embedding is computed


def weights_folder() -> Path:
    """Return the folder with the weights of the diarization networks."""
    return Path(str(resources.files("app.engines") / "weights"))


@cache
def embedding_network() -> Model:
    """Return the name and the revision of the speaker embedding model."""
    contents = [(weights_folder() / name).read_bytes() for name in (EMBEDDING_FILE, TELEPHONE_FILE)]
    return Model(name="campplus", revision=sha256(b"".join([_FEATURES, *contents])).hexdigest()[:12])


@cache
def whitening() -> npt.NDArray[np.float32]:
    """Return the matrix with which to multiply embeddings of real or simulated telephone audio to compare them.

    Within-class covariance normalization (Hatch 2006) scales down the directions in which embeddings of one person vary
    most, from word to word and from telephone to telephone. Stored embeddings are not multiplied. The shape is (192,
    192).
    """
    matrix: npt.NDArray[np.float32] = np.load(weights_folder() / WHITENING_FILE).astype(np.float32)
    return matrix

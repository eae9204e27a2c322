"""Whitening, which makes speaker embeddings of telephone audio comparable."""

from functools import cache
from typing import Final

import numpy as np
import numpy.typing as npt

from app.engines.diarization.identity import weights_folder

WHITENED_DISTANCE: Final = 0.05  # by how much larger distances of whitened embeddings of one person may be


@cache
def whitening() -> npt.NDArray[np.float32]:
    """Return the matrix with which to multiply embeddings of real or simulated telephone audio to compare them.

    Within-class covariance normalization (Hatch 2006) scales down the directions in which embeddings of one person vary
    most, from word to word and from telephone to telephone. Stored embeddings are not multiplied. The shape is (192,
    192).
    """
    matrix: npt.NDArray[np.float32] = np.load(weights_folder() / "whitening.npy").astype(np.float32)
    return matrix

"""Audio samples and probabilities of speech in messages.

Samples are signed 16-bit integers, so that every worker transcribes exactly the same audio.
"""

from base64 import b64decode, b64encode

import numpy as np
import numpy.typing as npt

Samples = npt.NDArray[np.float32]

_CERTAIN = 255  # the integer that stands for the probability 1
_FULL = 32768  # the 16-bit integer that stands for 1.0


def pack(samples: Samples) -> str:
    """Encode samples between -1 and 1 as base64 of little-endian 16-bit integers; louder samples are clipped."""
    return b64encode(np.clip(np.rint(samples * _FULL), -_FULL, _FULL - 1).astype("<i2").tobytes()).decode()


def pack_speech(speech: Samples) -> str:
    """Encode probabilities, such as those of speech in each frame, as two hexadecimal digits each."""
    return np.rint(np.clip(speech, 0, 1) * _CERTAIN).astype(np.uint8).tobytes().hex()


def unpack_speech(packed: str) -> Samples:
    """Decode the probabilities that `pack_speech` encoded, which rounded them.

    Raises:
        ValueError: The text has other characters, or half a number.
    """
    return np.frombuffer(bytes.fromhex(packed), np.uint8).astype(np.float32) / np.float32(_CERTAIN)


def unpack(packed: str) -> Samples:
    """Decode the samples that `pack` encoded, which rounded them to 16 bits.

    Raises:
        ValueError: The text is no base64 of 16-bit integers.
    """
    return np.frombuffer(b64decode(packed, validate=True), "<i2").astype(np.float32) / np.float32(_FULL)

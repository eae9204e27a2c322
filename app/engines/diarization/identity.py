"""The identity of the speaker embedding model: only embeddings of the same revision can be compared."""

from functools import cache
from hashlib import sha256
from importlib import resources
from pathlib import Path
from typing import Final

from natscribe.schemas.wire import Model

EMBEDDING_FILE, TELEPHONE_FILE = "campplus.onnx", "telephone.npy"
_FEATURES: Final = b"1"  # increment it when code changes the features, or how a speaker's embedding is computed


def weights_folder() -> Path:
    """Return the folder with the weights of the diarization networks."""
    return Path(str(resources.files("app.engines") / "weights"))


@cache
def embedding_network() -> Model:
    """Return the name and the revision of the speaker embedding model."""
    contents = [(weights_folder() / name).read_bytes() for name in (EMBEDDING_FILE, TELEPHONE_FILE)]
    return Model(name="campplus", revision=sha256(b"".join([_FEATURES, *contents])).hexdigest()[:12])

"""The interface of a model family, i.e. of the speech models that one library runs; `models.py` lists the families.

The module of a family imports its libraries only when it fetches or loads a model: importing them takes time and
memory, and they may not be installed.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from hashlib import file_digest, sha256
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from natscribe.schemas.errors import ErrorCode
from natscribe.schemas.wire import Model

from app.runtime.errors import PermanentError

if TYPE_CHECKING:
    from app.engines.speech_model import SpeechModel

_HEX_DIGITS_OF_SHA256 = 64


@dataclass(frozen=True, slots=True)
class ComputeOptions:
    """The options with which a model is loaded.

    `device`: auto, cpu or cuda. `compute_type`: the precision, such as int8; None: the default of the device.
    `threads`: CPU threads per window. `at_once`: how many windows are transcribed at the same time on a CPU. `beam`:
    the beam size, for models with beam search.
    """

    device: str = "cpu"
    compute_type: str | None = None
    threads: int = 1
    at_once: int = 1
    beam: int = 5


@dataclass(frozen=True, slots=True)
class LocalModel:
    """A model on disk: its folder, its name and revision, and the function that loads it.

    `load` raises PermanentError (unknown_model) if the files are damaged, or if the model cannot run on the device or
    with the precision that its argument requests.
    """

    folder: Path
    identity: Model
    load: Callable[[ComputeOptions], SpeechModel]


class ModelFamily(Protocol):
    """The interface to the models that one library runs; `whisper/family.py` and `onnx/family.py` implement it.

    `EXAMPLE`: the name of a published model. `NEEDED`: the files that a model's folder needs, in words for the
    operator.
    """

    EXAMPLE: str
    NEEDED: str

    def publishes(self, name: str, /) -> bool:
        """Return whether this family has a published model of this name."""

    def fetch(self, name: str, compute_type: str | None, /) -> Path:
        """Return the folder of a published model; download the model first if necessary.

        `compute_type`: the precision to download, if the model is published in several.

        Raises:
            PermanentError: The operator has to change something; the message says what.
            Exception: The model cannot be downloaded.
        """

    def detect(self, folder: Path, name: str, compute_type: str | None, /) -> LocalModel | None:
        """Return the model in a folder; None if the folder contains no model of this family.

        `name`: the name that the model gets. `compute_type`: the precision to choose if the folder has files of
        several.

        Raises:
            IncompleteModelError: Some files of the model are missing.
            PermanentError: The operator has to change something; the message says what.
        """


class IncompleteModelError(Exception):
    """The folder of a model lacks some of the model's files, which the message lists."""

    def __init__(self, missing: Sequence[str]) -> None:
        super().__init__(", ".join(missing))


def identity_of(name: str, files: Sequence[Path]) -> Model:
    """Return the identity of a model: its name, and as its revision the first 12 hex digits of its files' SHA-256."""
    hashes = [_hash(file) for file in files]
    joined = hashes[0] if len(hashes) == 1 else sha256("".join(hashes).encode()).hexdigest()
    return Model(name=name, revision=joined[:12])


def check_precision(name: str, compute_type: str | None, supported: Collection[str]) -> None:
    """Check that `compute_type` is one of the `supported` precisions of the model `name` on this device.

    None, which stands for the default precision, is always supported.

    Raises:
        PermanentError: unknown_model: the precision is not supported; the message lists those that are.
    """
    if compute_type is not None and compute_type not in supported:
        message = (
            f"The model {name!r} cannot be loaded with ENGINE_COMPUTE_TYPE={compute_type}: on this device it takes"
            f" {', '.join(sorted(supported))}."
        )
        raise unknown_model(message)


def unknown_model(message: str) -> PermanentError:
    """Return the error unknown_model: the operator, or the author of the task, has to change something."""
    return PermanentError(ErrorCode.UNKNOWN_MODEL, message)


def _hash(file: Path) -> str:
    blob = file.resolve().name  # in the hub's cache, the name of a large file is its SHA-256
    if len(blob) == _HEX_DIGITS_OF_SHA256:
        return blob
    with file.open("rb") as content:
        return file_digest(content, "sha256").hexdigest()

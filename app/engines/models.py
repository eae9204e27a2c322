"""Which model a task means, and where its files lie."""

from dataclasses import dataclass
from hashlib import file_digest
from pathlib import Path

from faster_whisper.utils import available_models, download_model

from app.engines import bundled
from handlers.errors import PermanentError
from schemas.errors import ErrorCode
from schemas.wire import Model

_NEEDED = ("model.bin", "config.json", "tokenizer.json", "vocabulary.*")
_HEX_DIGITS_OF_SHA256 = 64
_BUNDLED_NAMES = {bundled.NAME, "base"}  # the published `base` is the same file


@dataclass(frozen=True)
class Weights:
    """A transcription model on this machine."""

    folder: Path
    identity: Model


@dataclass(frozen=True)
class Models:
    """The models that this service may load: `default` is the operator's word, a name or a folder."""

    default: str | None
    folder: Path | None

    def find(self, name: str | None) -> Weights:
        """The weights that a task means with `name` (null: the service's own).

        Raises PermanentError (unknown_model) where there is no such model, or it cannot be had.
        """
        if name is not None:
            return self._named(name)
        if self.default is not None and Path(self.default).is_dir():
            return _in_folder(Path(self.default), Path(self.default).resolve().name)
        return self._named(self.default or bundled.NAME)

    def _named(self, name: str) -> Weights:
        own = self._own_folder(name)
        if own is not None:
            return _in_folder(own, name)
        if name in _BUNDLED_NAMES:
            return _bundled()
        if name in available_models():
            return _published(name)
        message = (
            f"The model {name!r} is not known: name a published size such as 'large-v3' or a folder of the service's."
        )
        raise _unknown(message)

    def _own_folder(self, name: str) -> Path | None:
        if self.folder is None or name in {".", ".."} or "\0" in name or Path(name).name != name:
            return None
        folder = self.folder / name
        inside = folder.resolve().parent == self.folder.resolve()
        return folder if inside and folder.is_dir() else None


def _bundled() -> Weights:
    try:
        folder = bundled.folder()
    except (OSError, RuntimeError, ValueError, ModuleNotFoundError) as error:
        message = "The bundled model cannot be unpacked: the service's operator finds the reason in its log."
        raise _unknown(message) from error
    return Weights(folder, Model(name=bundled.NAME, revision=bundled.REVISION))


def _published(name: str) -> Weights:
    try:
        folder = Path(download_model(name, local_files_only=True))
    except Exception:  # noqa: BLE001 -- the hub's client raises many kinds; all mean that the model is not here yet
        folder = _download(name)
    return _in_folder(folder, name)


def _download(name: str) -> Path:
    try:
        return Path(download_model(name))
    except Exception as error:
        message = (
            f"The model {name!r} cannot be had from the model hub: ask for the service's own model,"
            " or let the operator put it into TRANSCRIPTION_MODELS_DIR."
        )
        raise _unknown(message) from error


def _in_folder(folder: Path, name: str) -> Weights:
    missing = [pattern for pattern in _NEEDED if not any(folder.glob(pattern))]
    if missing:
        message = f"The model {name!r} is not complete: the operator must add {', '.join(missing)} to its folder."
        raise _unknown(message)
    return Weights(folder, Model(name=name, revision=_revision(folder / "model.bin")))


def _revision(weights: Path) -> str:
    known = weights.resolve().name  # the hub's cache names large files by their hash
    if len(known) != _HEX_DIGITS_OF_SHA256:
        with weights.open("rb") as file:
            known = file_digest(file, "sha256").hexdigest()
    return known[:12]


def _unknown(message: str) -> PermanentError:
    return PermanentError(ErrorCode.UNKNOWN_MODEL, message)

"""Find the transcription model that a task names: its family and the folder of its files."""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import file_digest, sha256
from pathlib import Path

from faster_whisper.utils import available_models, download_model
from natscribe.schemas.errors import ErrorCode
from natscribe.schemas.wire import Model

from app.engines.onnx import published as onnx_models
from app.engines.onnx.published import IncompleteError, Network
from app.engines.whisper import bundled
from app.errors import PermanentError

_WHISPER = "model.bin"
_NEEDED = (_WHISPER, "config.json", "tokenizer.json", "vocabulary.*")
_HEX_DIGITS_OF_SHA256 = 64
_BUNDLED_NAMES = {bundled.NAME, "base"}  # the published model `base` has the same weights


@dataclass(frozen=True)
class Weights:
    """The files of a transcription model; `network` says how onnx-asr reads them, and is null for a Whisper model."""

    folder: Path
    identity: Model
    network: Network | None = None


@dataclass(frozen=True)
class Models:
    """The models that this service may load.

    `default` is the name or folder of the operator's model, null for the bundled one. Tasks may name it, the bundled
    one, those in `folder`, which holds a folder for each, and those in `offered`. `compute_type` chooses between files
    of several precisions.
    """

    default: str | None
    folder: Path | None
    compute_type: str | None = None
    offered: Sequence[str] = ()

    def find(self, name: str | None) -> Weights:
        """Find the model `name`; null: the service's own model.

        Raises:
            PermanentError: unknown_model: no model has this name, tasks may not name it, or its files are incomplete or
                cannot be downloaded.
        """
        if name is not None:
            self._check_offered(name)
            return self._named(name)
        if self.default is not None and Path(self.default).is_dir():
            return self._in_folder(Path(self.default), Path(self.default).resolve().name)
        return self._named(self.default or bundled.NAME)

    def _check_offered(self, name: str) -> None:
        offered = {bundled.NAME, *self.offered}
        if self.default is not None and not Path(self.default).is_dir():
            offered.add(self.default)
        if name in offered | _BUNDLED_NAMES or self._own_folder(name) is not None:
            return
        if self.folder is not None and self.folder.is_dir():
            offered |= {each.name for each in self.folder.iterdir() if each.is_dir()}
        message = (
            f"The model {name!r} is not offered here: leave `model` out or name one of {', '.join(sorted(offered))};"
            " the service's operator offers more in TRANSCRIPTION_MODELS."
        )
        raise _unknown(message)

    def _named(self, name: str) -> Weights:
        own = self._own_folder(name)
        if own is not None:
            return self._in_folder(own, name)
        if name in _BUNDLED_NAMES:
            return _bundled()
        if name in available_models():
            return _whisper(_published(name), name)
        if name in onnx_models.PUBLISHED:
            return self._onnx(_published_onnx(name, self.compute_type), name)
        message = (
            f"The model {name!r} is not known: the operator must name a published one such as 'large-v3' or"
            " 'nemo-parakeet-tdt-0.6b-v3', or a folder (docs/models.md)."
        )
        raise _unknown(message)

    def _in_folder(self, folder: Path, name: str) -> Weights:
        return _whisper(folder, name) if (folder / _WHISPER).exists() else self._onnx(folder, name)

    def _onnx(self, folder: Path, name: str) -> Weights:
        try:
            network = onnx_models.recognise(folder, name, self.compute_type)
        except IncompleteError as error:
            raise _incomplete(name, str(error)) from error
        if network is None:
            message = (
                f"The model {name!r} is of unknown kind: the operator must give its folder {', '.join(_NEEDED)}"
                " (Whisper, for CTranslate2), or config.json with a model_type of onnx-asr and the files of that type"
                " (docs/models.md)."
            )
            raise _unknown(message)
        _require_extra(name)
        return Weights(folder, Model(name=name, revision=_revision(network.files)), network)

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


def _whisper(folder: Path, name: str) -> Weights:
    missing = [pattern for pattern in _NEEDED if not any(folder.glob(pattern))]
    if missing:
        raise _incomplete(name, ", ".join(missing))
    return Weights(folder, Model(name=name, revision=_revision([folder / _WHISPER])))


def _published(name: str) -> Path:
    try:
        return Path(download_model(name, local_files_only=True))
    except Exception:  # noqa: BLE001 -- any error of the hub's client means that the model is not in the cache
        return _download(name)


def _download(name: str) -> Path:
    try:
        return Path(download_model(name))
    except Exception as error:
        raise _not_downloaded(name) from error


def _published_onnx(name: str, compute_type: str | None) -> Path:
    _require_extra(name)
    try:
        return onnx_models.fetch(name, compute_type)
    except Exception as error:
        raise _not_downloaded(name) from error


def _require_extra(name: str) -> None:
    if not onnx_models.installed():
        message = f"The model {name!r} needs an extra of this service: its operator runs {onnx_models.EXTRA}."
        raise _unknown(message)


def _revision(weights: Sequence[Path]) -> str:
    hashes = [_hash(file) for file in weights]
    return (hashes[0] if len(hashes) == 1 else sha256("".join(hashes).encode()).hexdigest())[:12]


def _hash(weights: Path) -> str:
    known = weights.resolve().name  # in the hub's cache, the name of a large file is its SHA-256
    if len(known) == _HEX_DIGITS_OF_SHA256:
        return known
    with weights.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()


def _incomplete(name: str, missing: str) -> PermanentError:
    message = f"The model {name!r} is not complete: the operator must add {missing} to its folder."
    return _unknown(message)


def _not_downloaded(name: str) -> PermanentError:
    message = (
        f"The model {name!r} cannot be downloaded from the model hub: ask for the service's own model,"
        " or let the operator put it into TRANSCRIPTION_MODELS_DIR."
    )
    return _unknown(message)


def _unknown(message: str) -> PermanentError:
    return PermanentError(ErrorCode.UNKNOWN_MODEL, message)

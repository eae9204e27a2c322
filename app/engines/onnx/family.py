"""The family of models that onnx-asr runs; the library is an optional extra."""

from __future__ import annotations

from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from natscribe.schemas.wire import Model

from app.engines.family import ComputeOptions, LocalModel, check_precision, identity_of, unknown_model
from app.engines.onnx import published

if TYPE_CHECKING:
    from app.engines.onnx.model import OnnxModel

EXAMPLE = "nemo-parakeet-tdt-0.6b-v3"
NEEDED = "config.json with a model_type of onnx-asr and the files of that type"


def publishes(name: str) -> bool:
    """Return whether onnx-asr knows a published model with the name `name`."""
    return name in published.PUBLISHED


def fetch(name: str, compute_type: str | None) -> Path:
    """Return the folder of a published model; download the model unless it is cached in any precision.

    `compute_type`: the precision to prefer; a model that is not published in this precision is fetched in another one.

    Raises:
        PermanentError: unknown_model: the optional extra is not installed, or the precision is unknown.
        Exception: The model hub cannot be reached; its client raises many types of error.
    """
    _check(name, compute_type)
    return published.fetch(name, compute_type)


def detect(folder: Path, name: str, compute_type: str | None) -> LocalModel | None:
    """Return the model of onnx-asr in a folder; None if the folder contains no such model.

    `name`: if it is the name of a published model, the folder must have the files of that model. `compute_type`: the
    precision to prefer if the folder has files of several.

    Raises:
        IncompleteModelError: Some files of the model are missing.
        PermanentError: unknown_model: the optional extra is not installed, or the precision is unknown.
    """
    files = published.detect(folder, name, compute_type)
    if files is None:
        return None
    _check(name, compute_type)
    identity = identity_of(name, files.files)
    return LocalModel(folder, identity, partial(_load, folder, identity, files))


def _check(name: str, compute_type: str | None) -> None:
    if find_spec("onnx_asr") is None:
        message = (
            f"The model {name!r} needs an extra of this service: its operator runs"
            " pip install ./clients/python '.[onnx]'."
        )
        raise unknown_model(message)
    check_precision(name, compute_type, published.PRECISIONS)


def _load(folder: Path, identity: Model, files: published.ModelFiles, options: ComputeOptions) -> OnnxModel:
    from app.engines.onnx.model import load  # noqa: PLC0415 -- imports ONNX Runtime and the extra

    return load(folder, identity, files, options)

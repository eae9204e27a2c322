"""Load a model of onnx-asr on a GPU if a usable one exists, or on the CPU."""

from collections.abc import Callable, Sequence
from contextlib import suppress

import onnxruntime
from onnx_asr.adapters import TextResultsAsrAdapter

Load = Callable[[Sequence[str]], TextResultsAsrAdapter]

_CUDA, _CPU = "CUDAExecutionProvider", "CPUExecutionProvider"


class NoGpuError(Exception):
    """A model was to be loaded on a GPU, but ONNX Runtime runs a part of it on the CPU."""


def load_on(device: str, load: Load) -> tuple[TextResultsAsrAdapter, bool]:
    """Load a model on a device: `auto`, `cpu` or `cuda`; return the model, and whether it runs on a GPU.

    `load`: loads the model with a list of ONNX Runtime's execution providers. Only a loaded model shows whether a GPU
    is usable, because `get_available_providers` lists what ONNX Runtime was built with. So for `auto`, the model is
    loaded on the GPU, and again on the CPU if a part of it does not run on the GPU.

    Raises:
        NoGpuError: The device is `cuda`, but a part of the model runs on the CPU.
        Exception: The model cannot be loaded; the libraries raise many types of error.
    """
    if device == "cuda":
        return _on_gpu(load), True
    if device == "auto" and _CUDA in onnxruntime.get_available_providers():
        with suppress(Exception):  # no GPU, or one that is too small; damaged files cannot be loaded on the CPU either
            return _on_gpu(load), True
    return load([_CPU]), False


def _on_gpu(load: Load) -> TextResultsAsrAdapter:
    onnxruntime.preload_dlls()  # finds NVIDIA's libraries that are installed as Python packages
    model = load([_CUDA, _CPU])
    if not _all_on_gpu(model.asr):
        raise NoGpuError
    return model


def _all_on_gpu(asr: object) -> bool:
    """Return whether all networks of the model `asr` run on the GPU.

    This has to be checked, because ONNX Runtime falls back to the CPU without an error.
    """
    sessions = [value for value in vars(asr).values() if isinstance(value, onnxruntime.InferenceSession)]
    return all(_CUDA in session.get_providers() for session in sessions)

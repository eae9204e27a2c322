"""Load a model of onnx-asr for the GPU if there is a usable one, or for the CPU."""

from collections.abc import Callable, Sequence
from contextlib import suppress

import onnxruntime
from onnx_asr.adapters import TextResultsAsrAdapter

Read = Callable[[Sequence[str]], TextResultsAsrAdapter]

_CUDA, _CPU = "CUDAExecutionProvider", "CPUExecutionProvider"


class NoGpuError(Exception):
    """ONNX Runtime could not use a GPU for the whole model."""


def load_on(device: str, read: Read) -> tuple[TextResultsAsrAdapter, bool]:
    """Load a model; return it, and whether it runs on the GPU.

    `read` loads the model for a list of ONNX Runtime's execution providers. Only a loaded model shows whether a GPU is
    usable: `get_available_providers` lists what ONNX Runtime was built with. So for the device `auto` the model is
    loaded for the GPU, and again for the CPU if a part of it does not run on the GPU.

    Raises:
        NoGpuError: The device is `cuda`, and a network runs on the CPU.
        Exception: The model cannot be read; the libraries raise many types of error.
    """
    if device == "cuda":
        return _on_gpu(read), True
    if device == "auto" and _CUDA in onnxruntime.get_available_providers():
        with suppress(Exception):  # no GPU, or one that is too small; damaged files cannot be read for the CPU either
            return _on_gpu(read), True
    return read([_CPU]), False


def _on_gpu(read: Read) -> TextResultsAsrAdapter:
    onnxruntime.preload_dlls()  # finds NVIDIA's libraries if they were installed as Python packages
    model = read([_CUDA, _CPU])
    if not _all_on_gpu(model.asr):
        raise NoGpuError
    return model


def _all_on_gpu(asr: object) -> bool:
    """Whether all networks run on the GPU: ONNX Runtime falls back to the CPU without an error."""
    sessions = [value for value in vars(asr).values() if isinstance(value, onnxruntime.InferenceSession)]
    return all(_CUDA in session.get_providers() for session in sessions)

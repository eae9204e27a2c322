"""What the settings of an engine process become in the models that it loads, and what it imports for them."""

import subprocess
import sys
from pathlib import Path

import pytest
from ctranslate2 import get_cuda_device_count, get_supported_compute_types

from app.engines.messages import Load
from app.engines.onnx.published import PRECISIONS
from app.engines.process.job_runner import JobRunner
from app.runtime.errors import TransientError
from tests.document import ROOT
from tests.unit.engines.setups import setup

READER = str(Path(__file__).parents[2] / "networks" / "reader")
LOAD = """
import sys
from app.engines.messages import Load, Setup
from app.engines.process.job_runner import JobRunner

setup = Setup.model_validate_json(sys.argv[1])
JobRunner(setup).run(Load(), lambda _: None)
print(*sys.modules)
"""


@pytest.mark.parametrize(
    ("model", "needed", "spared"),
    [(None, "ctranslate2", ["onnx_asr", "onnxruntime"]), (READER, "onnx_asr", ["ctranslate2", "faster_whisper"])],
    ids=["whisper", "onnx"],
)
def test_a_process_imports_the_library_of_its_own_model_alone(
    model: str | None, needed: str, spared: list[str]
) -> None:
    # Given a new engine process, when it loads a model
    read = setup(transcription_model=model).model_dump_json()
    done = subprocess.run([sys.executable, "-c", LOAD, read], cwd=ROOT, capture_output=True, text=True, check=True)

    # Then it has imported what runs it, and spares the time and memory for what runs others
    imported = done.stdout.split()
    assert needed in imported
    assert not set(spared) & set(imported)


@pytest.mark.parametrize(
    ("model", "taken"),
    [(None, get_supported_compute_types("cpu")), (READER, set(PRECISIONS))],
    ids=["whisper", "onnx"],
)
def test_a_precision_that_a_family_does_not_take_is_refused_with_those_that_it_takes(
    model: str | None, taken: set[str]
) -> None:
    # Given an engine process with a typing error in the precision
    runner = JobRunner(setup(transcription_model=model, engine_compute_type="int7"))

    # When it loads its model, then the operator reads the setting, its value and what it may be
    with pytest.raises(TransientError, match="ENGINE_COMPUTE_TYPE=int7: ") as caught:
        runner.run(Load(), lambda _: None)
    assert taken == set(str(caught.value).rstrip(".").partition("takes ")[2].split(", "))


@pytest.mark.skipif(get_cuda_device_count() > 0, reason="needs a machine without a GPU")
@pytest.mark.parametrize("precision", [None, "int8"])
@pytest.mark.parametrize("model", [None, READER], ids=["whisper", "onnx"])
def test_without_a_gpu_the_device_is_named_and_not_the_precision(model: str | None, precision: str | None) -> None:
    # Given an engine process that must use a GPU where there is none
    runner = JobRunner(setup(transcription_model=model, engine_device="cuda", engine_compute_type=precision))

    # When it loads its model, and does so again a while later, then the operator reads which setting does not fit
    for _ in range(2):
        with pytest.raises(TransientError, match="or ENGINE_DEVICE does not suit this machine"):
            runner.run(Load(), lambda _: None)

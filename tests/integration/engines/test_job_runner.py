"""What the settings of an engine process become in the models that it loads."""

from pathlib import Path

import pytest

from app.engines.messages import Load, Loaded, Reply, Setup
from app.engines.onnx import model as onnx
from app.engines.parallel import Parallel
from app.engines.process.job_runner import JobRunner
from app.engines.whisper import model as whisper

NETWORKS = Path(__file__).parents[2] / "networks"


@pytest.mark.parametrize(("model", "family"), [(None, whisper), (str(NETWORKS / "reader"), onnx)])
def test_models_of_each_family_transcribe_as_many_windows_at_once_as_they_are_told(
    monkeypatch: pytest.MonkeyPatch, model: str | None, family: object
) -> None:
    # Given an engine process that transcribes three windows at the same time
    counts: list[int] = []

    def noted(count: int) -> Parallel:
        counts.append(count)
        return Parallel(count)

    monkeypatch.setattr(family, "Parallel", noted)
    limits = {"max_seconds": 60.0, "diarization_max_seconds": 60.0, "max_decode_seconds": 60.0}
    runner, replies = JobRunner(Setup(parent=0, model=model, device="cpu", at_once=3, **limits)), list[Reply]()

    # When it loads a model, then the model does so
    runner.run(Load(), replies.append)
    assert isinstance(replies[-1], Loaded)
    assert counts == [3]

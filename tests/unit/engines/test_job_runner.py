"""Which models an engine process caches, and what happens to their errors."""

from base64 import b64encode
from pathlib import Path
from typing import cast

import pytest
from natscribe.schemas.errors import ErrorCode
from natscribe.schemas.live import LiveAudio
from natscribe.schemas.transcription import TranscribeOptions
from natscribe.schemas.wire import Model

from app.engines.family import ComputeOptions, LocalModel
from app.engines.messages import (
    DiarizationDone,
    Diarize,
    LiveAudioProcessed,
    Load,
    Loaded,
    ProcessLiveAudio,
    Reply,
)
from app.engines.models import ModelCatalog
from app.engines.process.job_runner import JobRunner
from app.engines.speech_model import SpeechModel
from app.runtime.errors import PermanentError, TaskError, TransientError
from tests.audio import silence, write
from tests.unit.engines.setups import setup

MODEL = Model(name="own", revision="1")


class FakeModel:
    """A model that says how it computes."""

    fingerprint = "as told"

    def __init__(self, name: str | None, computing: ComputeOptions) -> None:
        self.identity = MODEL.model_copy(update={"name": name or MODEL.name})
        self.computing = computing

    def check(self, options: TranscribeOptions) -> None:
        if options.translate:
            raise PermanentError(ErrorCode.UNKNOWN_MODEL, "It cannot translate.")


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> list[FakeModel]:
    """The models that were loaded, in their order."""
    models: list[FakeModel] = []

    def find(_: ModelCatalog, name: str | None) -> LocalModel:
        def load(computing: ComputeOptions) -> SpeechModel:
            models.append(FakeModel(name, computing))
            return cast("SpeechModel", models[-1])

        return LocalModel(Path(), MODEL, load)

    monkeypatch.setattr(ModelCatalog, "find", find)
    return models


def runner(tmp_path: Path) -> JobRunner:
    settings = {"engine_threads": 2, "engine_parallel": 3, "engine_beam": 4}
    return JobRunner(setup(transcription_models_dir=tmp_path, **settings))


def run(jobs: JobRunner, model: str | None, **options: object) -> list[Reply]:
    replies: list[Reply] = []
    jobs.run(Load(options=TranscribeOptions.model_validate({"model": model} | options)), replies.append)
    return replies


def test_one_model_stays_in_memory(tmp_path: Path, loaded: list[FakeModel]) -> None:
    # When its own model is requested twice, another one twice, and its own again
    jobs = runner(tmp_path)
    names = []
    for model in (None, None, "other", "other", None):
        (reply,) = run(jobs, model)
        assert isinstance(reply, Loaded)
        names.append(reply.model.name)
    # Then it loads a model when that is another one than before
    assert names == ["own", "own", "other", "other", "own"]
    assert [model.identity.name for model in loaded] == ["own", "other", "own"]
    assert (loaded[0].computing.threads, loaded[0].computing.at_once, loaded[0].computing.beam) == (2, 3, 4)


@pytest.mark.parametrize(
    ("model", "kind", "message"),
    [
        (None, TransientError, "the operator has to repair it: There is no such model"),
        ("broken", PermanentError, "There is no such model"),
    ],
)
def test_a_model_that_is_not_there_is_the_tasks_fault_unless_it_is_the_services_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: str | None, kind: type[TaskError], message: str
) -> None:
    def find(_: ModelCatalog, __: str | None) -> LocalModel:
        raise PermanentError(ErrorCode.UNKNOWN_MODEL, "There is no such model.")

    monkeypatch.setattr(ModelCatalog, "find", find)
    with pytest.raises(kind, match=message):
        run(runner(tmp_path), model)


@pytest.mark.usefixtures("loaded")
def test_what_a_model_does_not_support_is_reported(tmp_path: Path) -> None:
    with pytest.raises(PermanentError, match="cannot translate"):
        run(runner(tmp_path), None, translate=True)


def test_a_process_keeps_live_streams_and_the_networks_of_diarization(tmp_path: Path) -> None:
    # Given a process that processes a second of a live stream and diarizes a recording
    jobs, replies, data = runner(tmp_path), list[Reply](), b64encode(bytes(32_000)).decode()
    recording = write(tmp_path / "silence.wav", silence(2), "pcm_s16le")
    # When it does so once more
    for first in (True, False):
        jobs.run(ProcessLiveAudio(stream="a", audio=LiveAudio(), first=first, data=data), replies.append)
        jobs.run(Diarize(path=recording), replies.append)
    # Then the stream continues, and both jobs of each kind are done
    assert [reply.seconds for reply in replies if isinstance(reply, LiveAudioProcessed)] == [1, 2]
    assert [reply.duration_seconds for reply in replies if isinstance(reply, DiarizationDone)] == [2, 2]

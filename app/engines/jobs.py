"""What an engine process can do, with the models that it keeps between jobs."""

# ruff: noqa: PLC0415 -- a process loads the libraries of its own jobs only, and is the smaller and the sooner there for it
from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from app.engines.messages import (
    DiarizationDone,
    Diarize,
    Job,
    Listen,
    Load,
    Loaded,
    Prepare,
    Prepared,
    Reply,
    Setup,
    Transcribe,
)
from app.errors import PermanentError, TransientError
from schemas.errors import ErrorCode

if TYPE_CHECKING:
    from app.engines.decoding import Limit
    from app.engines.diarization.diarizer import Diarizer
    from app.engines.models import Weights
    from app.engines.speech_model import SpeechModel
    from app.engines.whisper_network import Computing

Tell = Callable[[Reply], None]


class Workshop:
    """Does jobs; keeps one transcription model and the diarizer in memory."""

    def __init__(self, setup: Setup) -> None:
        self._setup = setup
        self._speech_model: tuple[str | None, SpeechModel] | None = None
        self._diarizer: Diarizer | None = None

    def do(self, job: Job, tell: Tell) -> None:
        """Do a job and tell all replies (PermanentError where it cannot be done)."""
        match job:
            case Prepare():
                tell(self._prepare())
            case Listen():
                self._listen(job, tell)
            case Load():
                tell(self._load(job))
            case Transcribe():
                self._hear(job, tell)
            case Diarize():
                tell(self._diarize(job, tell))

    def _prepare(self) -> Prepared:
        from app.engines.listening import prepare

        prepare()
        return Prepared()

    def _listen(self, job: Listen, tell: Tell) -> None:
        from app.engines.listening import find_windows

        for news in find_windows(job, self._limit(self._setup.max_seconds, "AUDIO_MAX_SECONDS")):
            tell(news)

    def _hear(self, job: Transcribe, tell: Tell) -> None:
        from app.engines.transcription import transcribe

        tell(transcribe(self._model(job.options.model), job))

    def _load(self, job: Load) -> Loaded:
        model = self._model(job.options.model)
        model.check(job.options)
        return Loaded(model=model.identity, how=model.how)

    def _model(self, name: str | None) -> SpeechModel:
        from app.engines.models import Models

        if self._speech_model is None or self._speech_model[0] != name:
            try:
                weights = Models(self._setup.model, self._setup.models_dir, self._setup.compute_type).find(name)
                self._speech_model = None  # two large models at once might not fit
                self._speech_model = name, self._loaded(weights)
            except PermanentError as error:
                raise (_operators(error) if name is None else error) from error
        return self._speech_model[1]

    def _loaded(self, weights: Weights) -> SpeechModel:
        if weights.network is None:
            from app.engines import whisper

            return whisper.load(weights, self._way)
        from app.engines import onnx

        return onnx.load(weights, device=self._setup.device, threads=self._setup.threads)

    @property
    def _way(self) -> Computing:
        from app.engines.whisper_network import Computing

        setup = self._setup
        return Computing(setup.device, setup.compute_type or "", setup.threads, setup.at_once, setup.beam)

    def _diarize(self, job: Diarize, tell: Tell) -> DiarizationDone:
        from app.engines.diarization.diarizer import Diarizer

        if self._diarizer is None:
            self._diarizer = Diarizer(self._setup.threads)
        limit = self._limit(self._setup.diarization_max_seconds, "DIARIZATION_MAX_SECONDS")
        return self._diarizer.diarize(job, limit, tell)

    def _limit(self, seconds: float, setting: str) -> Limit:
        from app.engines.decoding import Limit

        return Limit(seconds, setting, self._setup.max_decode_seconds)


def _operators(error: PermanentError) -> TransientError:
    """A model that no task has named is the operator's to mend: until then its tasks wait, and are not refused."""
    message = f"The service's own model cannot be loaded, which its operator has to mend: {error.detail.message}"
    return TransientError(ErrorCode.ENGINE_FAILED, message)

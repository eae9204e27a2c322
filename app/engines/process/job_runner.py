"""Runs the jobs of an engine process, and keeps models in memory from one job to the next."""

# ruff: noqa: PLC0415 -- a process imports only what its jobs need, so it starts faster and needs less memory
from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from natscribe.schemas.errors import ErrorCode

from app.engines.cores import windows_at_once
from app.engines.family import ComputeOptions
from app.engines.messages import (
    CloseLiveStream,
    DiarizationDone,
    Diarize,
    FindPersons,
    FindWindows,
    Job,
    LiveSpeakerOptions,
    Load,
    Loaded,
    LoadVad,
    PersonsFound,
    ProcessLiveAudio,
    RedactAudio,
    Reply,
    Setup,
    Transcribe,
    VadLoaded,
)
from app.engines.models import ModelCatalog
from app.engines.text.redaction.persons import check_models
from app.runtime.errors import PermanentError, TransientError

if TYPE_CHECKING:
    from app.engines.audio.limits import Limit
    from app.engines.audio.live_streams import LiveStreams
    from app.engines.diarization.live_speakers import LiveSpeakers
    from app.engines.diarization.networks import Networks
    from app.engines.speech_model import SpeechModel
    from app.engines.text.redaction.persons import PersonFinder

Emit = Callable[[Reply], None]


class JobRunner:
    """Runs the jobs of an engine process.

    From one job to the next it keeps one transcription model, the diarization networks, the live streams, and the
    models of names in memory.
    """

    def __init__(self, setup: Setup) -> None:
        self._setup = setup
        self._models: dict[str | None, SpeechModel] = {}  # one at most

    def run(self, job: Job, emit: Emit) -> None:
        """Run a job, and call `emit` with each reply.

        Raises:
            PermanentError: The job cannot be done.
            TransientError: engine_failed: the configured model cannot be loaded until the operator repairs it; a live
                stream is unknown and has to begin again, or its decoding makes no progress; or there are too many live
                streams.
        """
        match job:
            case LoadVad():
                from faster_whisper.vad import get_vad_model

                get_vad_model()  # it stays in memory
                emit(VadLoaded())
            case FindWindows() | RedactAudio():
                self._read(job, emit)
            case ProcessLiveAudio() | CloseLiveStream():
                emit(self._streams.run(job))
            case Load():
                model = self._model(job.options.model)
                model.check(job.options)
                check_models(job.options.redact)
                emit(Loaded(model=model.identity, fingerprint=model.fingerprint))
            case Transcribe():
                from app.engines.recognition import transcribe

                emit(transcribe(self._model(job.options.model), job))
            case Diarize():
                emit(self._diarize(job, emit))
            case FindPersons():
                emit(PersonsFound(found=self._persons.find(job.text, job.language)))

    def _read(self, job: FindWindows | RedactAudio, emit: Emit) -> None:
        from app.engines.audio.redacted_audio import redact_audio
        from app.engines.audio.window_search import find_windows

        limit = self._audio_limit()
        for reply in find_windows(job, limit) if isinstance(job, FindWindows) else redact_audio(job, limit):
            emit(reply)

    def _model(self, name: str | None) -> SpeechModel:
        if name not in self._models:
            try:
                self._models[name] = self._loaded(name)
            except PermanentError as error:
                raise (_transient(error) if name is None else error) from error
        return self._models[name]

    def _loaded(self, name: str | None) -> SpeechModel:
        setup = self._setup
        weights = ModelCatalog(setup).find(name)
        self._models.clear()  # first free the old model: two large models may not fit into memory
        threads, at_once = setup.engine_threads, windows_at_once(setup.engine_parallel, setup.engine_threads)
        return weights.load(
            ComputeOptions(setup.engine_device, setup.engine_compute_type, threads, at_once, setup.engine_beam)
        )

    @cached_property
    def _streams(self) -> LiveStreams:
        from app.engines.audio.live_streams import LiveStreams

        return LiveStreams(self._audio_limit(), speakers=self._live_speakers)

    @cached_property
    def _persons(self) -> PersonFinder:
        from app.engines.text.redaction.persons import PersonFinder

        return PersonFinder()

    def _live_speakers(self, options: LiveSpeakerOptions, channels: int) -> Sequence[LiveSpeakers]:
        from app.engines.diarization.live_speakers import speakers_of_channels

        return speakers_of_channels(self._networks, options, channels)

    @cached_property
    def _networks(self) -> Networks:
        from app.engines.diarization.networks import Networks

        return Networks(self._setup.engine_threads)

    def _diarize(self, job: Diarize, emit: Emit) -> DiarizationDone:
        from app.engines.diarization.diarizer import diarize

        limit = self._limit(self._setup.diarization_max_seconds, "DIARIZATION_MAX_SECONDS")
        return diarize(self._networks, job, limit, emit)

    def _audio_limit(self) -> Limit:
        return self._limit(self._setup.audio_max_seconds, "AUDIO_MAX_SECONDS")

    def _limit(self, seconds: float, setting: str) -> Limit:
        from app.engines.audio.limits import Limit

        return Limit(seconds, setting, self._setup.audio_max_decode_seconds)


def _transient(error: PermanentError) -> TransientError:
    """Convert an error of the configured model to a transient one, so that tasks are retried until it is repaired."""
    message = f"The service's own model cannot be loaded, and the operator has to repair it: {error.detail.message}"
    return TransientError(ErrorCode.ENGINE_FAILED, message)

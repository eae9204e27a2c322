"""Whisper models as this program uses them: the one place that faster-whisper's untyped objects pass through."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol, cast

import numpy as np
import numpy.typing as npt
from ctranslate2 import get_cuda_device_count
from faster_whisper import BatchedInferencePipeline, WhisperModel

from app.engines.mixing import SAMPLE_RATE
from app.engines.models import Weights
from app.engines.samples import Samples
from handlers.errors import PermanentError
from schemas.errors import ErrorCode
from schemas.wire import Model

Features = npt.NDArray[np.float32]

_STRIDE = 40  # seconds from window to window in a batch: so far apart that no window's word times depend on another
_BATCHED = 3  # dimensions of features: window, mel, frame
_UNBROKEN_LOOP = 3  # words; a sequence that long is not said again when a window is done anew


class SpokenWord(Protocol):
    """A word as the model heard it."""

    start: float
    end: float
    word: str
    probability: float


class SpokenWindow(Protocol):
    """A window's text as the model heard it."""

    start: float
    text: str
    words: Sequence[SpokenWord] | None
    avg_logprob: float
    no_speech_prob: float
    compression_ratio: float


class _Info(Protocol):
    language: str


class _Tokens(Protocol):
    def token_to_id(self, token: str, /) -> int | None: ...


class _Model(Protocol):
    hf_tokenizer: _Tokens
    supported_languages: list[str]

    def feature_extractor(self, samples: Samples, /) -> Features: ...

    def detect_language(self, *, features: Features) -> tuple[str, float, object]: ...


class _Pipeline(Protocol):
    def transcribe(self, audio: Samples, **options: object) -> tuple[Iterable[SpokenWindow], _Info]: ...


@dataclass(frozen=True, slots=True)
class Way:
    """How a model is to hear: on which device, how exactly, with how many threads and texts at once."""

    device: str = "cpu"
    compute_type: str | None = None
    threads: int = 1
    beam: int = 5


@dataclass(frozen=True)
class Whisper:
    """A loaded model; `how` it hears is part of what it finds."""

    identity: Model
    how: str
    beam: int
    model: _Model
    pipeline: _Pipeline

    def knows(self, language: str) -> bool:
        """Whether the model was trained on this language."""
        if self._english_only:
            return language == "en"
        return self.model.hf_tokenizer.token_to_id(f"<|{language}|>") is not None

    def transcribe(
        self, windows: Sequence[Samples], language: str | None, *, break_loops: bool = False
    ) -> tuple[list[SpokenWindow | None], str]:
        """What is said in each window (times from the window's start) and the language.

        The windows do not influence each other. `break_loops` is for a window in which the model repeated itself.
        """
        sound = np.zeros((len(windows) + 1) * _STRIDE * SAMPLE_RATE, np.float32)
        clips = []
        for place, samples in enumerate(windows, start=1):
            start = place * _STRIDE
            sound[start * SAMPLE_RATE : start * SAMPLE_RATE + len(samples)] = samples
            clips.append({"start": start, "end": start + len(samples) / SAMPLE_RATE})
        spoken, info = self.pipeline.transcribe(
            sound,
            language=language or self._language_of(windows[0]),
            beam_size=self.beam,
            batch_size=len(windows),
            clip_timestamps=clips,
            word_timestamps=True,
            no_repeat_ngram_size=_UNBROKEN_LOOP if break_loops else 0,
        )
        return _by_window(spoken, len(windows)), info.language

    @property
    def _english_only(self) -> bool:
        return self.model.supported_languages == ["en"]

    def _language_of(self, window: Samples) -> str:
        if self._english_only:
            return "en"
        features = self.model.feature_extractor(window)[..., :-1]  # as the pipeline has them: encoded once for both
        return self.model.detect_language(features=features)[0]


class _RememberingModel(WhisperModel):  # type: ignore[misc]  # the library brings no types
    """Encodes a window once, though its language is looked for before it is heard: a third of the time is encoding."""

    _features: Features | None = None
    _encoded: object = None

    def encode(self, features: Features) -> object:
        """What the decoder reads; remembered of a single window."""
        window = features if features.ndim == _BATCHED else features[np.newaxis]
        if self._features is not None and np.array_equal(self._features, window):
            return self._encoded
        encoded = super().encode(window)
        self._features, self._encoded = (window, encoded) if len(window) == 1 else (None, None)
        return encoded


def load(weights: Weights, way: Way) -> Whisper:
    """Load a model.

    Raises PermanentError (unknown_model) where its files are damaged or of another kind, or the device does not do.
    """
    device = way.device
    if device == "auto":
        device = "cuda" if get_cuda_device_count() else "cpu"
    compute_type = way.compute_type or ("float16" if device == "cuda" else "int8")
    try:
        model = _RememberingModel(
            str(weights.folder),
            device=device,
            compute_type=compute_type,
            cpu_threads=way.threads,
            local_files_only=True,
        )
    except (RuntimeError, ValueError, OSError) as error:
        message = (
            f"The model {weights.identity.name!r} cannot be loaded: its files are damaged or of another kind, "
            "or ENGINE_DEVICE and ENGINE_COMPUTE_TYPE do not suit this machine."
        )
        raise PermanentError(ErrorCode.UNKNOWN_MODEL, message) from error
    pipeline = cast("_Pipeline", BatchedInferencePipeline(model))
    how = f"{device} {compute_type} beam {way.beam}"
    return Whisper(weights.identity, how, way.beam, cast("_Model", model), pipeline)


def _by_window(spoken: Iterable[SpokenWindow], count: int) -> list[SpokenWindow | None]:
    heard: list[SpokenWindow | None] = [None] * count
    for window in spoken:
        place = int(window.start // _STRIDE)
        heard[place - 1] = _moved(window, -place * _STRIDE)
    return heard


def _moved(window: SpokenWindow, seconds: float) -> SpokenWindow:
    window.start += seconds
    for word in window.words or ():
        word.start = float(word.start) + seconds
        word.end = float(word.end) + seconds
    return window

"""Models that the library onnx-asr runs: NVIDIA Parakeet and Canary, GigaAM, T-one, Vosk."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from natscribe.schemas.errors import ErrorCode
from natscribe.schemas.transcription import TranscribeOptions
from natscribe.schemas.wire import Model
from onnx_asr import load_model
from onnx_asr.adapters import RecognizeOptions, TextResultsAsrAdapter, TimestampedResultsAsrAdapter
from onnx_asr.asr import TimestampedResult

from app.engines.audio.mixing import SAMPLE_RATE
from app.engines.audio.samples import Samples
from app.engines.audio.window_audio import WindowAudio
from app.engines.family import Computing
from app.engines.onnx.device import load_on
from app.engines.onnx.published import CANARY, Network
from app.engines.onnx.session import session_options
from app.engines.onnx.words import mean_logprob, words_of
from app.engines.parallel import Parallel
from app.engines.speech_model import ModelOutput, Text
from app.errors import PermanentError

_SHORTEST_S = 0.5  # shorter sound is padded with silence: the features need more than one frame


@dataclass(frozen=True)
class OnnxModel:
    """A loaded model of onnx-asr.

    `fingerprint`: its device, precision and search. `languages`: which languages it knows; empty: nobody can say.
    `batched`: whether it transcribes all sounds of a call as one batch.
    """

    identity: Model
    fingerprint: str
    architecture: str
    languages: tuple[str, ...]
    network: TimestampedResultsAsrAdapter
    parallel: Parallel
    batched: bool

    def check(self, options: TranscribeOptions) -> None:
        """Check that the model can follow the options.

        Raises:
            PermanentError: invalid_message: it cannot; the message names the option, and what the model can do.
        """
        cannot = None
        if options.language is not None and self.languages and options.language not in self.languages:
            cannot = f"does not know {options.language!r}: it knows {', '.join(self.languages)}"
        elif options.language is None and self._takes_language:
            cannot = "does not find the language by itself: name it in `language`"
        elif options.translate and not self._takes_language:
            cannot = "cannot translate: name a Whisper or a Canary model, or leave `translate` out"
        elif options.vocabulary or options.prompt:
            cannot = "takes no `vocabulary` and no `prompt`: name a Whisper model, or leave them out"
        if cannot is not None:
            raise PermanentError(ErrorCode.INVALID_MESSAGE, f"The model {self.identity.name!r} {cannot}.")

    def transcribe(
        self,
        sounds: Sequence[WindowAudio],
        options: TranscribeOptions,
        previous: Sequence[str | None],  # noqa: ARG002 -- this family gets the language from the task, or needs none
        *,
        interim: bool = False,  # noqa: ARG002 -- there is no quicker way
    ) -> list[ModelOutput]:
        """Transcribe sounds: on a GPU as one batch, on a CPU each on its own, so that none changes another's text."""
        asked: RecognizeOptions = {}
        if self._takes_language:
            asked = {"language": options.language, "target_language": "en" if options.translate else options.language}
        spoken = options.language or self._only_language
        results = self._recognized(sounds, asked)
        return [ModelOutput([_text(*each, spoken)], spoken) for each in zip(sounds, results, strict=True)]

    @property
    def _only_language(self) -> str | None:
        return self.languages[0] if len(self.languages) == 1 else None

    @property
    def _takes_language(self) -> bool:
        """Whether a task must name the language spoken, and may ask for a translation."""
        return self.architecture == CANARY

    def _recognized(self, sounds: Sequence[WindowAudio], asked: RecognizeOptions) -> list[TimestampedResult]:
        waves: list[str | Path | Samples] = [_long_enough(sound.samples) for sound in sounds]
        if self.batched:
            return self.network.recognize(waves, **asked)
        return list(self.parallel.map(lambda wave: self.network.recognize(wave, **asked), waves))


def _long_enough(samples: Samples) -> Samples:
    return np.pad(samples, (0, max(round(_SHORTEST_S * SAMPLE_RATE) - len(samples), 0)))


def _text(sound: WindowAudio, result: TimestampedResult, language: str | None) -> Text:
    """Build the text of a window's sound, even if it has no words.

    A sound without any text counts as one without speech, and these models cannot tell speech from music.
    """
    return Text(words_of(result, sound.seconds, sound.speech), language, mean_logprob(result))


def load(folder: Path, identity: Model, network: Network, computing: Computing) -> OnnxModel:
    """Load a model of onnx-asr from its folder.

    On a CPU `at_once` sounds are transcribed at the same time: each has a thread, and all share `threads` - 1 more.

    Raises:
        PermanentError: unknown_model: the files are damaged or of another kind, or the device cannot be used.
    """

    def read(providers: Sequence[str]) -> TextResultsAsrAdapter:
        options = session_options(computing.threads)
        return load_model(
            network.architecture, folder, quantization=network.precision, sess_options=options, providers=providers
        )

    try:
        model, on_gpu = load_on(computing.device, read)
    except MemoryError:
        raise
    except Exception as error:
        raise _not_loaded(identity.name) from error
    return OnnxModel(
        identity=identity,
        fingerprint=f"{'cuda' if on_gpu else 'cpu'} {network.precision or 'float32'} greedy",
        architecture=network.architecture,
        languages=network.languages,
        network=model.with_timestamps(),
        parallel=Parallel(1 if on_gpu else computing.at_once),
        batched=on_gpu,
    )


def _not_loaded(name: str) -> PermanentError:
    message = (
        f"The model {name!r} cannot be loaded: its files are damaged or of another kind, or ENGINE_DEVICE does not suit"
        " this machine (a GPU needs onnxruntime-gpu: docs/models.md)."
    )
    return PermanentError(ErrorCode.UNKNOWN_MODEL, message)

"""Speech models that onnx-asr runs: NVIDIA Parakeet and Canary, GigaAM, T-one, Vosk."""

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
from app.engines.family import ComputeOptions, unknown_model
from app.engines.onnx.device import load_on
from app.engines.onnx.published import CANARY, ModelFiles
from app.engines.onnx.session import session_options
from app.engines.onnx.words import mean_logprob, words_of
from app.engines.parallel import Parallel
from app.engines.speech_model import ModelOutput, Text
from app.runtime.errors import PermanentError

_MIN_S = 0.5  # shorter audio is padded with silence: the features need more than one frame


@dataclass
class OnnxModel:
    """A loaded model of onnx-asr; implements `SpeechModel`.

    `identity`: its name and revision. `fingerprint`: the device, the precision and the search, such as "cpu int8
    greedy". `architecture`: a key of `published.NEEDED`. `languages`: the codes of the languages that it can
    transcribe; empty: many or unknown. `adapter`: the model as onnx-asr loads it. `parallel`: the threads that
    transcribe windows. `batched`: whether all windows of a call are transcribed as one batch.
    """

    identity: Model
    fingerprint: str
    architecture: str
    languages: tuple[str, ...]
    adapter: TimestampedResultsAsrAdapter
    parallel: Parallel
    batched: bool

    def check(self, options: TranscribeOptions) -> None:
        """Check that the model supports the options.

        Raises:
            PermanentError: invalid_message: the model does not support an option; the message names the option, and
                says what to do.
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
        batch: Sequence[WindowAudio],
        options: TranscribeOptions,
        previous: Sequence[str | None],  # noqa: ARG002 -- this family takes the language from the task, or needs none
        *,
        interim: bool = False,  # noqa: ARG002 -- greedy decoding has no quicker mode
    ) -> list[ModelOutput]:
        """Transcribe windows: on a GPU as one batch; on a CPU one by one, so that none changes the text of another.

        `previous` and `interim` are ignored; Whisper models use them.
        """
        recognize_options: RecognizeOptions = {}
        if self._takes_language:
            target = "en" if options.translate else options.language
            recognize_options = {"language": options.language, "target_language": target}
        language = options.language or (self.languages[0] if len(self.languages) == 1 else None)
        results = self._recognize(batch, recognize_options)
        # Even without words there is a text: a window without any text counts as one without speech, and these models
        # cannot tell speech from music.
        texts = [
            Text(words_of(result, audio.seconds, audio.speech), language, mean_logprob(result))
            for audio, result in zip(batch, results, strict=True)
        ]
        return [ModelOutput([text], language) for text in texts]

    @property
    def _takes_language(self) -> bool:
        """Whether the model needs the language as input.

        If so, each task must name it, and may request a translation.
        """
        return self.architecture == CANARY

    def _recognize(self, batch: Sequence[WindowAudio], options: RecognizeOptions) -> list[TimestampedResult]:
        shortest = round(_MIN_S * SAMPLE_RATE)
        waves: list[str | Path | Samples] = [
            np.pad(audio.samples, (0, max(shortest - len(audio.samples), 0))) for audio in batch
        ]
        if self.batched:
            return self.adapter.recognize(waves, **options)
        return list(self.parallel.map(lambda wave: self.adapter.recognize(wave, **options), waves))


def load(folder: Path, identity: Model, files: ModelFiles, options: ComputeOptions) -> OnnxModel:
    """Load a model of onnx-asr from its folder.

    On a CPU, `options.at_once` windows are transcribed at the same time. Each has a thread of its own; in addition, all
    of them share a pool of `options.threads` - 1 threads.

    Raises:
        PermanentError: unknown_model: the files are damaged or of another kind, or the device cannot be used.
    """

    def read(providers: Sequence[str]) -> TextResultsAsrAdapter:
        session = session_options(options.threads)
        return load_model(
            files.architecture, folder, quantization=files.precision, sess_options=session, providers=providers
        )

    try:
        model, on_gpu = load_on(options.device, read)
    except MemoryError:
        raise
    except Exception as error:
        message = (
            f"The model {identity.name!r} cannot be loaded: its files are damaged or of another kind, or ENGINE_DEVICE"
            " does not suit this machine (a GPU needs onnxruntime-gpu: docs/models.md)."
        )
        raise unknown_model(message) from error
    return OnnxModel(
        identity=identity,
        fingerprint=f"{'cuda' if on_gpu else 'cpu'} {files.precision or 'float32'} greedy",
        architecture=files.architecture,
        languages=files.languages,
        adapter=model.with_timestamps(),
        parallel=Parallel(1 if on_gpu else options.at_once),
        batched=on_gpu,
    )

"""The interface of a speech model of any family: its input and its output."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from natscribe.schemas.transcription import TranscribeOptions, Word
from natscribe.schemas.wire import Model

from app.engines.audio.window_audio import WindowAudio
from app.engines.parallel import Parallel


@dataclass(frozen=True, slots=True)
class Text:
    """The text of a `WindowAudio`, or of a part of it that is in one language.

    Word timestamps are in seconds from the start of the `WindowAudio`; a word starts with its own space. A text without
    words means that the model detected speech but recognized no words. Values that the model does not provide are None.
    """

    words: Sequence[Word]
    language: str | None = None
    avg_logprob: float | None = None
    no_speech_prob: float | None = None


@dataclass(frozen=True, slots=True)
class ModelOutput:
    """What a model recognizes in one `WindowAudio`: its texts in order; no text at all if there is no speech.

    `language`: the language spoken at the end of the audio, None if the model does not know it. `settled`: whether the
    output would be the same whatever language was spoken before the audio.
    """

    texts: list[Text] = field(default_factory=list)
    language: str | None = None
    settled: bool = True


class SpeechModel(Protocol):
    """A loaded speech-to-text model.

    Its output for a window depends only on the window, the options, the language before the window, and whether this is
    an interim pass, i.e. a quick one for a partial result. It does not depend on the other windows of the batch.
    """

    identity: Model  # the name of the model, and its revision: the start of the hash of its weights
    fingerprint: str  # the device, precision and search: with equal weights, equal fingerprints count as equal texts
    parallel: Parallel  # the threads of the model: one per window transcribed at the same time; on a GPU only one

    def check(self, options: TranscribeOptions) -> None:
        """Check that the model supports the options.

        Raises:
            PermanentError: invalid_message: the model does not support an option, which the message names.
        """

    def transcribe(
        self,
        batch: Sequence[WindowAudio],
        options: TranscribeOptions,
        previous: Sequence[str | None],
        *,
        interim: bool = False,
    ) -> list[ModelOutput]:
        """Transcribe a batch of windows, and return the output for each window, in order.

        `previous`: the language spoken before each window, None if unknown. `interim`: transcribe as quickly as the
        model can, because a better text of the same speech will follow.
        """

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
    """A text in one language: that of a whole `WindowAudio`, or of a part of it.

    Word timestamps are seconds from the start of the whole audio; a word starts with its own space. A text without
    words means that the model detected speech and recognized no words. Values that the model does not provide are null.
    """

    words: Sequence[Word]
    language: str | None = None
    avg_logprob: float | None = None
    no_speech_prob: float | None = None


@dataclass(frozen=True, slots=True)
class ModelOutput:
    """What a model recognizes in one `WindowAudio`: its texts in order; no text at all if it has no speech.

    `language`: the language spoken at the end of the audio, null if the model does not know. `settled`: the output
    would be the same after any other previous language.
    """

    texts: list[Text] = field(default_factory=list)
    language: str | None = None
    settled: bool = True


class SpeechModel(Protocol):
    """A loaded speech-to-text model.

    Its output for a window depends on the window, the options, the language before the window, and whether the pass is
    interim; it does not depend on the other windows of the batch.
    """

    identity: Model  # the name of the model, and its revision: the start of the hash of its weights
    fingerprint: str  # the device, precision and search: with equal weights, equal fingerprints count as equal texts
    parallel: Parallel  # the threads of the model: one per window transcribed at the same time; on a GPU only one

    def check(self, options: TranscribeOptions) -> None:
        """Check that the model can follow the options.

        Raises:
            PermanentError: invalid_message: it cannot; the message names the option.
        """

    def transcribe(
        self,
        batch: Sequence[WindowAudio],
        options: TranscribeOptions,
        previous: Sequence[str | None],
        *,
        interim: bool = False,
    ) -> list[ModelOutput]:
        """Transcribe a batch, and return the output for each window, in order.

        `previous`: the language spoken before each window, null if unknown. `interim`: as quickly as the model can,
        because a better text follows.
        """

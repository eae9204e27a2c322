"""The interface of a speech model of any family: what it gets, and what it returns."""

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

    Times of words are seconds from the start of the whole sound; a word begins with its own space. A text without words
    means that the model has heard speech and found no words for it. A value is null if the model does not give it.
    """

    words: Sequence[Word]
    language: str | None = None
    avg_logprob: float | None = None
    no_speech_prob: float | None = None


@dataclass(frozen=True, slots=True)
class ModelOutput:
    """What a model finds in one `WindowAudio`: its texts in order; no text at all if it has no speech.

    `language`: the language spoken at the end of the sound, null if the model does not know. `settled`: the answer
    would be the same after any other language.
    """

    texts: list[Text] = field(default_factory=list)
    language: str | None = None
    settled: bool = True


class SpeechModel(Protocol):
    """A loaded model.

    Its answer for a sound depends on the sound, the options, the language before the sound, and whether a draft is
    wanted, and not on the other sounds that are transcribed with it.
    """

    @property
    def identity(self) -> Model:
        """The name of the model, and its revision: the start of the hash of its weights."""
        ...

    @property
    def fingerprint(self) -> str:
        """The device, precision and search: models that share these and the weights count as writing the same texts."""
        ...

    @property
    def parallel(self) -> Parallel:
        """The threads of the model: one for each sound that it transcribes at the same time; on a GPU only one."""
        ...

    def check(self, options: TranscribeOptions) -> None:
        """Check that the model can follow the options.

        Raises:
            PermanentError: invalid_message: it cannot; the message names the option.
        """
        ...

    def transcribe(
        self,
        sounds: Sequence[WindowAudio],
        options: TranscribeOptions,
        previous: Sequence[str | None],
        *,
        interim: bool = False,
    ) -> list[ModelOutput]:
        """Transcribe sounds, and return an answer for each, in their order.

        `previous`: the language spoken before each sound, null if unknown. `interim`: as quickly as the model can,
        because a better text follows.
        """
        ...

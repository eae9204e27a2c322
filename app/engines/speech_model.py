"""The interface of the speech models of all families: what a model gets, and what it returns."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from natscribe.schemas.transcription import TranscribeOptions, Word
from natscribe.schemas.wire import Model

from app.engines.audio.sound import Sound
from app.engines.parallel import Parallel


@dataclass(frozen=True, slots=True)
class Text:
    """The text of a sound, or of a part of it, in one language.

    Times of words are seconds from the sound's start; a word begins with its own space. A text without words means that
    the sound has speech for which the model found no words. A null value means that the model does not know.
    """

    words: Sequence[Word]
    language: str | None = None
    avg_logprob: float | None = None
    no_speech_prob: float | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """The texts of a sound, in order; a sound without speech has no texts.

    `language` is the one spoken at the end of the sound, null if the model does not know. `settled` is true if the
    answer does not depend on the language spoken before the sound.
    """

    texts: list[Text] = field(default_factory=list)
    language: str | None = None
    settled: bool = True


class SpeechModel(Protocol):
    """A loaded model. The texts of a sound depend only on the sound, the options and the language before the sound."""

    @property
    def identity(self) -> Model:
        """The name of the model and the hash of its weights."""
        ...

    @property
    def fingerprint(self) -> str:
        """The device, precision and search of the model: if these and the weights are the same, so are the texts."""
        ...

    @property
    def parallel(self) -> Parallel:
        """Works on as many sounds as the model transcribes at the same time; on a GPU one batch after the other."""
        ...

    def check(self, options: TranscribeOptions) -> None:
        """Refuse options that the model cannot follow.

        Raises:
            PermanentError: invalid_message.
        """
        ...

    def transcribe(
        self,
        sounds: Sequence[Sound],
        options: TranscribeOptions,
        previous: Sequence[str | None],
        *,
        draft: bool = False,
    ) -> list[Answer]:
        """Transcribe sounds; `previous` is the language spoken before each of them, null if unknown.

        `draft`: as quickly as the model can, because a better text follows.
        """
        ...

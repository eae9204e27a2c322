"""The seam between the service and the families of speech models: what a model is given, and what it answers."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from app.engines.clips import Clip
from schemas.transcription import TranscribeOptions, Word
from schemas.wire import Model


@dataclass(frozen=True, slots=True)
class Text:
    """The text of a clip, or of a part of it, in one language.

    The words' times are seconds from the clip's start; each word has its own leading blank. No words: there is speech,
    and the model finds nothing to write. Null: the model does not know.
    """

    words: Sequence[Word]
    language: str | None = None
    avg_logprob: float | None = None
    no_speech_prob: float | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """The texts of each clip, in order; none where there is no speech.

    `language` is spoken at the end of the last clip, null where the model does not know. `settled`: whether all would
    be the same whatever language was spoken before the first clip.
    """

    texts: list[list[Text]] = field(default_factory=list)
    language: str | None = None
    settled: bool = True


class SpeechModel(Protocol):
    """A loaded model of any family. What it finds in a clip depends on that clip and on the options alone."""

    @property
    def identity(self) -> Model:
        """The name of the model and the hash of its weights."""
        ...

    @property
    def how(self) -> str:
        """On which device and how exactly the model computes: two models that compute alike find the same."""
        ...

    def check(self, options: TranscribeOptions) -> None:
        """Refuse options that the model cannot follow.

        Raises:
            PermanentError: invalid_message, saying what the model can do.
        """
        ...

    def transcribe(self, clips: Sequence[Clip], options: TranscribeOptions, previous: str | None) -> Answer:
        """Transcribe clips that follow each other; `previous` is the language spoken before the first one."""
        ...

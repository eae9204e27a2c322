"""Transcription: a batch of windows to segments."""

from collections.abc import Sequence
from time import monotonic

from app.engines.messages import Transcribe, WindowSound, WindowsTranscribed
from app.engines.samples import unpack
from app.engines.sentences import segments
from app.engines.whisper import SpokenWindow, Whisper
from handlers.errors import PermanentError
from schemas.errors import ErrorCode
from schemas.transcription import Segment, Word

_NO_SPEECH = 0.6
_DOUBTFUL = -1.0
_REPETITIVE = 2.4  # how well a text can be compressed when the model is caught in a loop


def check_language(whisper: Whisper, language: str | None) -> None:
    """Refuse a language that the model does not know (PermanentError, invalid_message)."""
    if language is not None and not whisper.knows(language):
        message = f"The model {whisper.identity.name!r} does not know the language {language!r}: name another one."
        raise PermanentError(ErrorCode.INVALID_MESSAGE, message)


def transcribe(whisper: Whisper, job: Transcribe) -> WindowsTranscribed:
    """Transcribe a batch of windows (PermanentError, invalid_message: a language the model does not know)."""
    check_language(whisper, job.language)
    started = monotonic()
    spoken, language = whisper.transcribe([unpack(window.samples) for window in job.windows], job.language)
    found = [
        _segments(whisper, window, heard, language, words=job.words)
        for window, heard in zip(job.windows, spoken, strict=True)
    ]
    return WindowsTranscribed(language=language, found=found, seconds=monotonic() - started, model=whisper.identity)


def _segments(
    whisper: Whisper, window: WindowSound, heard: SpokenWindow | None, language: str, *, words: bool
) -> list[Segment]:
    if heard is not None and heard.compression_ratio > _REPETITIVE:
        (heard,), _ = whisper.transcribe([unpack(window.samples)], language, break_loops=True)
    if heard is None or _nothing_said(heard):
        return []
    found = segments(_words(window, heard), heard.avg_logprob, min(max(heard.no_speech_prob, 0.0), 1.0))
    return found if words else [segment.model_copy(update={"words": None}) for segment in found]


def _nothing_said(heard: SpokenWindow) -> bool:
    silent = heard.no_speech_prob > _NO_SPEECH and heard.avg_logprob < _DOUBTFUL
    return silent or not any(character.isalnum() for character in heard.text)


def _words(window: WindowSound, heard: SpokenWindow) -> Sequence[Word]:
    words = []
    earliest = window.start
    for word in heard.words or ():
        start = min(max(window.start + word.start, earliest), window.end)
        end = min(max(window.start + word.end, start), window.end)
        probability = min(max(float(word.probability), 0.0), 1.0)
        words.append(Word(start=start, end=end, word=word.word, probability=probability))
        earliest = start
    return words or [Word(start=window.start, end=window.end, word=heard.text, probability=0.0)]

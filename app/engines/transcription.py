"""Transcription: windows of a recording to text, batch by batch."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from time import monotonic

from app.engines.decoding import Limit, decode, measure
from app.engines.messages import StageAdvanced, Transcribe, Transcribed, TranscriptionDone
from app.engines.sentences import segments
from app.engines.whisper import SpokenWindow, Whisper
from app.engines.windows import Window, listen
from handlers.errors import PermanentError
from schemas.errors import ErrorCode
from schemas.progress import Stage
from schemas.transcription import Segment, Word

_BATCH_SECONDS = 10.0
_LARGEST_BATCH = 4  # windows; more at once gain nothing
_NO_SPEECH = 0.6
_DOUBTFUL = -1.0
_REPETITIVE = 2.4  # how well a text can be compressed when the model is caught in a loop


def transcribe(
    whisper: Whisper, job: Transcribe, limit: Limit
) -> Iterator[StageAdvanced | Transcribed | TranscriptionDone]:
    """Transcribe a recording from `job.start_at` on.

    Raises PermanentError: invalid_message (a language the model does not know), audio_unreadable, audio_too_large.
    """
    if job.language is not None and not whisper.knows(job.language):
        message = f"The model {whisper.identity.name!r} does not know the language {job.language!r}: name another one."
        raise PermanentError(ErrorCode.INVALID_MESSAGE, message)
    duration = measure(job.path)
    limit.check(duration)
    yield StageAdvanced(stage=Stage.DECODING, processed_seconds=job.start_at, duration_seconds=duration)
    run = _Run(whisper, job.words, duration, job.language)
    waiting: list[Window] = []
    told, begun = job.start_at, False
    for heard in listen(decode(job.path, limit), job.start_at):
        run.notice(heard.seconds)
        waiting += heard.windows
        while len(waiting) >= run.batch or (waiting and (heard.last or not heard.windows)):
            batch, waiting = waiting[: run.batch], waiting[run.batch :]
            if not begun:
                begun = True
                yield StageAdvanced(
                    stage=Stage.TRANSCRIBING, processed_seconds=job.start_at, duration_seconds=run.duration
                )
            yield run.transcribed(batch)
        if not heard.windows and heard.settled > told:
            told, begun = heard.settled, True
            yield StageAdvanced(stage=Stage.TRANSCRIBING, processed_seconds=told, duration_seconds=run.duration)
    yield TranscriptionDone(language=run.language, duration_seconds=heard.seconds, model=whisper.identity)


@dataclass
class _Run:
    whisper: Whisper
    words: bool
    duration: float
    language: str | None
    batch: int = field(default=1, init=False)

    def notice(self, seconds: float) -> None:
        """The recording is at least that long, whatever its packets said."""
        self.duration = max(self.duration, seconds)

    def transcribed(self, windows: Sequence[Window]) -> Transcribed:
        started = monotonic()
        spoken, language = self.whisper.hear([window.samples for window in windows], self.language)
        found = [
            segment
            for window, heard in zip(windows, spoken, strict=True)
            for segment in self._segments(window, heard, language)
        ]
        if found:  # until something is said, the language stays open and batches small
            self.language = language
            seconds = max((monotonic() - started) / len(windows), 1e-3)
            self.batch = min(max(int(_BATCH_SECONDS / seconds), 1), _LARGEST_BATCH)
        return Transcribed(
            language=self.language,
            processed_seconds=windows[-1].end,
            duration_seconds=self.duration,
            segments=found,
        )

    def _segments(self, window: Window, heard: SpokenWindow | None, language: str) -> list[Segment]:
        if heard is not None and heard.compression_ratio > _REPETITIVE:
            (heard,), _ = self.whisper.hear([window.samples], language, break_loops=True)
        if heard is None or _nothing_said(heard):
            return []
        words = _words(window, heard)
        found = segments(words, heard.avg_logprob, min(max(heard.no_speech_prob, 0.0), 1.0))
        return found if self.words else [segment.model_copy(update={"words": None}) for segment in found]


def _nothing_said(heard: SpokenWindow) -> bool:
    silent = heard.no_speech_prob > _NO_SPEECH and heard.avg_logprob < _DOUBTFUL
    return silent or not any(character.isalnum() for character in heard.text)


def _words(window: Window, heard: SpokenWindow) -> list[Word]:
    words = []
    earliest = window.start
    for word in heard.words or ():
        start = min(max(window.start + word.start, earliest), window.end)
        end = min(max(window.start + word.end, start), window.end)
        probability = min(max(float(word.probability), 0.0), 1.0)
        words.append(Word(start=start, end=end, word=word.word, probability=probability))
        earliest = start
    return words or [Word(start=window.start, end=window.end, word=heard.text, probability=0.0)]

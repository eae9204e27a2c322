"""Join the tokens that a model of onnx-asr returns into words with timestamps and probabilities."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from math import exp
from statistics import fmean

from natscribe.schemas.transcription import Word
from onnx_asr.asr import TimestampedResult

from app.engines.audio.timeline import Times

_Token = tuple[str, float, float]  # letters, start, probability

_LETTER_S = 0.07  # time to speak a letter: models return only the start of a token, also of a word's last token


@dataclass(slots=True)
class _WordBuilder:
    """Builds a word from its tokens.

    `start`, `last_start`: the start of its first and of its last token, in seconds. `last_letters`: the number of
    letters of its last token, from which the end of the word is estimated.
    """

    text: str = ""
    start: float = 0.0
    last_start: float = 0.0
    last_letters: int = 0
    probabilities: list[float] = field(default_factory=list)

    def add(self, letters: str, start: float, probability: float) -> None:
        if not self.text:
            self.start = start
        self.text += letters
        self.last_start, self.last_letters = start, len(letters)
        self.probabilities.append(probability)

    @property
    def has_letters(self) -> bool:
        return any(character.isalnum() for character in self.text)

    def build(self, start: float, end: float) -> Word:
        return Word(start=start, end=end, word=f" {self.text}", probability=fmean(self.probabilities))


def words_of(result: TimestampedResult, seconds: float, speech: Sequence[Times]) -> list[Word]:
    """Join the tokens that a model returned for audio of `seconds` seconds into words.

    As models return only the start of a token, a word is assumed to end 0.07 s per letter after the start of its last
    token, or at the start of the next word if that is earlier. If the model returns no timestamps (Canary), words are
    spread over the regions in `speech` in proportion to their letters.
    """
    words = list(_joined(_tokens(result)))
    if result.timestamps is None:
        return _spread(words, list(speech) or [(0.0, seconds)])
    ends = [*(word.start for word in words[1:]), seconds]
    return [_timed(word, min(end, seconds)) for word, end in zip(words, ends, strict=False)]


def mean_logprob(result: TimestampedResult) -> float | None:
    """Return the mean log probability of the tokens; None if the model returns no log probabilities."""
    return fmean(result.logprobs) if result.logprobs else None


def _tokens(result: TimestampedResult) -> Iterator[_Token]:
    tokens = result.tokens or []
    starts = result.timestamps or [0.0] * len(tokens)
    logprobs = result.logprobs or []
    if len(logprobs) != len(tokens):  # Canary also returns probabilities of tokens that its text omits
        logprobs = [fmean(logprobs) if logprobs else 0.0] * len(tokens)
    for letters, start, logprob in zip(tokens, starts, logprobs, strict=True):
        if not (letters.startswith("<") and letters.endswith(">")):  # such as <unk>
            yield letters, start, min(exp(logprob), 1.0)


def _joined(tokens: Iterator[_Token]) -> Iterator[_WordBuilder]:
    """Join tokens into words, split at spaces; append a word without letters, such as a dash, to the word before."""
    finished: _WordBuilder | None = None
    for word in _split(tokens):
        if word.has_letters or finished is None:
            if finished is not None:
                yield finished
            finished = word
        else:
            finished.text += word.text
    if finished is not None and finished.has_letters:
        yield finished


def _split(tokens: Iterator[_Token]) -> Iterator[_WordBuilder]:
    word = _WordBuilder()
    for text, start, probability in tokens:
        for index, letters in enumerate(text.split(" ")):
            if index and word.text:
                yield word
                word = _WordBuilder()
            if letters:
                word.add(letters, start, probability)
    if word.text:
        yield word


def _timed(word: _WordBuilder, latest: float) -> Word:
    end = min(word.last_start + word.last_letters * _LETTER_S, latest)
    start = min(word.start, latest)
    return word.build(start, max(end, start))


def _spread(words: Sequence[_WordBuilder], speech: Sequence[Times]) -> list[Word]:
    letter_s = sum(end - start for start, end in speech) / max(1, sum(len(word.text) for word in words))
    spread, spoken = [], 0.0
    for word in words:
        start, end = _in_audio(speech, spoken, spoken + len(word.text) * letter_s)
        spread.append(word.build(start, end))
        spoken += len(word.text) * letter_s
    return spread


def _in_audio(speech: Sequence[Times], since: float, until: float) -> Times:
    """Map an interval of the speech alone, without the pauses, to times in the whole audio; all times are in seconds.

    `since`, `until`: the interval, in the time of the joined regions. `speech`: the start and end of each region in the
    audio. If the interval extends over several regions, only the longest of its parts is returned.
    """
    sides, before = [], 0.0
    for start, end in speech:
        first, last = max(since - before, 0.0), min(until - before, end - start)
        sides.append((last - first, start + first, start + last))
        before += end - start
    _, start, end = max(sides)
    return start, end

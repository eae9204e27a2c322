"""Find gaps in a window's sound: speech for which a model wrote no words."""

from collections.abc import Iterable, Sequence

from natscribe.schemas.transcription import Word

from app.engines.audio.timeline import WORD_TOLERANCE_S, Times

LEAST_S = 1.0  # the least speech in a gap
_BETWEEN_S = 1.6  # shortest gap between two words: people pause, and the times of words are not exact
_LONGEST_WORD_S = 1.5  # a longer word is cut to this length: the rest may be speech that was not transcribed
_DIGIT_S = 0.6  # time that one digit may take: a number is one word, but may be spoken digit by digit
_EDGE_S = 0.2  # silence at both ends of a region, which does not count as speech


def gaps(words: Iterable[Times], speech: Sequence[Times], seconds: float) -> list[Times]:
    """Find the gaps in a sound of `seconds` seconds: times without words that have at least a second of speech.

    `words`: when words are spoken; `speech`: when regions start and end. Between two words people pause, so a gap there
    is at least 1.6 s long. All times are seconds from the start of the sound.
    """
    found = []
    before = 0.0
    for start, end in [*sorted(words), (seconds, seconds)]:
        inner = before > 0 and start < seconds
        if start - before >= (_BETWEEN_S if inner else LEAST_S) and spoken(speech, before, start) >= LEAST_S:
            found.append((before, start))
        before = max(before, end)
    return found


def word_times(words: Iterable[Word], speech: Sequence[Times], since: float = 0.0) -> list[Times]:
    """Return when each word is spoken, in seconds after `since`, as the times of `speech` are.

    A word that reaches over a pause counts as spoken after the pause, as `Timeline.word` places it. A word that lasts
    longer than anybody speaks is cut: the rest may be speech that was not transcribed.
    """
    return [_spoken_at(word, word.start - since, word.end - since, speech) for word in words]


def _spoken_at(word: Word, start: float, end: float, speech: Sequence[Times]) -> Times:
    begins = max((first for first, _ in speech if first < end - WORD_TOLERANCE_S), default=start)
    start = max(start, begins)
    return start, min(end, start + longest_spoken(word))


def longest_spoken(word: Word) -> float:
    """Return how many seconds a word can last at most; a number may be spoken digit by digit."""
    return max(_LONGEST_WORD_S, digits(word) * _DIGIT_S)


def digits(word: Word) -> int:
    """Count the digits of a word."""
    return sum(character.isdigit() for character in word.word)


def spoken(speech: Iterable[Times], since: float, until: float) -> float:
    """Count the seconds of speech between `since` and `until`, without the 0.2 s of silence at each end of a region."""
    return sum(max(0.0, min(end - _EDGE_S, until) - max(start + _EDGE_S, since)) for start, end in speech)

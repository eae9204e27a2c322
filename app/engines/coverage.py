"""Coverage: where there is speech and no word was found."""

from collections.abc import Iterable, Sequence

from app.engines.timeline import Piece
from schemas.transcription import Word

LEAST_S = 1.0  # of speech without words, behind the last word or before the first one
_BETWEEN_S = 1.6  # between two words: people pause, and words are found a little early or late
_LONGEST_WORD_S = 1.5  # a word that seems to last longer hides what came after it
_DIGIT_S = 0.6  # a number is one word and may be spoken digit by digit
_EDGE_S = 0.2  # of each piece of speech is silence, at least: pieces may meet in a pause


def holes(words: Iterable[Piece], speech: Sequence[Piece], seconds: float) -> list[Piece]:
    """Find the sections of a clip in which speech has no words; all times are seconds from the clip's start."""
    found = []
    before = 0.0
    for start, end in [*sorted(words), (seconds, seconds)]:
        inner = before > 0 and start < seconds
        if start - before >= (_BETWEEN_S if inner else LEAST_S) and spoken(speech, before, start) >= LEAST_S:
            found.append((before, start))
        before = max(before, end)
    return found


def word_times(words: Iterable[Word], since: float = 0.0) -> list[Piece]:
    """When each word is spoken, in seconds after `since`; no word lasts longer than speaking it can take."""
    longest = [(word, max(_LONGEST_WORD_S, digits(word) * _DIGIT_S)) for word in words]
    return [(word.start - since, min(word.end, word.start + seconds) - since) for word, seconds in longest]


def digits(word: Word) -> int:
    """How many digits a word has."""
    return sum(character.isdigit() for character in word.word)


def spoken(speech: Iterable[Piece], since: float, until: float) -> float:
    """Count the seconds of speech within a section."""
    return sum(max(0.0, min(end - _EDGE_S, until) - max(start + _EDGE_S, since)) for start, end in speech)

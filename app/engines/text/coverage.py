"""Find the gaps in the text of a window: speech for which a model recognized no words."""

from collections.abc import Iterable, Sequence

from natscribe.schemas.transcription import Word

from app.engines.audio.timeline import WORD_TOLERANCE_S, Times

MIN_GAP_S = 1.0  # the least speech in a gap
_MIN_INNER_GAP_S = 1.6  # shortest gap between two words: people pause, and word timestamps are inexact
_MAX_WORD_S = 1.5  # a longer word is cut to this length: the rest may be untranscribed speech
_DIGIT_S = 0.6  # time that one digit may take: a number is one word, but may be spoken digit by digit
_EDGE_S = 0.2  # silence at both ends of a region, which does not count as speech


def find_gaps(words: Iterable[Times], speech: Sequence[Times], seconds: float) -> list[Times]:
    """Find the gaps in audio of `seconds` seconds: intervals without words that contain at least 1 s of speech.

    `words`: the interval of each word. `speech`: the interval of each region. A gap between two words is at least 1.6 s
    long, because people pause between words. All times are in seconds from the start of the audio.
    """
    gaps = []
    before = 0.0
    for start, end in [*sorted(words), (seconds, seconds)]:
        is_inner = before > 0 and start < seconds
        long_enough = start - before >= (_MIN_INNER_GAP_S if is_inner else MIN_GAP_S)
        if long_enough and speech_seconds(speech, before, start) >= MIN_GAP_S:
            gaps.append((before, start))
        before = max(before, end)
    return gaps


def word_times(words: Iterable[Word], speech: Sequence[Times], since: float = 0.0) -> list[Times]:
    """Return the interval in which each word was probably spoken, in seconds from the time `since`.

    `speech`: the regions, whose times are also relative to `since`. A word that extends over a pause was probably
    spoken after the pause, as in `Timeline.word`. A word that lasts longer than a person takes to say it is shortened:
    the rest may be untranscribed speech.
    """
    times = []
    for word in words:
        start, end = word.start - since, word.end - since
        start = max([start, *(region_start for region_start, _ in speech if region_start < end - WORD_TOLERANCE_S)])
        times.append((start, min(end, start + max_word_seconds(word))))
    return times


def max_word_seconds(word: Word) -> float:
    """Return the longest plausible duration of a word in seconds; a number may be spoken digit by digit."""
    return max(_MAX_WORD_S, digits(word) * _DIGIT_S)


def digits(word: Word) -> int:
    """Count the digits of a word."""
    return sum(character.isdigit() for character in word.word)


def speech_seconds(speech: Iterable[Times], since: float, until: float) -> float:
    """Return how many seconds of speech lie between `since` and `until`.

    `speech`: the interval of each region. The first and the last 0.2 s of a region are not counted, because they are
    silence.
    """
    return sum(max(0.0, min(end - _EDGE_S, until) - max(start + _EDGE_S, since)) for start, end in speech)

"""Detect hallucination loops, in which a model writes words again and again that were spoken once."""

from collections.abc import Sequence

from natscribe.schemas.transcription import Word

_MAX_PHRASE_WORDS = 60  # the longest phrase that is checked for repetition
_MIN_OCCURRENCES = 4  # a phrase this many times in a row is a loop: a speaker may say a short phrase three times
_MIN_REPEATED_WORDS = 16  # this many repeated words in a row are a loop: no speaker repeats so many
_MAX_CHARACTERS_PER_S = 30  # no speaker is faster
_MIN_REPEATED_END_WORDS = 3  # people quickly repeat one word or two


def is_loop(words: Sequence[str], seconds: float) -> bool:
    """Return whether the words that a model wrote for `seconds` seconds of audio look like a hallucination loop.

    They do if a phrase occurs four times in a row, if a phrase is followed by 16 words or more that repeat it at least
    once, or if nobody speaks that fast. The compression ratio, which Whisper uses, cannot distinguish a loop from
    ordinary Russian.
    """
    if too_fast(words, seconds):
        return True
    plain = [_plain(word) for word in words]
    return any(_repeats(plain, length) for length in range(1, _MAX_PHRASE_WORDS + 1))


def too_fast(words: Sequence[str], seconds: float) -> bool:
    """Return whether the words have more characters than a person can speak in `seconds` seconds."""
    return sum(map(len, words)) > _MAX_CHARACTERS_PER_S * seconds


def without_repeated_end(words: Sequence[Word]) -> list[Word]:
    """Remove a phrase of three words or more at the end if it repeats the words before it, too fast for a person.

    Such a phrase was spoken only once.
    """
    plain = [_plain(word.word) for word in words]
    for length in range(_MIN_REPEATED_END_WORDS, len(words) // 2 + 1):
        end = words[-length:]
        seconds = end[-1].end - end[0].start
        if plain[-length:] == plain[-2 * length : -length] and too_fast([word.word for word in end], seconds):
            return list(words[:-length])
    return list(words)


def _repeats(plain: Sequence[str], length: int) -> bool:
    """Return whether a phrase of `length` words occurs so often in a row that it is a loop.

    `plain`: the words in lower case, without punctuation.
    """
    enough = min(length * (_MIN_OCCURRENCES - 1), max(length, _MIN_REPEATED_WORDS))
    repeated = 0
    for before, word in zip(plain, plain[length:], strict=False):
        repeated = repeated + 1 if before == word else 0
        if repeated >= enough:
            return True
    return False


def _plain(word: str) -> str:
    return "".join(character for character in word.lower() if character.isalnum())

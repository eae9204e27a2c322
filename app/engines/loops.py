"""Loops: a model that writes the same words again and again, though they were spoken once."""

from collections.abc import Sequence

_LONGEST_PHRASE = 60  # words
_TIMES = 4  # in a row: a speaker may repeat a short phrase three times
_MANY = 16  # words that all repeat: speakers do not repeat so many
_FASTEST = 30  # characters a second: no speaker is faster


def loops(words: Sequence[str], seconds: float) -> bool:
    """Whether words that fill so many seconds seem to be written in a loop.

    A phrase follows itself three times or more, or for 16 words or more, or there is more text than can be spoken in
    that time. Words are compared, because ordinary Russian compresses as well as a loop does.
    """
    if too_fast(words, seconds):
        return True
    plain = [_plain(word) for word in words]
    return any(_repeats(plain, length) for length in range(1, min(_LONGEST_PHRASE, len(plain) - 1) + 1))


def too_fast(words: Sequence[str], seconds: float) -> bool:
    """Whether there is more text than can be spoken in so many seconds."""
    return sum(map(len, words)) > _FASTEST * seconds


def _repeats(plain: Sequence[str], length: int) -> bool:
    """Whether enough words in a row are the ones `length` words before them."""
    enough = min(length * (_TIMES - 1), max(length, _MANY))
    row = 0
    for before, word in zip(plain, plain[length:], strict=False):
        row = row + 1 if before == word else 0
        if row >= enough:
            return True
    return False


def _plain(word: str) -> str:
    return "".join(character for character in word.lower() if character.isalnum())

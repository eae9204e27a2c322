"""Loops: a model that says the same words again and again, though they are said once."""

from collections.abc import Sequence

_LONGEST_PHRASE = 12  # words
_TIMES = 4  # in a row: a phrase said three times may be meant


def loops(words: Sequence[str]) -> bool:
    """Whether a phrase of up to 12 words follows itself at least three times.

    The words are compared, and not how well the text compresses: ordinary Russian compresses as well as a loop does.
    """
    said = [_plain(word) for word in words]
    return any(_repeats(said, length) for length in range(1, _LONGEST_PHRASE + 1))


def _repeats(said: Sequence[str], length: int) -> bool:
    wanted = length * (_TIMES - 1)  # words in a row that are the ones `length` words before them
    row = 0
    for before, word in zip(said, said[length:], strict=False):
        row = row + 1 if before == word else 0
        if row >= wanted:
            return True
    return False


def _plain(word: str) -> str:
    return "".join(character for character in word.lower() if character.isalnum())

"""Loops: a model that writes the same words again and again, though they are said once."""

from collections.abc import Sequence

_LONGEST_PHRASE = 60  # words
_TIMES = 4  # in a row: a short phrase said three times may be meant
_MANY = 16  # words that were all written just before: so many are told from what people say
_FASTEST = 30  # characters a second: nobody speaks like that


def loops(words: Sequence[str], seconds: float) -> bool:
    """Whether words said in so many seconds seem to be written in a loop.

    That is: a phrase follows itself three times or more, or for 16 words or more; or there is more text than anybody
    can say in that time. Words are compared, and not how well the text compresses: ordinary Russian compresses as well
    as a loop does.
    """
    if too_fast(words, seconds):
        return True
    said = [_plain(word) for word in words]
    return any(_repeats(said, length) for length in range(1, min(_LONGEST_PHRASE, len(said) - 1) + 1))


def too_fast(words: Sequence[str], seconds: float) -> bool:
    """Whether there is more text than anybody can say in so many seconds."""
    return sum(map(len, words)) > _FASTEST * seconds


def _repeats(said: Sequence[str], length: int) -> bool:
    """Whether enough words in a row are the ones `length` words before them."""
    enough = min(length * (_TIMES - 1), max(length, _MANY))
    row = 0
    for before, word in zip(said, said[length:], strict=False):
        row = row + 1 if before == word else 0
        if row >= enough:
            return True
    return False


def _plain(word: str) -> str:
    return "".join(character for character in word.lower() if character.isalnum())

"""Detect loops: a model writes the same words again and again, though they were spoken once."""

from collections.abc import Sequence

from natscribe.schemas.transcription import Word

_LONGEST_PHRASE = 60  # words in the longest phrase that is checked for repetition
_TIMES = 4  # a phrase this many times in a row is a loop: a speaker may say a short phrase three times
_MANY = 16  # this many repeated words in a row are a loop: no speaker repeats so many
_FASTEST = 30  # characters a second: no speaker is faster
_SHORTEST_ECHO = 3  # words: people say one or two again in a moment


def loops(words: Sequence[str], seconds: float) -> bool:
    """Whether the words that a model wrote for `seconds` of sound look like a loop.

    They do if a phrase is said four times in a row, if it is repeated for 16 words or more (a longer phrase: once in
    full), or if nobody speaks so fast. A compression ratio, as Whisper uses, cannot tell a loop from ordinary Russian.
    """
    if too_fast(words, seconds):
        return True
    plain = [_plain(word) for word in words]
    return any(_repeats(plain, length) for length in range(1, _LONGEST_PHRASE + 1))


def too_fast(words: Sequence[str], seconds: float) -> bool:
    """Whether the words have more characters than anybody can speak in `seconds`."""
    return sum(map(len, words)) > _FASTEST * seconds


def without_repeated_end(words: Sequence[Word]) -> list[Word]:
    """Return the words, but for the last ones if they repeat the words before them faster than anybody speaks.

    Then the model wrote a sentence twice that was said once. A repetition has three words or more.
    """
    plain = [_plain(word.word) for word in words]
    for length in range(_SHORTEST_ECHO, len(words) // 2 + 1):
        echo = words[-length:]
        seconds = echo[-1].end - echo[0].start
        if plain[-length:] == plain[-2 * length : -length] and too_fast([word.word for word in echo], seconds):
            return list(words[:-length])
    return list(words)


def _repeats(plain: Sequence[str], length: int) -> bool:
    """Whether a phrase of `length` words occurs so often in a row that it is a loop."""
    enough = min(length * (_TIMES - 1), max(length, _MANY))
    row = 0
    for before, word in zip(plain, plain[length:], strict=False):
        row = row + 1 if before == word else 0
        if row >= enough:
            return True
    return False


def _plain(word: str) -> str:
    return "".join(character for character in word.lower() if character.isalnum())

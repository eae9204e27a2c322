"""Which words of an utterance are stable: two looks in a row agree on them (LocalAgreement, Liu et al. 2020)."""

from collections.abc import Sequence
from itertools import takewhile


class Agreement:
    """The words of one utterance on which looks agree; a stable word is never taken back."""

    def __init__(self) -> None:
        self.stable: list[str] = []
        self._before: list[str] = []

    def look(self, words: Sequence[str]) -> list[str]:
        """Take the words of another look; return all words to show, which begin with the stable ones."""
        rest = list(words[len(self.stable) :])
        behind = self._before[len(self.stable) :]
        agreed = takewhile(lambda pair: _same(*pair), zip(rest, behind, strict=False))
        self.stable += [word for word, _ in agreed]
        self._before = [*self.stable, *words[len(self.stable) :]]
        return self._before


def _same(one: str, other: str) -> bool:
    return _bare(one) == _bare(other)


def _bare(word: str) -> str:
    """Return a word without marks and capitals, which change while the sentence goes on."""
    return "".join(character for character in word.casefold() if character.isalnum())

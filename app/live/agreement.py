"""Find the stable words of an utterance: two looks in a row agree on them (LocalAgreement, Liu et al. 2020)."""

from collections.abc import Sequence
from itertools import takewhile


class LocalAgreement:
    """The stable words of one utterance: all later looks keep them, whatever they find."""

    def __init__(self) -> None:
        self.stable: list[str] = []
        self._before: list[str] = []

    def update(self, words: Sequence[str]) -> list[str]:
        """Compare the words of a look with those of the look before; return the words to show, stable ones first."""
        rest = list(words[len(self.stable) :])
        rest_before = self._before[len(self.stable) :]
        agreed = takewhile(lambda pair: _same(*pair), zip(rest, rest_before, strict=False))
        self.stable += [word for word, _ in agreed]
        self._before = [*self.stable, *words[len(self.stable) :]]
        return self._before


def _same(one: str, other: str) -> bool:
    return _bare(one) == _bare(other)


def _bare(word: str) -> str:
    """Return a word without marks and capitals, which change while the sentence goes on."""
    return "".join(character for character in word.casefold() if character.isalnum())

"""Determines the stable words of an utterance by local agreement of two successive passes (Liu et al. 2020)."""

from collections.abc import Sequence
from itertools import takewhile


class LocalAgreement:
    """The stable words of one utterance: the words on which two successive interim passes agree.

    A stable word stays the same in all later passes.
    """

    def __init__(self) -> None:
        self.stable: list[str] = []
        self._before: list[str] = []

    def update(self, words: Sequence[str]) -> list[str]:
        """Compare the words of a pass with those of the pass before; return the words to show, stable ones first."""
        count = len(self.stable)
        pairs = zip(words[count:], self._before[count:], strict=False)
        self.stable += [word for word, _ in takewhile(lambda pair: _bare(pair[0]) == _bare(pair[1]), pairs)]
        self._before = [*self.stable, *words[len(self.stable) :]]
        return self._before


def _bare(word: str) -> str:
    """Return only the letters and digits of a word, in lower case.

    Marks and capitals may change while the sentence continues.
    """
    return "".join(character for character in word.casefold() if character.isalnum())

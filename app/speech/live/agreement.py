"""Determine the stable words of an utterance in progress by local agreement (Liu et al. 2020)."""

from collections.abc import Sequence
from itertools import takewhile


class LocalAgreement:
    """Determines the stable words of one utterance: those on which two successive interim passes agree.

    An interim pass is a quick transcription of the utterance so far. A stable word is retained, whatever later passes
    yield in its place.
    """

    def __init__(self) -> None:
        self.stable: list[str] = []
        self._before: list[str] = []

    def update(self, words: Sequence[str]) -> list[str]:
        """Compare the words of an interim pass with those of the previous one; append the words that agree to `stable`.

        `words`: all words of the utterance so far, as this pass recognizes them. Return the words to show: all stable
        words, then the words of this pass that follow them.
        """
        count = len(self.stable)
        pairs = zip(words[count:], self._before[count:], strict=False)
        self.stable += [word for word, _ in takewhile(lambda pair: _bare(pair[0]) == _bare(pair[1]), pairs)]
        self._before = [*self.stable, *words[len(self.stable) :]]
        return self._before


def _bare(word: str) -> str:
    """Return the letters and digits of a word in lower case, so that the words of two interim passes can be compared.

    Punctuation and capitals may change while the sentence continues.
    """
    return "".join(character for character in word.casefold() if character.isalnum())

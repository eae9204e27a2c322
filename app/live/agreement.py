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
        """Compare the words of an interim pass with those of the previous one, and update `stable`.

        `words`: all words of the utterance so far. Return the words to show: the stable ones, then the words that
        follow them in this pass.
        """
        count = len(self.stable)
        pairs = zip(words[count:], self._before[count:], strict=False)
        self.stable += [word for word, _ in takewhile(lambda pair: _bare(pair[0]) == _bare(pair[1]), pairs)]
        self._before = [*self.stable, *words[len(self.stable) :]]
        return self._before


def _bare(word: str) -> str:
    """Return only the letters and digits of a word, in lower case, to compare it with the word of another pass.

    Punctuation and capitals may change while the sentence continues.
    """
    return "".join(character for character in word.casefold() if character.isalnum())

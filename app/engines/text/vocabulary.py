"""Select the terms of a task's vocabulary that a window may contain, and judge the text decoded with them.

A model that gets a hundred names inserts some of them everywhere, and makes more mistakes in other words. So a window
is first transcribed without terms. Then it is transcribed again with only the terms that resemble words of the first
text; the second text is used only if it differs from the first one mainly by those terms.
"""

import re
from collections.abc import Sequence
from difflib import SequenceMatcher

_MIN_SIMILARITY = 0.2  # (0 to 1) between words of the text and a term that the model gets
_MIN_REPLACED_SIMILARITY = 0.5  # (0 to 1) between a term and the words that it replaces
_MAX_TERMS = 20  # for one window: the model reads at most 223 tokens before a text
_MIN_INFLECTED_LETTERS = 4  # of a term that may have inflected endings
_MIN_UNCHANGED = 0.75  # share of the other words
_CYRILLIC = "абвгдеёжзийклмнопрстуфхцчшщъыьэюя"
_LATIN = "a,b,v,g,d,e,e,zh,z,i,i,k,l,m,n,o,p,r,s,t,u,f,kh,ts,ch,sh,shch,,y,,e,yu,ya"
_TO_LATIN = str.maketrans(dict(zip(_CYRILLIC, _LATIN.split(","), strict=True)))


def likely_terms(vocabulary: Sequence[str], text: str) -> list[str]:
    """Return up to 20 terms that resemble words of the text but do not occur in it, the most similar first."""
    words = _words(text)
    scored = [(_similarity(term, words), term) for term in vocabulary if not _occurs(term, text)]
    return [term for similarity, term in sorted(scored, reverse=True) if similarity >= _MIN_SIMILARITY][:_MAX_TERMS]


def improves(before: str, after: str, terms: Sequence[str]) -> bool:
    """Return whether `after`, the text decoded with the terms, is better than `before`, the text decoded without them.

    It is better if it contains a term, if each term in it replaces similar words, and if most other words are
    unchanged.
    """
    if not any(_occurs(term, after) for term in terms):
        return False
    old, new = _words(before), _words(after)
    term_words = {word for term in terms for word in _words(term)}
    unchanged = changed = 0
    for kind, a, b, c, d in SequenceMatcher(a=old, b=new, autojunk=False).get_opcodes():
        if kind == "equal":
            unchanged += b - a
        elif not any(word.startswith(term) for word in new[c:d] for term in term_words):
            changed += max(b - a, d - c)
        elif SequenceMatcher(None, "".join(old[a:b]), "".join(new[c:d])).ratio() < _MIN_REPLACED_SIMILARITY:
            return False
    return changed == 0 or unchanged / (unchanged + changed) >= _MIN_UNCHANGED


def _similarity(term: str, words: Sequence[str]) -> float:
    """Return the similarity (0 to 1) between a term and the sequence of words that is most similar to it."""
    term_words = _words(term)
    count = len(term_words)
    best = 0.0
    matcher = SequenceMatcher(b="".join(term_words), autojunk=False)
    for length in range(max(count - 1, 1), count + 3):
        for start in range(len(words) - length + 1):
            matcher.set_seq1("".join(words[start : start + length]))
            if matcher.quick_ratio() > best:
                best = max(best, matcher.ratio())
    return best


def _occurs(term: str, text: str) -> bool:
    """Return whether a text contains a term, or the term with an inflectional ending, which Russian names have."""
    ending = r"\w{0,3}" if len(term.strip()) >= _MIN_INFLECTED_LETTERS else ""
    return re.search(rf"(?<!\w){re.escape(term.strip())}{ending}(?!\w)", text) is not None


def _words(text: str) -> list[str]:
    """Split a text into lower-case words; Cyrillic letters become Latin, so that both spellings can be compared."""
    return re.findall(r"[^\W_]+", text.lower().translate(_TO_LATIN))

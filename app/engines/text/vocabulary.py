"""Choose the terms of a vocabulary that a text may contain, and decide whether a text written with terms is better.

A model that gets a hundred names writes some of them everywhere, and makes more mistakes in other words. So a window
is first transcribed without terms. Then the model gets only the terms that resemble words of that first text, and its
second text is kept only if it differs from the first one mainly by those terms.
"""

import re
from collections.abc import Sequence
from difflib import SequenceMatcher

_LIKELY = 0.2  # lowest similarity (0 to 1) between words of the text and a term that the model gets
_ALIKE = 0.5  # lowest similarity (0 to 1) between a term and the words that it has replaced
_MOST = 20  # most terms for one window: the model reads at most 223 tokens before a text
_INFLECTED = 4  # letters of the shortest term that may have inflected endings
_OTHERS = 0.75  # lowest share of the other words that must stay the same
_CYRILLIC = "абвгдеёжзийклмнопрстуфхцчшщъыьэюя"
_LATIN = "a,b,v,g,d,e,e,zh,z,i,i,k,l,m,n,o,p,r,s,t,u,f,kh,ts,ch,sh,shch,,y,,e,yu,ya"
_TO_LATIN = str.maketrans(dict(zip(_CYRILLIC, _LATIN.split(","), strict=True)))


def likely_terms(vocabulary: Sequence[str], text: str) -> list[str]:
    """Return up to 20 terms that resemble words of the text but are not in it, the most similar first."""
    words = _words(text)
    scored = [(_likeness(term, words), term) for term in vocabulary if not _stands_in(term, text)]
    return [term for likeness, term in sorted(scored, reverse=True) if likeness >= _LIKELY][:_MOST]


def improves(before: str, after: str, terms: Sequence[str]) -> bool:
    """Whether `after`, the text written with the terms, is better than `before`.

    It is better if it has at least one term, if each term replaces similar words, and if most other words are the same.
    """
    if not any(_stands_in(term, after) for term in terms):
        return False
    old, new = _words(before), _words(after)
    given = {word for term in terms for word in _words(term)}
    kept = changed = 0
    for kind, a, b, c, d in SequenceMatcher(a=old, b=new, autojunk=False).get_opcodes():
        if kind == "equal":
            kept += b - a
        elif not any(word.startswith(each) for word in new[c:d] for each in given):
            changed += max(b - a, d - c)
        elif SequenceMatcher(None, "".join(old[a:b]), "".join(new[c:d])).ratio() < _ALIKE:
            return False
    return changed == 0 or kept / (kept + changed) >= _OTHERS


def _likeness(term: str, words: Sequence[str]) -> float:
    """Return the similarity (0 to 1) between a term and the words of the text that are most like the term."""
    wanted = "".join(_words(term))
    count = len(_words(term))
    best = 0.0
    matcher = SequenceMatcher(b=wanted, autojunk=False)
    for length in range(max(count - 1, 1), count + 3):
        for start in range(len(words) - length + 1):
            matcher.set_seq1("".join(words[start : start + length]))
            if matcher.quick_ratio() > best:
                best = max(best, matcher.ratio())
    return best


def _stands_in(term: str, text: str) -> bool:
    """Whether a text contains the term, or an inflected form of the term: Russian names have endings."""
    ending = r"\w{0,3}" if len(term.strip()) >= _INFLECTED else ""
    return re.search(rf"(?<!\w){re.escape(term.strip())}{ending}(?!\w)", text) is not None


def _words(text: str) -> list[str]:
    """Split text into words in lower-case Latin letters, so that Cyrillic and Latin spellings can be compared."""
    return re.findall(r"[^\W_]+", text.lower().translate(_TO_LATIN))

"""Vocabulary: which of the given terms a text may hold, and whether a text written with them is better.

A model that is given a hundred names writes some of them everywhere, and all else worse. So a window is
transcribed without them first; only terms that resemble something in that text are given to the model, and what it
writes then is taken only where it differs from the first text by such terms.
"""

import re
from collections.abc import Sequence
from difflib import SequenceMatcher

_LIKELY = 0.2  # of a term's letters, in order: a term that resembles less is not given to the model
_ALIKE = 0.5  # of the letters that a term has taken the place of
_MOST = 20  # terms given for one window: the model reads at most 223 tokens before a text
_INFLECTED = 4  # letters, at least, of a term that may have endings
_OTHERS = 0.75  # of the other words that must stay as they were
_CYRILLIC = "абвгдеёжзийклмнопрстуфхцчшщъыьэюя"
_LATIN = "a,b,v,g,d,e,e,zh,z,i,i,k,l,m,n,o,p,r,s,t,u,f,kh,ts,ch,sh,shch,,y,,e,yu,ya"
_TO_LATIN = str.maketrans(dict(zip(_CYRILLIC, _LATIN.split(","), strict=True)))


def likely(vocabulary: Sequence[str], text: str) -> list[str]:
    """Find the terms that resemble words of the text and do not stand in it as they are to be spelt, best first."""
    words = _words(text)
    scored = [(_likeness(term, words), term) for term in vocabulary if not _stands_in(term, text)]
    return [term for likeness, term in sorted(scored, reverse=True) if likeness >= _LIKELY][:_MOST]


def improves(before: str, after: str, terms: Sequence[str]) -> bool:
    """Whether a text written with the terms has some of them, each where something like it stood before."""
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
    """Measure how well a term resembles the words that are most like it, 0 to 1."""
    wanted = "".join(_words(term))
    count = len(_words(term))
    best = 0.0
    matcher = SequenceMatcher(b=wanted, autojunk=False)
    for length in range(max(count - 1, 1), count + 3):
        for start in range(len(words) - length + 1):
            matcher.set_seq1("".join(words[start : start + length]))
            if matcher.real_quick_ratio() > best and matcher.quick_ratio() > best:
                best = max(best, matcher.ratio())
    return best


def _stands_in(term: str, text: str) -> bool:
    """Whether a text has the term, or a form of it: names have endings in Russian."""
    ending = r"\w{0,3}" if len(term.strip()) >= _INFLECTED else ""
    return re.search(rf"(?<!\w){re.escape(term.strip())}{ending}(?!\w)", text) is not None


def _words(text: str) -> list[str]:
    """Split text into words in small Latin letters, so that a name in one script is found in another."""
    return re.findall(r"[^\W_]+", text.lower().translate(_TO_LATIN))

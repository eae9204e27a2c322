"""The word error rate."""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

import jiwer

NUMBERS = (
    "zero one two three four five six seven eight nine ten",
    "ноль один два три четыре пять шесть семь восемь девять десять",
    "cero uno dos tres cuatro cinco seis siete ocho nueve diez",
    "zéro un deux trois quatre cinq six sept huit neuf dix",
    "zero uno due tre quattro cinque sei sette otto nove dieci",
)  # 0 to 10 in the languages of the recordings


@dataclass(frozen=True)
class Score:
    """Words substituted, missing or inserted; words spoken; the longest run of words missing from one text."""

    errors: int
    words: int
    longest_missing: int

    @property
    def rate(self) -> float:
        """Word error rate."""
        return self.errors / self.words

    @classmethod
    def pooled(cls, scores: Sequence["Score"]) -> "Score":
        """Sum the errors and the words of several recordings."""
        longest = max(score.longest_missing for score in scores)
        return cls(sum(score.errors for score in scores), sum(score.words for score in scores), longest)


def scored(references: Sequence[str], hypotheses: Sequence[str]) -> Score:
    """Compare texts with their references."""
    alignment = jiwer.process_words([plain(text) for text in references], [plain(text) for text in hypotheses])
    chunks = [chunk for chunks in alignment.alignments for chunk in chunks if chunk.type == "delete"]
    longest = max((chunk.ref_end_idx - chunk.ref_start_idx for chunk in chunks), default=0)
    errors = alignment.substitutions + alignment.deletions + alignment.insertions
    return Score(errors, errors - alignment.insertions + alignment.hits, longest)


def words_without_match(reference: str, hypothesis: str) -> int:
    """Count the words of one text that another one has otherwise, or lacks."""
    alignment = jiwer.process_words(plain(reference), plain(hypothesis))
    return int(alignment.substitutions + alignment.deletions)


def errors_by_part(references: Sequence[str], hypothesis: str) -> list[int]:
    """Count the errors in one text by part of the reference; inserted words belong to the part that follows them."""
    part_of_word = [number for number, text in enumerate(references) for _ in plain(text).split()]
    errors = [0] * len(references)
    for chunk in jiwer.process_words(plain(" ".join(references)), plain(hypothesis)).alignments[0]:
        if chunk.type == "insert":
            part = part_of_word[min(chunk.ref_start_idx, len(part_of_word) - 1)]
            errors[part] += chunk.hyp_end_idx - chunk.hyp_start_idx
        elif chunk.type != "equal":
            for part in part_of_word[chunk.ref_start_idx : chunk.ref_end_idx]:
                errors[part] += 1
    return errors


def longest_difference(reference: str, hypothesis: str) -> int:
    """Count the words of the longest run that is missing or too much: a sentence, where one is lost or doubled."""
    chunks = jiwer.process_words(plain(reference), plain(hypothesis)).alignments[0]
    missing = [chunk.ref_end_idx - chunk.ref_start_idx for chunk in chunks if chunk.type == "delete"]
    surplus = [chunk.hyp_end_idx - chunk.hyp_start_idx for chunk in chunks if chunk.type == "insert"]
    return max([*missing, *surplus], default=0)


def word_error_rate(reference: str, hypothesis: str) -> float:
    """Part of the words that are wrong, missing or too many."""
    return scored([reference], [hypothesis]).rate


def plain(text: str) -> str:
    """Make texts alike that say the same: words and single digits, parted by spaces.

    Lower case; no punctuation, apostrophes included; letters without accents, which makes Russian yo a ye; words for 0
    to 10 as digits, numbers digit by digit. That needs no language of a word; longer numbers in words stay words.
    """
    return " ".join(SPELT.get(word, word) for word in re.findall(r"[0-9]|[^\W\d_]+", _without_accents(text)))


def _without_accents(text: str) -> str:
    parts = unicodedata.normalize("NFKD", text.lower())
    return "".join(part for part in parts if not unicodedata.combining(part))


SPELT = {"mr": "mister"} | {
    _without_accents(word): " ".join(str(number)) for words in NUMBERS for number, word in enumerate(words.split())
}

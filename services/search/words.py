"""The words of texts and queries: one tokenizer for both, with the Snowball stems of English and Russian."""

import re
import unicodedata
from collections.abc import Iterator
from functools import lru_cache
from typing import Final

import apsw
import Stemmer

TOKENIZER: Final = "natscribe"  # its name in SQLite
_WORD: Final = re.compile(r"[^\W_]+")
_PART: Final = re.compile(r'"([^"]*)"|([^\s"]+)')  # of a query: a phrase, or anything up to a space
_CYRILLIC: Final = re.compile("[\u0430-\u044f\u0451]")
_WITHOUT_YO: Final = str.maketrans({"\u0451": "\u0435"})  # which few people write
_STEMMERS: Final = {"ru": Stemmer.Stemmer("russian"), "en": Stemmer.Stemmer("english")}


@lru_cache(maxsize=200_000)
def stem(word: str) -> str:
    """Return the stem of a word without capitals and accents: Russian for Cyrillic letters, English for others."""
    plain = word.casefold()
    if _CYRILLIC.search(plain):
        return str(_STEMMERS["ru"].stemWord(plain.translate(_WITHOUT_YO)))
    if not plain.isascii():
        plain = "".join(one for one in unicodedata.normalize("NFKD", plain) if not unicodedata.combining(one))
    return str(_STEMMERS["en"].stemWord(plain))


def register(connection: apsw.Connection) -> None:
    """Add the tokenizer to a connection."""
    connection.register_fts5_tokenizer(TOKENIZER, lambda _connection, _arguments: _tokens)


def expression(query: str) -> str:
    """Return the FTS5 expression of a query: words and "phrases", all of which are in a segment; `word*` is a prefix.

    Nothing else in a query has a meaning, so no query is wrong. Empty: the query has no words.
    """
    return " AND ".join(_expressions(query))


def _expressions(query: str) -> Iterator[str]:
    for phrase, part in _PART.findall(query):
        words = _WORD.findall(phrase or part)
        if not words:
            continue
        quoted = f'"{" ".join(words)}"'
        if part.endswith("*"):  # the stem of the word, which may be shorter than what was typed, counts as well
            before, last = words[:-1], words[-1]
            yield from (f'"{word}"' for word in before)
            yield f'("{last}" * OR "{last}")'
        else:
            yield quoted


def _tokens(utf8: bytes, flags: int, _locale: str | None) -> Iterator[tuple[int, int, str]]:
    """Yield where each word is, in bytes, and its stem; the last word of a prefix query is not stemmed."""
    text = utf8.decode(errors="replace")
    at, byte, is_ascii = 0, 0, len(text) == len(utf8)
    is_prefix = bool(flags & apsw.FTS5_TOKENIZE_PREFIX)
    for match in _WORD.finditer(text):
        start, end = match.span()
        word = match[0]
        if is_ascii:
            first, last = start, end
        else:
            first = byte + len(text[at:start].encode())
            last = first + len(word.encode())
            at, byte = end, last
        yield first, last, word.casefold().translate(_WITHOUT_YO) if is_prefix else stem(word)

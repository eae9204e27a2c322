"""Makes foreign text safe to print: a terminal interprets some characters as commands."""

import re

# Control characters, those that reorder or break a line, and halves of surrogate pairs, which no stream can encode.
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: str, *, keep: str = "") -> str:
    r"""Return the text with each character that a terminal might act on written as an escape, such as `\x1b`.

    `keep`: such characters to leave as they are, e.g. the line ends of a text of several lines.
    """
    return _UNPRINTABLE.sub(lambda found: found[0] if found[0] in keep else _escape(found[0]), text)


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode()

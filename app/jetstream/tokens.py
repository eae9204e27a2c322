"""Tokens of subjects that stand for names of users and recordings."""

import json
from hashlib import sha256
from typing import Final

_CHARACTERS: Final = 16  # hexadecimal digits of a hash in a subject; the message itself has the whole name


def token(name: int | str) -> str:
    """Return a token for a subject: a name may have any characters, and the names `1` and `"1"` get two tokens."""
    return sha256(json.dumps(name).encode()).hexdigest()[:_CHARACTERS]

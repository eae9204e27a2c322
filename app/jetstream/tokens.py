"""Tokens of subjects that stand for names of users and recordings."""

import json
from hashlib import sha256
from typing import Final

_CHARACTERS: Final = 16  # hexadecimal digits of a hash in a subject; the message itself has the whole name


def token(name: int | str) -> str:
    """Return a token for a subject: a user or a recording may be named with any characters, and `1` is not `"1"`."""
    return sha256(json.dumps(name).encode()).hexdigest()[:_CHARACTERS]

"""Converts names of users and recordings to tokens of NATS subjects."""

import json
from hashlib import sha256
from typing import Final

_CHARACTERS: Final = 16  # hexadecimal digits of a hash in a subject; the message itself has the whole name


def token(name: int | str) -> str:
    """Return a hash that stands for a name in a NATS subject; names may contain characters that subjects may not.

    The number `1` and the text `"1"` get different tokens.
    """
    return sha256(json.dumps(name).encode()).hexdigest()[:_CHARACTERS]

"""User ids on the command line: an integer, or else a name."""

import re

INTEGER = re.compile(r"0|-?[1-9][0-9]{0,18}")


def parse_user_id(written: str) -> int | str:
    """Parse a user id: an integer of 64 bits, or else a name; `007` is a name."""
    is_integer = INTEGER.fullmatch(written) and -(2**63) <= int(written) < 2**63
    return int(written) if is_integer else written

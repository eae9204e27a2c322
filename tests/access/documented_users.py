"""The users that docs/access.md shows, and that operators may add: each as it stands there."""

import json
import re
import shutil
from pathlib import Path

import pytest

from tests.access.rules import DOCUMENT
from tests.access.servers import DEPLOY, password

_USER = re.compile(r"among\s+the\s+users\s+of\s+the\s+account\s+(\w+).*?\n```\n( *\{ user: (\w+),.*?)```", re.DOTALL)
_FIRST_USER = {"PUBLISHER": "publisher", "NATSCRIBE": "service"}  # of each account


def documented_users() -> dict[str, tuple[str, str]]:
    """The account and the text of each user, by its name."""
    found = _USER.findall(DOCUMENT.read_text(encoding="utf-8"))
    return {name: (account, text) for account, text, name in found}


def configuration(folder: Path, environment: pytest.MonkeyPatch, *, further: str = "") -> Path:
    """Copy the configuration of NATS into a folder, with all documented users, and `further` users of the service's.

    The passwords of the documented users are set in the environment, from which the server reads them.
    """
    for user in documented_users():
        environment.setenv(f"NATS_{user.upper()}_PASSWORD", json.dumps(password(user)))
    shutil.copytree(DEPLOY / "nats", folder)
    file = folder / "accounts.conf"
    for account, text in (*documented_users().values(), ("NATSCRIBE", further)):
        first = f"      {{\n        user: {_FIRST_USER[account]},\n"
        before, user, after = file.read_text(encoding="utf-8").partition(first)
        assert user
        file.write_text(before + text + user + after, encoding="utf-8")
    return folder

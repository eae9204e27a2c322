"""Every user, every subject, publishing and subscribing: allowed or refused as docs/access.md says."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.access.rules import Rules, configured, documented
from tests.access.servers import USERS, GuardedNats, password

# What the tables do not speak of: other subjects, other streams, wider wildcards, and what administrators do.
BEYOND = (Path(__file__).parent / "beyond.txt").read_text(encoding="utf-8").split()


class Probe:
    """A bare connection: the server says about each line whether it may be."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._number = 0

    async def may(self, action: str, subject: str) -> bool:
        self._number += 1
        line = f"PUB {subject} 0\r\n" if action == "publish" else f"SUB {subject} {self._number}"
        self._writer.write(f"{line}\r\nPING\r\n".encode())
        refused = False
        while (said := await self._reader.readline()) != b"PONG\r\n":
            assert said, f"the server hung up on {line}"
            if said.startswith(b"-ERR"):
                assert b"Permissions Violation" in said, said
                refused = True
        if action == "subscribe":
            self._writer.write(f"UNSUB {self._number}\r\n".encode())
        return not refused


@asynccontextmanager
async def connection(
    server: GuardedNats, login: dict[str, str]
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    await reader.readline()
    writer.write(f"CONNECT {json.dumps(login | {'verbose': False})}\r\n".encode())
    try:
        yield reader, writer
    finally:
        writer.close()
        await writer.wait_closed()


def example(pattern: str) -> str:
    """A subject that the pattern covers."""
    return pattern.replace("*", "t1").replace(">", "t1.t2")


def universe() -> list[str]:
    rules = documented().values()
    patterns = {pattern for rule in rules for pattern in rule.publish | rule.subscribe | rule.refused}
    return sorted(patterns | {example(pattern) for pattern in patterns} | set(BEYOND))


def test_the_document_says_what_the_server_is_told() -> None:
    assert documented() == configured()
    assert tuple(configured()) == USERS


@pytest.mark.parametrize("user", USERS)
async def test_each_subject_is_allowed_or_refused_as_documented(guarded: GuardedNats, user: str) -> None:
    # Given what the document says of a user
    rules: Rules = documented()[user]
    subjects = universe()
    # When it tries to publish and to subscribe to everything there is
    async with connection(guarded, {"user": user, "pass": password(user)}) as streams:
        asked = Probe(*streams)
        found = {
            (action, subject): await asked.may(action, subject)
            for subject in subjects
            for action in ("publish", "subscribe")
            if action == "subscribe" or not {"*", ">"} & set(subject.split("."))  # nobody can publish to a wildcard
        }
    # Then it may what is allowed and no more
    assert {key for key, may in found.items() if may != rules.may(*key)} == set()
    assert len(found) > 300


@pytest.mark.parametrize("login", [{}, {"user": "service", "pass": "guessed"}, {"user": "root", "pass": "root"}])
async def test_nobody_else_gets_in(guarded: GuardedNats, login: dict[str, str]) -> None:
    async with connection(guarded, login) as (reader, _):
        assert await reader.readline() == b"-ERR 'Authorization Violation'\r\n"

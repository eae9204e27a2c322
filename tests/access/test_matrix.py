"""Publishing and subscribing of every user to every subject is allowed or refused as docs/access.md says."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import pytest_asyncio

from app.settings import Settings
from app.storage.jetstream import streams
from tests.access.rules import Rules, account_of, configured, covers, documented
from tests.access.servers import CLIENTS, USERS, GuardedNats, guarded_in_memory, password

# Not in the tables: other subjects, other streams, wider wildcards, and requests of administrators.
BEYOND = (Path(__file__).parent / "beyond.txt").read_text(encoding="utf-8").split()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def guarded() -> AsyncIterator[GuardedNats]:
    """One server for all tests, which leave nothing in it."""
    async with guarded_in_memory() as server:
        yield server


class Probe:
    """A bare connection: the server accepts or refuses each line."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._number = 0

    async def may(self, action: str, subject: str) -> bool:
        self._number += 1
        line = f"PUB {subject} 0\r\n" if action == "publish" else f"SUB {subject} {self._number}"
        self._writer.write(f"{line}\r\nPING\r\n".encode())
        refused = False
        while (line_back := await self._reader.readline()) != b"PONG\r\n":
            assert line_back, f"the server hung up on {line}"
            if line_back.startswith(b"-ERR"):
                assert b"Permissions Violation" in line_back, line_back
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


@pytest.mark.parametrize("user", CLIENTS)
def test_an_account_imports_what_its_user_may_and_nothing_else(user: str) -> None:
    # Given what leads out of a client's account
    account, rules = account_of(user), configured()[user]
    services = {entry.get("to", entry["service"]["subject"]) for entry in account["imports"] if "service" in entry}
    imported = {entry["stream"]["subject"] for entry in account["imports"] if "stream" in entry}
    # Then it is as narrow as the user's rights: a reply sent there does only what the user may do anyway
    assert {subject for subject in services if not rules.may("publish", example(subject))} == set()
    assert {subject for subject in rules.publish if not any(covers(service, subject) for service in services)} == set()
    assert imported == rules.subscribe
    # And it has no other user, and no stream
    assert len(account["users"]) == 1
    assert "jetstream" not in account


def test_the_services_consumers_are_called_what_no_client_can_call_its_own() -> None:
    # Given that the accounts cut names off, and how the service calls what it has on the streams that clients read
    cut_off = {
        re.findall(r"sliceFromLeft\(2,(\d+)\)", str(account_of(user)["mappings"])) == ["32"] * 4 for user in CLIENTS
    }
    consumers = streams.consumer_configs(Settings(_env_file=None))
    names = [str(consumer.durable_name) for stream, consumer in consumers if stream != "transcription_ready"]
    # Then those are longer
    assert cut_off == {True}
    assert names
    assert all(len(name) > 32 for name in names)


@pytest.mark.parametrize("user", CLIENTS)
def test_no_two_mappings_fit_a_subject(user: str) -> None:
    # Given that the server takes any one that fits
    mappings = list(account_of(user)["mappings"])
    # Then it has no choice
    overlapping = {
        (one, other) for one in mappings for other in mappings if one != other and covers(one, example(other))
    }
    assert overlapping == set()


@pytest.mark.parametrize("user", USERS)
async def test_each_subject_is_allowed_or_refused_as_documented(guarded: GuardedNats, user: str) -> None:
    # Given the documented permissions of a user
    rules: Rules = documented()[user]
    subjects = universe()
    # When it tries to publish and to subscribe to everything there is
    async with connection(guarded, {"user": user, "pass": password(user)}) as streams:
        probe = Probe(*streams)
        allowed = {
            (action, subject): await probe.may(action, subject)
            for subject in subjects
            for action in ("publish", "subscribe")
            if action == "subscribe" or not {"*", ">"} & set(subject.split("."))  # nobody can publish to a wildcard
        }
    # Then it may what is allowed and no more
    assert {key for key, may in allowed.items() if may != rules.may(*key)} == set()
    assert len(allowed) > 300


@pytest.mark.parametrize("login", [{}, {"user": "service", "pass": "guessed"}, {"user": "root", "pass": "root"}])
async def test_nobody_else_gets_in(guarded: GuardedNats, login: dict[str, str]) -> None:
    async with connection(guarded, login) as (reader, _):
        assert await reader.readline() == b"-ERR 'Authorization Violation'\r\n"

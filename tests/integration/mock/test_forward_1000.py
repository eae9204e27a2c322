"""`services/forward` with the mock of the service and real HTTP receivers that fail in every way."""

import asyncio
import base64
import hashlib
import hmac
import json
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import pytest
from natscribe.schemas import subjects
from natscribe.schemas.progress import State

from tests.integration.conftest import Publisher
from tests.programs import BIN, output, started
from tests.servers import Servers
from tests.waiting import eventually

ROOT = Path(__file__).parents[3]
KEY = b"a key of twenty-four byt"
ACCEPTED = "HTTP/1.1 204 No Content\r\n\r\n"
Start = Callable[..., AbstractAsyncContextManager[Process]]
Reply = Callable[["Request"], str | None]  # None: the connection is closed without a response


@dataclass(frozen=True)
class Request:
    """A request as a receiver has it."""

    headers: dict[str, str]
    body: bytes

    @property
    def event(self) -> tuple[str, str]:
        """The type and the task of the event."""
        return self.headers["ce-type"].split(".")[1], self.headers["ce-subject"]

    @property
    def is_signed(self) -> bool:
        """Whether the signature is that of the key, by the specification of Standard Webhooks."""
        parts = (self.headers["webhook-id"].encode(), self.headers["webhook-timestamp"].encode(), self.body)
        expected = base64.b64encode(hmac.digest(KEY, b".".join(parts), hashlib.sha256)).decode()
        return self.headers["webhook-signature"] == f"v1,{expected}"


@dataclass
class Receiver:
    """An HTTP server that replies as `reply` says."""

    reply: Reply
    url: str = ""
    accepted: list[Request] = field(default_factory=list)
    refused: list[Request] = field(default_factory=list)

    async def receive(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                lines = head.decode().split("\r\n")[1:-2]
                headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
                request = Request(headers, await reader.readexactly(int(headers["content-length"])))
                reply = self.reply(request)
                (self.accepted if reply == ACCEPTED else self.refused).append(request)
                if reply is None:
                    return
                writer.write(reply.encode())
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


def failing(status: str, headers: str = "") -> str:
    return f"HTTP/1.1 {status}\r\n{headers}content-length: 0\r\n\r\n"


@asynccontextmanager
async def receiving(reply: Reply = lambda _: ACCEPTED) -> AsyncIterator[Receiver]:
    receiver = Receiver(reply)
    async with await asyncio.start_server(receiver.receive, "127.0.0.1", 0) as server:
        receiver.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/hook"
        yield receiver


def rule(receiver: Receiver, **fields: object) -> dict[str, object]:
    return {
        "name": "all",
        "url": receiver.url,
        "secret": f"whsec_{base64.b64encode(KEY).decode()}",
        "events": ["results", "progress", "erased"],
        "allow_private": True,
    } | fields


@pytest.fixture
def forwarding(servers: Servers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Start:
    """Start the service with rules."""
    monkeypatch.setenv("FORWARD_RULES", str(tmp_path / "rules.json"))
    monkeypatch.setenv("FORWARD_FOLDER", str(tmp_path / "letters"))

    def start(*rules: dict[str, object]) -> AbstractAsyncContextManager[Process]:
        (tmp_path / "rules.json").write_text(json.dumps(rules))
        return started(
            servers.nats_url, BIN / "faststream", "run", "services.forward.main:create_app", "--factory", cwd=ROOT
        )

    return start


pytestmark = pytest.mark.usefixtures("mock", "meeting")


async def test_each_event_arrives_in_order_and_signed(publisher: Publisher, forwarding: Start) -> None:
    # Given a receiver that fails half the time: lost connections, full, slow down
    chance = Random(1)  # noqa: S311 -- no secret
    failures = (
        None,
        "HTTP/1.1 503 Full\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 429 Slow\r\ncontent-length: 0\r\n\r\n",
    )

    def reply(_: Request) -> str | None:
        return chance.choice(failures) if chance.random() < 0.5 else ACCEPTED

    tasks = [f"t{number}" for number in range(1000)]
    async with receiving(reply) as receiver, forwarding(rule(receiver)):
        # When tasks complete, and one is deleted
        for task_id in tasks:
            await publisher.publish(task_id)
        for task_id in tasks:
            await publisher.until(task_id, State.COMPLETED)
        await eventually(lambda: len({request.event for request in receiver.accepted}) == 2 * len(tasks), within=250)
        await publisher.request(subjects.DELETE, task_id="t0")
        await eventually(lambda: ("erased", "t0") in {request.event for request in receiver.accepted})
    # Then each event has arrived, that of a task in order, with the same id in each repetition
    assert receiver.refused
    for task_id in tasks:
        events = [request.event[0] for request in receiver.accepted if request.event[1] == task_id]
        assert list(dict.fromkeys(events)) == ["results", "progress", *(["erased"] if task_id == "t0" else [])]
    ids = {(request.event, request.headers["webhook-id"]) for request in receiver.accepted + receiver.refused}
    assert len(ids) == 2 * len(tasks) + 1
    # And is a CloudEvent with a signature
    for request in receiver.accepted:
        assert request.is_signed
        assert request.headers["ce-specversion"] == "1.0"
        assert request.headers["ce-id"] == request.headers["webhook-id"]
        assert request.headers["content-type"] == "application/json"
        assert json.loads(request.body)["task_id"] == request.event[1]


async def test_a_rule_chooses_events(publisher: Publisher, forwarding: Start) -> None:
    async with receiving() as receiver:
        # Given a rule for the failures of one user
        async with forwarding(rule(receiver, events=["progress"], states=["failed"], users=[7])):
            # When tasks of two users complete and fail
            for task_id, user in (("error-internal-a", 8), ("t1", 7), ("error-internal-b", 7)):
                await publisher.publish(task_id, user_id=user)
            await eventually(lambda: bool(receiver.accepted))
            await publisher.until("t1", State.COMPLETED)
    # Then only that one arrives
    assert [request.event for request in receiver.accepted] == [("progress", "error-internal-b")]


async def test_what_is_refused_for_good_is_sent_again_by_a_person(
    publisher: Publisher, forwarding: Start, servers: Servers, tmp_path: Path
) -> None:
    # Given a receiver that refuses, with a redirect or an error of the client
    replies = [failing("302 Found", "location: http://127.0.0.1:1/\r\n")]
    async with receiving(lambda _: replies[-1]) as receiver:
        async with forwarding(rule(receiver, events=["results"])):
            await publisher.reaching(State.COMPLETED, "t1")
            # Then the result is a dead letter at once, without its text
            await eventually(lambda: bool([*(tmp_path / "letters").glob("*.json")]))
            assert len(receiver.refused) == 1
            (letter,) = (tmp_path / "letters").glob("*.json")
            assert "302" in letter.read_text()
            assert "Good morning" not in letter.read_text()
        # And once the receiver accepts, it is sent again
        replies.append(ACCEPTED)
        replay = sys.executable, "-m", "services.forward.replay"
        assert "0 dead letters are left" in await output(servers.nats_url, *replay, cwd=ROOT)
    assert [request.event for request in receiver.accepted] == [("results", "t1")]
    assert not letter.exists()


async def test_an_erased_result_is_sent_to_nobody(publisher: Publisher, forwarding: Start) -> None:
    # Given a receiver that is down, and a result that waits for it
    replies: list[str | None] = [None]
    async with receiving(lambda _: replies[-1]) as receiver, forwarding(rule(receiver)):
        await publisher.reaching(State.COMPLETED, "t1")
        await eventually(lambda: bool(receiver.refused))
        # When the task is deleted before the receiver is up again
        await publisher.request(subjects.DELETE, task_id="t1")
        replies.append(ACCEPTED)
        # Then it learns of the erasure alone
        await eventually(lambda: bool(receiver.accepted))
    assert [request.event for request in receiver.accepted] == [("erased", "t1")]


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"url": "http://example.com/", "allow_private": False}, "not https"),
        ({"url": "https://10.0.0.1/", "allow_private": False}, "private address"),
        ({"url": "https://[::1]/", "allow_private": False}, "private address"),
        ({"url": "https://user:password@example.com/"}, "has a login"),
        ({"secret": "whsec_c2hvcnQ="}, "24 to 64"),
        ({"events": ["everything"]}, "events"),
    ],
)
async def test_a_rule_that_is_refused_says_why_at_the_start(
    forwarding: Start, fields: dict[str, object], why: str
) -> None:
    async with forwarding(rule(Receiver(lambda _: None, url="http://127.0.0.1:1/"), **fields)) as process:
        printed = (await process.communicate())[0].decode()
    assert process.returncode != 0
    assert why in printed
    assert base64.b64encode(KEY).decode() not in printed

"""How a pull from a consumer handles the replies of NATS."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, cast

import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.errors import NoRespondersError
from nats.errors import TimeoutError as NatsTimeoutError

from app.storage.jetstream.pull_inbox import PullInbox
from tests.constants import Constants
from tests.waiting import eventually

NOBODY = cast("Client", None)


def status(code: str, description: str) -> Msg:
    return Msg(NOBODY, headers={"Status": code, "Description": description})


FIRST, SECOND = Msg(NOBODY, reply="ack.1"), Msg(NOBODY, reply="ack.2", headers={"Nats-Msg-Id": "2"})
NOTHING = status("404", "No Messages")
COMPLETED = status("408", "Batch Completed")
FULL = status("409", "Message Size Exceeds MaxBytes")
DELETED = status("409", "Consumer Deleted")
LEADER_CHANGED = status("409", "Leadership Change")
HEARTBEAT = status("100", "Idle Heartbeat")
AWAY = status("503", "")


@dataclass
class FakeNats:
    """Replies to each request as the script says."""

    script: list[list[Msg]]
    requests: list[dict[str, Any]] = field(default_factory=list)
    max_payload: int = 1024**2
    stats: dict[str, int] = field(default_factory=lambda: {"reconnects": 0})
    receive: Callable[[Msg], Awaitable[None]] | None = None
    released: list[str] = field(default_factory=list)

    def new_inbox(self) -> str:
        return "inbox"

    async def subscribe(self, subject: str, cb: Callable[[Msg], Awaitable[None]]) -> "FakeNats":
        assert self.receive is None, "one inbox is enough"
        self.receive, self.subject = cb, subject
        return self

    async def publish(self, subject: str, request: bytes, *, reply: str = "") -> None:
        if request == b"-NAK":
            self.released.append(subject)
            return
        assert (subject, reply) == ("$JS.API.CONSUMER.MSG.NEXT.tasks.worker", self.subject)
        assert self.receive
        self.requests.append(json.loads(request))
        for reply_message in self.script.pop(0):
            await self.receive(reply_message)


def inbox_of(nats: FakeNats) -> PullInbox:
    return PullInbox(cast("Client", nats), "tasks", "worker")


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ([FIRST, SECOND], [FIRST, SECOND]),
        ([FIRST, NOTHING], [FIRST]),
        ([NOTHING], []),
        ([FIRST, FULL], [FIRST]),
        ([DELETED], []),
        ([FIRST, DELETED], [FIRST]),
        ([HEARTBEAT, HEARTBEAT, FIRST, NOTHING], [FIRST]),
        ([COMPLETED, FIRST, NOTHING], [FIRST]),  # the end of the request before
    ],
)
async def test_a_pull_ends_with_a_full_batch_or_the_last_message(script: list[Msg], expected: list[Msg]) -> None:
    # Given a server with these replies, and then with one message more
    inbox = inbox_of(FakeNats([script, [FIRST]]))
    # When two messages are requested, then those that have arrived are returned
    assert await inbox.pull(2) == expected
    # And the next request gets its own reply
    assert await inbox.pull(1) == [FIRST]


@pytest.mark.parametrize(
    ("script", "error"),
    [
        ([AWAY], NoRespondersError),
        ([LEADER_CHANGED], NatsError),
        ([FULL], NatsError),  # a message that never fits would never be delivered
        ([status("409", "Exceeded MaxWaiting")], NatsError),
        ([FIRST, status("409", "Exceeded MaxWaiting")], NatsError),
    ],
)
async def test_a_failing_consumer_is_an_error(script: list[Msg], error: type[Exception]) -> None:
    with pytest.raises(error):
        await inbox_of(FakeNats([script])).pull(2)


async def test_only_a_request_for_several_messages_limits_their_size() -> None:
    # Given a server with two messages
    nats = FakeNats([[FIRST], [FIRST, SECOND]])
    inbox = inbox_of(nats)
    # When one is requested, and then two within three seconds
    await inbox.pull(1)
    await inbox.pull(2, within=3)
    # Then the first request gets a reply at once, and the second says how much may come at once
    assert nats.requests[0] == {"batch": 1, "no_wait": True}
    assert nats.requests[1] == {"batch": 2, "expires": 3_000_000_000, "idle_heartbeat": 750_000_000} | {
        "max_bytes": nats.requests[1]["max_bytes"]
    }
    assert nats.requests[1]["max_bytes"] > nats.max_payload


async def test_a_message_of_an_earlier_request_is_released_or_used(constants: Constants) -> None:
    # Given a request to which the server does not reply in time
    constants(REQUEST_TIMEOUT_S=0.05)
    nats = FakeNats([[], [FIRST, SECOND]])
    inbox = inbox_of(nats)
    with pytest.raises(NatsTimeoutError):
        await inbox.pull(1)
    # When its message arrives before the next request, then the message is released
    assert nats.receive
    await nats.receive(FIRST)
    assert nats.released == ["ack.1"]
    # And when its message arrives during the next request, then one of the two messages is returned, the other released
    assert await inbox.pull(1) == [FIRST]
    assert nats.released == ["ack.1", "ack.2"]


@pytest.mark.parametrize("reconnects", [True, False])
async def test_a_pull_ends_without_heartbeats_or_after_a_reconnection(
    constants: Constants, *, reconnects: bool
) -> None:
    # Given an open request
    constants(REQUEST_TIMEOUT_S=0.05, RECONNECTION_CHECK_S=0.02)
    nats = FakeNats([[HEARTBEAT]])
    pull = asyncio.create_task(inbox_of(nats).pull(1, within=600 if reconnects else 0.3))
    await eventually(lambda: nats.requests != [])
    # When the client has reconnected, or when the heartbeats stop
    nats.stats["reconnects"] += reconnects
    # Then the request counts as lost
    with pytest.raises(NatsTimeoutError):
        await pull

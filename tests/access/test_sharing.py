"""Workers share recordings among themselves: a client can neither send windows nor receive them."""

import asyncio

import pytest
from nats.aio.msg import Msg
from natscribe.schemas import subjects

from tests.access.servers import CLIENTS, GuardedNats, connected
from tests.waiting import DEADLINE, eventually

SUBJECT = subjects.windows("3f9a0c17d2e4b586")


@pytest.mark.parametrize("user", CLIENTS)
async def test_a_client_can_neither_send_windows_nor_receive_them(guarded: GuardedNats, user: str) -> None:
    # Given two workers, one of them idle, and a client that tries to receive windows
    received: list[bytes] = []

    async def receive(message: Msg) -> None:
        received.append(message.data)
        await message.respond(b"text")

    async with (
        connected(guarded, "service") as idle,
        connected(guarded, "service") as owner,
        connected(guarded, user) as client,
    ):
        await idle.subscribe(SUBJECT, queue="natscribe", cb=receive)
        await idle.flush()
        await client.subscribe(SUBJECT, queue="natscribe", cb=receive)
        # When the client sends one, too
        await client.publish(SUBJECT, b"of a client")
        await client.flush()
        # Then the server refuses both, and only workers exchange windows
        await eventually(lambda: len(guarded.refused()) == 2)  # the server's log is read a moment later
        async with asyncio.timeout(DEADLINE):
            for _ in range(10):  # a queue group would give the client some of them
                assert (await owner.request(SUBJECT, b"of a worker", timeout=5)).data == b"text"
    assert received == [b"of a worker"] * 10

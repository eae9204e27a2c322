"""Workers share recordings among themselves: a client can neither offer windows nor answer for a worker."""

import asyncio

import pytest
from nats.aio.msg import Msg
from natscribe.schemas import subjects

from tests.access.servers import CLIENTS, GuardedNats
from tests.access.test_answers import connected
from tests.waiting import DEADLINE, eventually

WORKER = "0" * 32


@pytest.mark.parametrize("user", CLIENTS)
async def test_a_client_can_neither_offer_windows_nor_answer(guarded: GuardedNats, user: str) -> None:
    # Given what workers hear of each other
    heard: list[bytes] = []
    of_a_worker = asyncio.Event()

    async def hear(message: Msg) -> None:
        heard.append(message.data)
        if message.data == b"of a worker":
            of_a_worker.set()

    service, client = await connected(guarded, "service"), await connected(guarded, user)
    await service.subscribe(subjects.WINDOWS_OFFERED, cb=hear)
    await service.subscribe(subjects.windows_inbox("*"), cb=hear)
    await service.flush()
    # When a client offers windows and answers for a worker
    for subject in (subjects.WINDOWS_OFFERED, subjects.windows_inbox(WORKER)):
        await client.publish(subject, b"of a client")
    await client.flush()
    # Then the server refuses both, and workers hear only each other
    await service.publish(subjects.windows_inbox(WORKER), b"of a worker")
    async with asyncio.timeout(DEADLINE):
        await of_a_worker.wait()
    assert heard == [b"of a worker"]

    async def both_refused() -> bool:  # the server's log is read a moment later
        return len(guarded.refused()) == 2

    await eventually(both_refused)
    await client.close()
    await service.close()

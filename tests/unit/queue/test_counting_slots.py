"""When the scheduler counts the free slots of workers."""

import asyncio

from app.storage.jetstream.slots import SlotPool
from app.tasks.queue.free_slots import FreeSlots
from tests.constants import Constants
from tests.fakes.nats import InMemoryNats
from tests.fakes.parts import NAMES, Parts
from tests.waiting import eventually


async def test_slots_are_counted_only_while_a_task_waits_for_one(
    parts: Parts, nats: InMemoryNats, constants: Constants
) -> None:
    constants(WAKE_EVERY_S=60.0, AUDIT_EVERY_S=60.0)
    # Given a task of a recording, and no live task
    await parts.publish("t1")
    nats.requests.clear()
    # When the scheduler starts, then it counts the free slots for recordings alone
    async with parts.scheduling():
        await eventually(lambda: any("CONSUMER.INFO" in request for request in nats.requests))
    counted = {request for request in nats.requests if "CONSUMER.INFO" in request}
    assert counted == {f"$JS.API.CONSUMER.INFO.{NAMES.ready}.{NAMES.slot_consumer(SlotPool.RECORDINGS)}"}


async def test_slots_are_counted_again_and_again_while_a_task_waits(
    parts: Parts, nats: InMemoryNats, constants: Constants
) -> None:
    constants(WAKE_EVERY_S=0.01, COUNTED_EVERY_S=60.0, AUDIT_EVERY_S=60.0)
    await parts.publish("t1")
    async with parts.scheduling():
        nats.requests.clear()
        await eventually(lambda: len([request for request in nats.requests if "CONSUMER.INFO" in request]) > 5)


async def test_a_count_is_current_for_a_while(nats: InMemoryNats, constants: Constants) -> None:
    constants(COUNTED_EVERY_S=0.05)
    free = FreeSlots(nats.client, NAMES, SlotPool.RECORDINGS)
    is_current = [free.is_current]
    await free.read()
    is_current.append(free.is_current)
    await asyncio.sleep(0.06)
    assert [*is_current, free.is_current] == [False, True, False]

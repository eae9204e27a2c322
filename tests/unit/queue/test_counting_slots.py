"""When the scheduler counts the free slots of workers."""

from app.jetstream.slots import Slots
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
    assert counted == {f"$JS.API.CONSUMER.INFO.{NAMES.ready}.{NAMES.slot_consumer(Slots.RECORDINGS)}"}

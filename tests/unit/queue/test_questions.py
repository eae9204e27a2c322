"""What the scheduler replies about waiting tasks, and what grants say of their tasks."""

import asyncio

import pytest
from natscribe.schemas import subjects
from natscribe.schemas.wire import Priority, TaskType

from app.tasks.queue import scheduler
from app.tasks.queue.fair_queue import DEFAULT_S, QueuedTask
from app.tasks.queue.grants import Grant
from app.tasks.queue.positions import QUESTION, REPLY, Before
from tests.fakes.parts import Parts

NORMAL = subjects.tasks(TaskType.TRANSCRIPTION, Priority.NORMAL)


async def before(parts: Parts, sequence: int) -> Before:
    """What starts before a task, as the scheduler replies within some seconds."""
    question = QUESTION.dump_json([Grant(subject=NORMAL, sequence=sequence, user=7)])
    async with asyncio.timeout(10):
        (reply,) = REPLY.validate_json((await parts.nats.request(subjects.POSITIONS, question)).data)
    return reply


@pytest.mark.parametrize(("read_within_s", "unread", "expected"), [(60.0, 0, 0), (0.01, 1, None)])
async def test_the_scheduler_waits_for_messages_that_it_has_not_read_alone(
    parts: Parts, monkeypatch: pytest.MonkeyPatch, read_within_s: float, unread: int, expected: int | None
) -> None:
    monkeypatch.setattr(scheduler, "READ_WITHIN_S", read_within_s)
    message = await parts.publish("a")
    async with parts.scheduling():
        reply = await before(parts, message.sequence + unread)
    assert (reply and reply[0]) == expected


@pytest.mark.parametrize(("seconds", "charged"), [(12.0, 12.0), (None, DEFAULT_S)])
def test_a_grant_has_the_seconds_that_its_user_is_charged_for(seconds: float | None, charged: float) -> None:
    assert Grant(subject=NORMAL, sequence=3, user="a", seconds=seconds).queued_task == QueuedTask(
        "a", TaskType.TRANSCRIPTION, Priority.NORMAL, 3, charged
    )

"""Whoever keeps copies learns which tasks were erased, and why, and nothing else about them."""

import asyncio
from contextlib import suppress
from functools import partial
from typing import Any

import pytest
from nats.aio.msg import Msg
from nats.errors import TimeoutError as NoMessageError
from natscribe.client import Client
from natscribe.schemas.erased import Erased, ErasureReason
from natscribe.schemas.errors import ErrorCode
from natscribe.schemas.progress import State

from app.main import Worker
from app.runtime.errors import TransientError
from app.settings import Settings
from app.tasks.task_log.log import TaskLog
from app.tasks.task_log.results import ResultStore
from tests.integration.conftest import Publisher, queue_is_empty
from tests.integration.places import places_with
from tests.integration.reminders import find_reminder, let_time_pass
from tests.integration.requests.conftest import Hold
from tests.waiting import eventually


async def completed(publisher: Publisher, *task_ids: str, **fields: Any) -> None:
    """Let tasks complete, and their reminders be stored."""
    for task_id in task_ids:
        await publisher.publish(task_id, **fields)
        await publisher.until(task_id, State.COMPLETED)
        await eventually(partial(find_reminder, publisher.js, task_id))
    await eventually(lambda: queue_is_empty(publisher.js))


async def read_by_a_follower(publisher: Publisher, expected: int, durable: str = "follower") -> list[Msg]:
    """All that another program reads that was away, and that has remembered its position in the stream."""
    follower = await publisher.js.pull_subscribe("erased.*", durable=durable, stream="transcription_erased")
    messages: list[Msg] = []
    while len(messages) < expected:
        messages += await follower.fetch(1, timeout=30)
        await messages[-1].ack_sync()
    with suppress(NoMessageError):
        messages += await follower.fetch(1, timeout=0.2)
    return messages


def told(messages: list[Msg]) -> list[tuple[str, object, ErasureReason]]:
    events = [Erased.model_validate_json(message.data) for message in messages]
    assert [message.subject for message in messages] == [f"erased.{event.task_id}" for event in events]
    return [(event.task_id, event.user_id, event.reason) for event in events]


async def test_a_follower_that_was_away_learns_what_was_erased_and_why(
    publisher: Publisher, worker: Worker, settings: Settings
) -> None:
    live: asyncio.Queue[Msg] = asyncio.Queue()
    await publisher.nc.subscribe("erased.*", cb=live.put)
    # Given a follower that has read all there is, and is gone
    assert await read_by_a_follower(publisher, 0) == []
    # And three tasks, one with a time after which nothing may stay
    await completed(publisher, "deleted", user_id="bert")
    await completed(publisher, "annas", user_id="anna")
    await completed(publisher, "short", user_id=7, keep_seconds=60)
    # When a client deletes the first one, then the user of the second one, and the time of the third one is over
    async with Client(settings) as client:
        await client.delete("deleted")
        assert await client.delete_user("anna") == 1
        await let_time_pass(publisher.js, "short")
        # Then the follower learns it when it is back
        messages = await read_by_a_follower(publisher, 3)
        expected = [
            ("deleted", "bert", ErasureReason.REQUEST),
            ("annas", None, ErasureReason.USER),
            ("short", 7, ErasureReason.RETENTION),
        ]
        assert told(messages) == expected
        # And the client has the same events
        assert [(event.task_id, event.user_id, event.reason) async for event in client.erased()] == expected
    # And so had whoever listened, once
    assert [(await live.get()).subject for _ in expected] == [f"erased.{task_id}" for task_id, _, _ in expected]
    assert live.empty()
    headers = messages[0].headers or {}
    assert (headers["ce-type"], headers["ce-subject"]) == ("natscribe.erased.v1", "deleted")


async def test_an_interrupted_erasure_that_is_repeated_is_one_event(
    publisher: Publisher, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a task, and a worker that is lost when it has told followers, before the log is erased
    await completed(publisher, "t1")
    purge_events = TaskLog.purge_events

    async def lost(_: TaskLog, __: str) -> None:
        monkeypatch.setattr(TaskLog, "purge_events", purge_events)
        raise TransientError(ErrorCode.INTERNAL, "JetStream does not answer.")

    monkeypatch.setattr(TaskLog, "purge_events", lost)
    assert (await publisher.request("tasks.delete", task_id="t1"))["error"]["code"] == "internal"
    # When the deletion is repeated
    assert (await publisher.request("tasks.delete", task_id="t1"))["deleted"]
    # Then there is one event
    assert told(await read_by_a_follower(publisher, 1)) == [("t1", 7, ErasureReason.REQUEST)]


async def test_an_erasure_that_ends_before_followers_are_told_is_repeated(
    publisher: Publisher, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a task whose time is over, and a worker that is lost when everything but the log is erased
    await completed(publisher, "t1", keep_seconds=60)
    erased = worker.container.log.erased
    append = type(erased).append

    async def lost(*_: object, **__: object) -> None:
        monkeypatch.setattr(type(erased), "append", append)
        monkeypatch.setattr("app.tasks.retention.schedule.ERASE_AGAIN_AFTER_S", 0.1)
        raise TransientError(ErrorCode.INTERNAL, "JetStream does not answer.")

    monkeypatch.setattr(type(erased), "append", lost)
    monkeypatch.setattr("app.tasks.retention.schedule.ERASE_AGAIN_AFTER_S", 0.1)
    # When the erasure is repeated
    await let_time_pass(publisher.js, "t1")
    # Then followers are told
    assert told(await read_by_a_follower(publisher, 1)) == [("t1", 7, ErasureReason.RETENTION)]


async def test_a_result_that_comes_after_the_erasure_is_erased_with_an_event_of_its_own(
    publisher: Publisher,
    worker: Worker,
    hold: Hold,
) -> None:
    # Given a worker that freezes when it is about to publish a result, and its task is deleted meanwhile
    result = hold(ResultStore, "publish")
    await publisher.publish("t1")
    await result.waits.wait()
    await publisher.request("tasks.delete", task_id="t1")
    first = await read_by_a_follower(publisher, 1)
    # When the result is stored all the same
    result.may_go.set()
    # Then a follower that has read it is told once more
    assert told(first + await read_by_a_follower(publisher, 1)) == [
        ("t1", 7, ErasureReason.REQUEST),
        ("t1", None, ErasureReason.REQUEST),
    ]


async def test_the_deletion_of_a_user_removes_the_user_from_earlier_events(
    publisher: Publisher, worker: Worker, settings: Settings
) -> None:
    # Given tasks of a user, and of others whose ids look the same, that were deleted one by one
    for task_id, user in (("t1", 1), ("t2", "1"), ("t3", 1), ("t4", 2)):
        await completed(publisher, task_id, user_id=user)
        await publisher.request("tasks.delete", task_id=task_id)
    async with Client(settings) as client:
        # When the user is deleted
        await client.delete_user(1)
        # Then the events name the others alone, and still say what was erased, when and why
        events = [event async for event in client.erased()]
    assert {(event.task_id, event.user_id) for event in events} == {("t2", "1"), ("t4", 2), ("t1", None), ("t3", None)}
    assert {event.reason for event in events} == {ErasureReason.REQUEST}
    # And a follower that comes then gets each once
    assert len(await read_by_a_follower(publisher, 4)) == 4


async def test_a_user_is_removed_from_many_events_over_several_requests(
    publisher: Publisher, worker: Worker, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a service that has time for one step
    monkeypatch.setattr("app.requests.user_erasure.REPLY_WITHIN_S", 0)
    for task_id in ("t1", "t2", "t3"):
        await completed(publisher, task_id, user_id="anna")
        await publisher.request("tasks.delete", task_id=task_id)
    # When the user is deleted, then nothing names the user
    async with Client(settings) as client:
        await client.delete_user("anna")
    assert await places_with(publisher.js, worker.container.redis_of_cache, "anna") == []


@pytest.mark.parametrize("by_user", [False, True])
async def test_the_erasure_of_what_is_left_without_a_log_is_announced(
    publisher: Publisher, worker: Worker, settings: Settings, by_user: bool
) -> None:
    # Given a task whose log has expired
    await completed(publisher, "old", user_id="anna")
    await worker.container.log.purge_events("old")
    # When it is deleted, or its user
    async with Client(settings) as client:
        await (client.delete_user("anna") if by_user else client.delete("old"))
    # Then followers that still have it are told
    expected = ("old", None, ErasureReason.USER) if by_user else ("old", "anna", ErasureReason.REQUEST)
    assert told(await read_by_a_follower(publisher, 1)) == [expected]


async def test_no_event_concerns_a_later_task_of_another_user_with_the_same_id(
    publisher: Publisher, worker: Worker, settings: Settings
) -> None:
    # Given a task whose log has expired, and a later one of another user with its id
    await completed(publisher, "t1", user_id="anna")
    await worker.container.log.purge_events("t1")
    await worker.container.results.delete("t1")
    await completed(publisher, "t1", user_id="bert")
    # When the first user is deleted
    async with Client(settings) as client:
        await client.delete_user("anna")
        # Then no event tells followers to erase the task of the other
        assert [event async for event in client.erased()] == []

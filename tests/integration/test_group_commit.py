"""What is published in the same moment is stored as one batch, and nothing is lost where that is refused."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import TimeoutError as NatsTimeoutError
from nats.js import JetStreamContext
from nats.js.api import StreamConfig
from nats.js.errors import BadRequestError, NotFoundError

from app.jetstream import group_commit
from app.jetstream.group_commit import FEWEST, GroupCommit

MANY = 2 * FEWEST


@pytest.fixture(params=[True, False], ids=["batches", "no batches"])
async def stream(js: JetStreamContext, request: pytest.FixtureRequest) -> str:
    await js.add_stream(StreamConfig(name="group", subjects=["group.*"], allow_direct=True, allow_atomic=request.param))
    return "group"


@pytest.fixture
async def atomic(nc: Client, js: JetStreamContext) -> GroupCommit:
    await js.add_stream(StreamConfig(name="group", subjects=["group.*"], allow_direct=True, allow_atomic=True))
    return GroupCommit(nc, "group")


def expecting(after: int, message_id: str) -> dict[str, str]:
    return {"Nats-Expected-Last-Subject-Sequence": str(after), "Nats-Msg-Id": message_id}


def publish(
    group: GroupCommit, numbers: Sequence[int], *, after: int = 0
) -> "asyncio.Future[list[int | BaseException]]":
    return asyncio.gather(
        *(group.publish(f"group.{n}", f"body {n}".encode(), expecting(after, f"id-{n}")) for n in numbers),
        return_exceptions=True,
    )


async def stored(js: JetStreamContext, number: int) -> tuple[int | None, bytes | None, dict[str, str]]:
    message = await js.get_last_msg("group", f"group.{number}", direct=True)
    return message.seq, message.data, message.headers or {}


async def test_each_is_told_its_own_sequence(nc: Client, js: JetStreamContext, stream: str) -> None:
    # When many are published in the same moment, whether the stream takes batches or not
    sequences = await publish(GroupCommit(nc, stream), range(MANY))
    # Then each is stored once, where its publisher was told
    for number in range(MANY):
        sequence, body, _ = await stored(js, number)
        assert (sequence, body) == (sequences[number], f"body {number}".encode())
    assert (await js.stream_info(stream)).state.messages == MANY


async def test_many_are_one_batch_and_few_are_none(js: JetStreamContext, atomic: GroupCommit) -> None:
    # When so many are published that a batch pays, and then one fewer
    await publish(atomic, range(FEWEST))
    await publish(atomic, range(100, 100 + FEWEST - 1))
    # Then the first ones are of one batch
    of_batches = {(await stored(js, number))[2].get("Nats-Batch-Id") for number in range(FEWEST)}
    assert len(of_batches) == 1
    assert None not in of_batches
    # And the others of none
    assert "Nats-Batch-Id" not in (await stored(js, 100))[2]


@pytest.mark.parametrize(("limit", "value"), [("MOST", MANY - 1), ("LARGEST", 100 * MANY), ("OF_A_BATCH", 1024**2)])
async def test_what_is_too_much_for_a_batch_is_stored_one_by_one(
    js: JetStreamContext, atomic: GroupCommit, monkeypatch: pytest.MonkeyPatch, limit: str, value: int
) -> None:
    # Given more messages, or more bytes, than a batch may have, or one that with a batch's headers is too large
    monkeypatch.setattr(group_commit, limit, value)
    # When they are published in the same moment
    sequences = await publish(atomic, range(MANY))
    # Then they are stored all the same
    assert sorted(sequence for sequence in sequences if isinstance(sequence, int)) == list(range(1, MANY + 1))
    assert "Nats-Batch-Id" not in (await stored(js, 0))[2]


async def test_one_that_is_refused_takes_no_other_with_it(js: JetStreamContext, atomic: GroupCommit) -> None:
    # Given two subjects on which somebody else was faster
    for taken in (3, 4 * FEWEST - 1):
        await js.publish(f"group.{taken}", b"faster")
    # When they are published together with many others
    told = await publish(atomic, range(4 * FEWEST))
    # Then they are refused, and the others stored
    refused = [number for number, each in enumerate(told) if isinstance(each, BadRequestError)]
    assert refused == [3, 4 * FEWEST - 1]
    for number in set(range(4 * FEWEST)) - set(refused):
        assert (await stored(js, number))[:2] == (told[number], f"body {number}".encode())
    # And the next ones are a batch again
    await publish(atomic, range(100, 100 + FEWEST))
    assert "Nats-Batch-Id" in (await stored(js, 100))[2]


async def test_a_batch_whose_acknowledgement_is_lost_is_not_stored_twice(
    nc: Client, js: JetStreamContext, atomic: GroupCommit, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a batch that is stored, of which nobody hears
    request = nc.request

    async def unheard(subject: str, payload: bytes, **more: Any) -> None:
        await request(subject, payload, **more)
        monkeypatch.setattr(nc, "request", request)
        raise NatsTimeoutError

    monkeypatch.setattr(nc, "request", unheard)
    # When each publishes by itself then
    told = await publish(atomic, range(MANY))
    # Then it finds its message there, or is refused: whoever appends to a log looks whose the last entry is
    for number, each in enumerate(told):
        assert isinstance(each, BadRequestError) or (await stored(js, number))[0] == each
    assert (await js.stream_info("group")).state.messages == MANY


async def test_a_server_that_knows_no_batches_takes_none_for_one(
    nc: Client, js: JetStreamContext, atomic: GroupCommit, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a server to which the headers of a batch mean nothing, as before 2.12, and a subject that is taken
    await js.publish("group.3", b"faster")
    publish_, request, batches = nc.publish, nc.request, set[str]()

    def plain(headers: dict[str, str] | None) -> dict[str, str] | None:
        batches.update(value for name, value in (headers or {}).items() if name == "Nats-Batch-Id")
        return headers and {name: value for name, value in headers.items() if not name.startswith("Nats-Batch")}

    async def published(subject: str, payload: bytes, headers: dict[str, str] | None = None, **more: Any) -> None:
        await publish_(subject, payload, headers=plain(headers), **more)

    async def requested(subject: str, payload: bytes, headers: dict[str, str] | None = None, **more: Any) -> Msg:
        return await request(subject, payload, headers=plain(headers), **more)

    monkeypatch.setattr(nc, "publish", published)
    monkeypatch.setattr(nc, "request", requested)
    # When many are published in the same moment
    told = await publish(atomic, range(MANY))
    # Then nobody is told a sequence that is not his own
    for number, each in enumerate(told):
        assert isinstance(each, BadRequestError) or (await stored(js, number))[0] == each
    assert (await js.stream_info("group")).state.messages == MANY
    # And no batch is tried again
    await publish(atomic, range(100, 100 + MANY))
    assert len(batches) == 1


async def test_whoever_is_cancelled_takes_no_other_with_it(js: JetStreamContext, atomic: GroupCommit) -> None:
    # Given many that are published in the same moment
    publishing = [
        asyncio.create_task(atomic.publish(f"group.{n}", b"body", expecting(0, f"id-{n}"))) for n in range(MANY)
    ]
    await asyncio.sleep(0)
    # When the first one, which speaks for all, is cancelled
    publishing[0].cancel()
    told = await asyncio.gather(*publishing, return_exceptions=True)
    # Then the others are stored
    assert isinstance(told[0], asyncio.CancelledError)
    for number in range(1, MANY):
        assert (await stored(js, number))[0] == told[number]


async def test_who_is_cancelled_in_the_meantime_is_not_published_later(
    js: JetStreamContext, atomic: GroupCommit, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given many that are published together, of which one is refused, so that others have to wait
    await js.publish("group.0", b"faster")
    refused, publish_batch = asyncio.Event(), GroupCommit._publish_batch  # noqa: SLF001 -- to see the moment

    async def seen(self: GroupCommit, messages: list[Any]) -> int:
        if refused.is_set():
            await asyncio.sleep(0)
        try:
            return await publish_batch(self, messages)
        finally:
            refused.set()

    monkeypatch.setattr(GroupCommit, "_publish_batch", seen)
    publishing = [
        asyncio.create_task(atomic.publish(f"group.{n}", b"body", expecting(0, f"id-{n}"))) for n in range(2 * MANY)
    ]
    await refused.wait()
    # When the last of them is cancelled while he waits
    publishing[-1].cancel()
    await asyncio.gather(*publishing, return_exceptions=True)
    # Then his message is not there, and all others are
    assert (await js.stream_info("group")).state.messages == 2 * MANY - 1
    with pytest.raises(NotFoundError):
        await stored(js, 2 * MANY - 1)


async def test_a_stream_without_batches_is_asked_once(
    nc: Client, js: JetStreamContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a stream that was made without batches
    await js.add_stream(StreamConfig(name="group", subjects=["group.*"], allow_direct=True))
    group = GroupCommit(nc, "group")
    await publish(group, range(MANY))
    # When many more are published
    tried: list[int] = []

    async def counted(self: GroupCommit, messages: Sequence[object]) -> int:
        tried.append(len(messages))
        raise AssertionError

    monkeypatch.setattr(GroupCommit, "_publish_batch", counted)
    told = await publish(group, range(100, 100 + MANY))
    # Then no batch is tried again
    assert tried == []
    assert all(isinstance(each, int) for each in told)

"""Any bytes on any subject: never a crash, never a stuck queue, never silence."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial

import nats
import pytest
from nats.aio.client import Client
from nats.aio.subscription import Subscription
from nats.js import JetStreamContext
from natscribe import client as natscribe_client
from natscribe.jetstream.nats_py_compat import SafeConnection, tolerate_unreadable_messages
from natscribe.schemas.errors import ErrorCode
from natscribe.schemas.progress import State
from natscribe.schemas.requests import TaskStatus
from natscribe.schemas.wire import Kind
from redis.asyncio import Redis

from app.main import Worker
from app.runtime.errors import PermanentError
from app.settings import Settings
from app.tasks.queue.stored_message import StoredMessage
from tests.constants import Constants
from tests.fakes.engine import FakeEngine
from tests.integration.conftest import Publisher, StartWorker, queue_is_empty
from tests.integration.hostile import GARBAGE, HOSTILE_HEADERS, MESSAGES, QUEUES, SEED, filled, invented, publish_bytes
from tests.servers import Servers
from tests.waiting import eventually

BLOCKS = 200


async def test_whatever_is_published_ends(publisher: Publisher, worker: Worker, nc: Client) -> None:
    # Given the worst that anybody may publish
    messages = invented(QUEUES, MESSAGES)
    stolen: list[str] = []

    async def note(message: object) -> None:
        stolen.append(str(message))

    await nc.subscribe("stolen.>", cb=note)
    # When it is published
    for subject, body, extra in messages:
        await publisher.js.publish(subject, body, headers=extra or None)
    # Then the queue runs empty, and the worker lives
    await eventually(lambda: queue_is_empty(publisher.js), within=60 + MESSAGES / 20)
    assert worker.container.slots.running
    # And each message has ended: in the log of its id, or with a dead letter
    stored = [StoredMessage(subject, 0, datetime.now(UTC), extra, body) for subject, body, extra in messages]
    ids = [message.task_id for message in stored]
    for task_id in {message.task_id for message in stored if message.task_id}:
        status = TaskStatus.model_validate(await publisher.request("tasks.status", task_id=task_id))
        assert status.state.ended, status
    letters = (await publisher.js.stream_info("transcription_dead_letters")).state.messages
    assert letters >= ids.count(None)
    assert not stolen


def is_deep(body: bytes) -> bool:
    """Whether a body is nested more deeply than Python reads JSON."""
    return body.count(b"[") + body.count(b"{") > 500


LOGS = ["progress.t1", "segments.t1", "results.t1"]
OWN = [*LOGS, *(f"append.{log}" for log in LOGS), *(f"accepted.{queue}" for queue in QUEUES)]


@pytest.mark.foreign
@pytest.mark.parametrize("subject", OWN)
async def test_garbage_on_the_services_own_subjects_harms_no_other_task(
    publisher: Publisher, worker: Worker, nc: Client, redis: Redis, engine: FakeEngine, subject: str
) -> None:
    # Given a task that runs
    engine.may_go_on.clear()
    await publisher.publish("t1")
    await publisher.until("t1", State.RUNNING)
    # When the worst that anybody may publish comes where only the service publishes, and as much of it as there is room
    for _, body, extra in invented([subject], max(MESSAGES // 10, 50)):
        if not is_deep(body):
            await nc.publish(subject, body, headers=extra or None)
    await nc.publish(subject, filled(b"{", nc, {}))
    await nc.flush()
    engine.may_go_on.set()
    # Then other tasks are done, and shown
    for task_id in ("t2", "t3"):
        await publisher.publish(task_id, kind=Kind.DIARIZATION)
        await publisher.until(task_id, State.COMPLETED)
        await eventually(partial(redis.exists, f"task:{task_id}:result"))
    # And a request for the disturbed task gets a reply
    for question in ("tasks.status", "tasks.result", "tasks.delete"):
        assert isinstance(await publisher.request(question, task_id="t1"), dict)
    assert worker.container.slots.running
    assert await publisher.request("tasks.status", task_id="t2")


@pytest.mark.foreign
@pytest.mark.parametrize("of", ["progress", "segments", "results"])
async def test_a_task_continues_after_foreign_messages_in_its_log(
    publisher: Publisher, worker: Worker, engine: FakeEngine, of: str
) -> None:
    # Given a task that runs
    engine.may_go_on.clear()
    await publisher.reaching(State.RUNNING, "t1")
    # When another client writes into its log
    for garbage in GARBAGE.values():
        await publisher.js.publish(f"append.{of}.t1", garbage.replace(b"ID", b"t1"))
    engine.may_go_on.set()
    # Then it ends nevertheless, behind that, and at the first attempt
    await eventually(lambda: publisher.is_completed("t1"))
    assert (await publisher.request("tasks.status", task_id="t1"))["attempt"] == 1
    await eventually(lambda: queue_is_empty(publisher.js))


@pytest.mark.foreign
async def test_a_foreign_dead_letter_is_skipped(
    publisher: Publisher, worker: Worker, engine: FakeEngine, settings: Settings
) -> None:
    # Given junk among the dead letters, and a task that failed
    engine.fail_with = [PermanentError(ErrorCode.WORKER_LOST, "The worker died: start another one.")]
    await publisher.js.publish("append.dead_letters.transcription", b"junk")
    await publisher.publish("t1")
    await publisher.until("t1", State.FAILED)
    await eventually(lambda: queue_is_empty(publisher.js))
    # Then the dead letter of the task is found
    async with natscribe_client.Client(settings) as client:
        assert [letter.task_id async for letter in client.dead_letters()] == ["t1"]
    # And it can be replayed, and be deleted
    assert await publisher.request("dead_letters.replay", task_id="t1") == {"replayed": 1}
    await eventually(lambda: queue_is_empty(publisher.js))
    assert (await publisher.request("tasks.delete", task_id="t1"))["deleted"]


@asynccontextmanager
async def subscribed(servers: Servers, *, tolerant: bool = True) -> AsyncIterator[Subscription]:
    """Subscribe to `guarded` on a connection of its own, which must not be lost."""
    connection = SafeConnection() if tolerant else Client()
    await connection.connect(servers.nats_url)
    if tolerant:
        tolerate_unreadable_messages(connection)
    inbox = await connection.subscribe("guarded")
    await connection.flush()
    reconnects = connection.stats["reconnects"]
    yield inbox
    assert connection.stats["reconnects"] == reconnects
    await connection.close()


@pytest.mark.foreign
@pytest.mark.parametrize("head", [b"", b"NATS/1.0\r\nx: y\r\n\r\n"], ids=["without headers", "with headers"])
@pytest.mark.parametrize("space", ["\v", "\f"], ids=["vertical tab", "form feed"])
async def test_a_reply_subject_with_white_space_ends_no_connection(
    servers: Servers, nc: Client, space: str, head: bytes
) -> None:
    async with subscribed(servers) as inbox:
        # When a request names a reply subject that no library would name
        await publish_bytes(servers.nats_url, f"guarded _INBOX.a{space}b", head, b"1")
        await nc.publish("guarded", b"after it")
        # Then the connection receives it, and the next message
        first, second = [await inbox.next_msg(timeout=5) for _ in range(2)]
    assert (first.data, first.reply, second.data) == (b"1", f"_INBOX.a{space}b", b"after it")


@pytest.mark.foreign
async def test_the_message_after_any_headers_is_received(servers: Servers, nc: Client) -> None:
    print(f"{SEED=}")
    randomly = random.Random(SEED)  # noqa: S311 -- to be repeated
    async with subscribed(servers) as inbox:
        # When a connection receives any bytes for headers
        for _ in range(BLOCKS):
            begin = randomly.choice((b"", b"99\r\n", b"NATS/1.0", b"NATS/1.0 ", b"NATS/1.0\r\n"))
            head = begin + randomly.randbytes(randomly.randint(1, 30))
            await publish_bytes(servers.nats_url, "guarded", head, b"")
        await nc.publish("guarded", b"after them")
        # Then it receives them all, and the next message
        async with asyncio.timeout(10):
            while (await inbox.next_msg(timeout=5)).data != b"after them":
                pass


async def test_nats_py_still_stops_at_unreadable_headers(servers: Servers, nc: Client) -> None:
    async with subscribed(servers, tolerant=False) as inbox:
        # When a connection of the library receives headers that cannot be read
        await publish_bytes(servers.nats_url, "guarded", HOSTILE_HEADERS["no text"], b"")
        await nc.publish("guarded", b"after it")
        # Then it receives nothing any more: once it does, `tolerate_unreadable_messages` can go
        with pytest.raises(nats.errors.TimeoutError):
            await inbox.next_msg(timeout=1)


@pytest.mark.foreign
async def test_audio_under_a_name_that_is_not_utf_8_expires(
    servers: Servers,
    settings: Settings,
    constants: Constants,
    start_worker: StartWorker,
    engine: FakeEngine,
    js: JetStreamContext,
) -> None:
    # Given audio under a name that no task has, and that no request to NATS can spell
    settings.live_ttl = 3
    constants(DUPLICATE_WINDOW_S=2)
    async with start_worker(engine):
        await publish_bytes(servers.nats_url, b"live.audio.\xff\xfe", b"NATS/1.0\r\n\r\n", b"audio")
        assert (await js.stream_info("transcription_live")).state.messages == 1

        # When LIVE_TTL is over, then it is gone
        async def gone() -> bool:
            return not (await js.stream_info("transcription_live")).state.messages

        await eventually(gone)

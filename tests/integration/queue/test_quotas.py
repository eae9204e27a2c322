"""Quotas: operators give single users other limits and weights, in a bucket that the service follows."""

import asyncio
import json
from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator

import pytest
from nats.aio.client import Client
from nats.errors import Error as NatsError
from nats.js import JetStreamContext
from nats.js.api import StreamConfig
from nats.js.kv import KeyValue
from natscribe.schemas.quotas import QUOTAS_BUCKET
from structlog.testing import capture_logs

from app.runtime.cancellation import cancel_all
from app.settings import Settings
from app.storage.jetstream.key_value import key_value_stream
from app.storage.jetstream.streams import key_value_configs
from app.tasks.queue.fair_queue import Quota
from app.tasks.queue.quotas import Quotas
from app.tasks.queue.scheduler import Scheduler
from tests.fakes.engine import FakeEngine
from tests.integration.conftest import StartWorker
from tests.waiting import eventually

DEFAULT = Quota(max_running=5, max_waiting=7)


@pytest.fixture
def config(settings: Settings) -> StreamConfig:
    return next(config for config in key_value_configs(settings) if config.name == key_value_stream(QUOTAS_BUCKET))


@pytest.fixture
async def bucket(js: JetStreamContext, config: StreamConfig) -> KeyValue:
    await js.add_stream(config)
    return await js.key_value(QUOTAS_BUCKET)


@pytest.fixture
async def quotas(nc: Client) -> AsyncIterator[Quotas]:
    """Quotas that follow the bucket."""
    quotas = Quotas(nc, DEFAULT)
    running = asyncio.create_task(quotas.run())
    yield quotas
    await cancel_all([running])


def key(user_id: object) -> str:
    return urlsafe_b64encode(json.dumps(user_id, ensure_ascii=False).encode()).decode().rstrip("=")


@pytest.mark.parametrize(
    "user_id", [42, pytest.param("42", id="text"), -(2**63), "анна", "a" * 64, 'a "quoted" name', "*.>"]
)
async def test_a_user_has_the_quota_of_its_entry(bucket: KeyValue, quotas: Quotas, user_id: int | str) -> None:
    # Given an entry of a user, which leaves out one limit
    await bucket.put(key(user_id), b'{"weight": 2, "max_running": 0}')
    # Then this user has this quota, and others have the default
    await eventually(lambda: quotas.of(user_id) == Quota(2, 0, 7))
    others: list[int | str | None] = [42, "42", "anna", None]
    assert {quotas.of(other) for other in others if other != user_id} == {DEFAULT}
    # And when the entry is deleted, this user has the default, too
    await bucket.delete(key(user_id))
    await eventually(lambda: quotas.of(user_id) == DEFAULT)


async def test_a_change_is_reported_with_its_user(bucket: KeyValue, quotas: Quotas) -> None:
    changed: list[int | str] = []
    quotas.changed = changed.append
    # When entries are written, of which the second says the same as the first
    for value in (b'{"weight": 2}', b'{"weight": 2.0}', b'{"weight": 3}'):
        await bucket.put(key("anna"), value)
        await quotas.read()
    # Then two changes are reported
    assert changed == ["anna", "anna"]


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b'{"weight": 0}', "weight"),
        (b'{"weight": -1}', "weight"),
        (b'{"weight": NaN}', "weight"),
        (b'{"weight": 1e9}', "weight"),
        (b'{"max_running": "many"}', "max_running"),
        (b'{"max_waiting": -1}', "max_waiting"),
        (b'{"max_runing": 1}', "max_runing"),
        (b"5", "it is no JSON object"),
        (b"\xff", "Invalid JSON"),
    ],
)
async def test_an_invalid_entry_changes_nothing(bucket: KeyValue, quotas: Quotas, value: bytes, reason: str) -> None:
    # Given a valid entry
    await bucket.put(key("anna"), b'{"max_running": 3}')
    await eventually(lambda: quotas.of("anna").max_running == 3)
    # When invalid ones are written for this user and another one, and the bucket is read again
    with capture_logs() as logs:
        await bucket.put(key("anna"), value)
        await bucket.put(key("boris"), value)
        # Then the last valid quota holds, or the default, and both are reported
        await eventually(lambda: len(quotas.problems) == 2)
        await quotas.read()
    # And each is logged once
    assert [entry["event"] for entry in logs if "quota" in entry["event"]] == ["quota_invalid"] * 2
    assert (quotas.of("anna").max_running, quotas.of("boris")) == (3, DEFAULT)
    assert all(reason in problem.what for problem in quotas.problems)
    # And when they are corrected, nothing is reported
    for user_id in ("anna", "boris"):
        await bucket.put(key(user_id), b'{"max_running": 4}')
    await eventually(lambda: not quotas.problems)
    assert quotas.of("anna").max_running == quotas.of("boris").max_running == 4


@pytest.mark.parametrize("wrong", ["anna", "x", key(True), key(1.5), key(None), key("a" * 65), key([1])])
async def test_a_key_that_is_no_user_is_reported(bucket: KeyValue, quotas: Quotas, wrong: str) -> None:
    await bucket.put(wrong, b"{}")
    await eventually(lambda: bool(quotas.problems))
    assert [problem.what for problem in quotas.problems] == [
        f"The quota {wrong} is not valid: its key is no user id in Base64"
    ]


async def test_without_its_bucket_the_last_quotas_hold(
    bucket: KeyValue, quotas: Quotas, js: JetStreamContext, config: StreamConfig
) -> None:
    # Given a user with a quota, whose bucket is lost
    await bucket.put(key(42), b'{"max_running": 3}')
    await eventually(lambda: quotas.of(42).max_running == 3)
    await js.delete_stream(str(config.name))
    with pytest.raises(NatsError):
        await quotas.read()
    # Then the quota holds
    assert quotas.of(42).max_running == 3


async def test_quotas_are_read_before_tasks_are_scheduled(
    start_worker: StartWorker, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []
    read, schedule = Quotas.read, Scheduler.run

    async def note_read(self: Quotas) -> None:
        await read(self)
        steps.append("quotas are read")

    async def note_schedule(self: Scheduler) -> None:
        steps.append("tasks are scheduled")
        await schedule(self)

    # Given quotas that nothing but the start of a worker reads
    monkeypatch.setattr(Quotas, "run", lambda _: asyncio.Event().wait())
    monkeypatch.setattr(Quotas, "read", note_read)
    monkeypatch.setattr(Scheduler, "run", note_schedule)
    # When it has started, then it has read them before it schedules tasks
    async with start_worker(engine):
        await eventually(lambda: len(steps) == 2)
    assert steps == ["quotas are read", "tasks are scheduled"]

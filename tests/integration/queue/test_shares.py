"""Many tasks of users with weights, in all priorities: what each gets over the time, with a real worker and NATS."""

import asyncio
import json
import os
from collections import Counter

import pytest
from nats.js import JetStreamContext
from natscribe.jetstream.stream_pages import pages
from natscribe.schemas.progress import State
from natscribe.schemas.quotas import QUOTAS_BUCKET, key_of
from natscribe.schemas.wire import Priority

from app.fleet.stream_guard import provisioning
from app.settings import Settings
from tests.fakes.engine import FakeEngine
from tests.integration.conftest import Publisher, StartWorker, parsed
from tests.waiting import eventually

WEIGHTS = {"anna": 4, "boris": 2, "eve": 1}
SHARES = {Priority.HIGH: 11, Priority.NORMAL: 4, Priority.LOW: 1}  # of sixteen starts, while all wait
ROUNDS = int(os.environ.get("ROUNDS", "6"))
OF_EACH = 8 * ROUNDS  # tasks of each user and priority
STARTS = 16 * ROUNDS  # during which all users have waiting tasks of all priorities
SLOTS = 8  # tasks that run at the same time, and may report their start in another order


@pytest.mark.timeout(3600)
async def test_priorities_and_weights_have_their_shares_over_a_long_run(
    publisher: Publisher, start_worker: StartWorker, settings: Settings, js: JetStreamContext
) -> None:
    # Given users with weights, each of whom has many tasks of each priority
    await provisioning.provision(js, settings)
    quotas = await js.key_value(QUOTAS_BUCKET)
    for user, weight in WEIGHTS.items():
        await quotas.put(key_of(user), json.dumps({"weight": weight}).encode())
    for number in range(OF_EACH):
        tasks = ((user, priority) for user in WEIGHTS for priority in Priority)
        await asyncio.gather(
            *(
                publisher.publish(f"{user}-{priority}-{number}", user_id=user, priority=priority, seconds=30)
                for user, priority in tasks
            )
        )
    # When a worker has started hundreds of them

    async def started() -> list[tuple[str, ...]]:
        stored = [
            message async for page in pages(publisher.nc, "transcription_progress", "progress.*") for message in page
        ]
        events = [parsed(message) for message in stored]
        ids = dict.fromkeys(event["task_id"] for event in events if event["state"] == State.RUNNING)
        return [tuple(task_id.split("-")[:2]) for task_id in ids][:STARTS] if len(ids) >= STARTS else []

    async with start_worker(FakeEngine()):
        starts = await eventually(started, within=3000)
        await js.delete_stream("transcription_tasks")  # the others are not needed
    # Then each priority has its share of them, and within it each user
    by_priority, by_both = Counter(priority for _, priority in starts), Counter(starts)
    for priority, share in SHARES.items():
        assert by_priority[priority] == pytest.approx(STARTS * share / 16, abs=SLOTS)
        for user, weight in WEIGHTS.items():
            expected = by_priority[priority] * weight / sum(WEIGHTS.values())
            assert by_both[user, priority] == pytest.approx(expected, abs=SLOTS)
    # And so it is in each half of the run
    for half in (starts[: STARTS // 2], starts[STARTS // 2 :]):
        by_user = Counter(user for user, _ in half)
        for user, weight in WEIGHTS.items():
            assert by_user[user] == pytest.approx(len(half) * weight / sum(WEIGHTS.values()), abs=SLOTS)

"""What this service's words cost by themselves: a loop that says them, and has none of what makes them hold.

Nothing is validated, repeated, resumed, measured or logged, no handler is called, nobody is asked whose a task is: a
task is read, its four messages are stored in the service's batches, and what is stored is read and shown in Redis.
"""

import asyncio
import json
import os
import sys
from collections import defaultdict
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Final
from uuid import uuid4

import nats
from nats.aio.client import Client
from nats.aio.msg import Msg
from redis.asyncio import Redis

from app.jetstream import provisioning, streams
from app.jetstream.group_commit import GroupCommit
from app.jetstream.pull_inbox import PullInbox
from app.keys import redis_keys
from app.keys.projection import KEEP
from app.keys.projector import EVENTS, GATHER, LINGER
from app.log import cloud_events
from app.log.entry import Facts
from app.settings import Settings
from schemas import subjects
from schemas.wire import Kind, Priority

RESULTS: Final = 100  # at once: they are small here
ROUNDS: Final = 4  # side by side: one works while another waits for the disk; eight are no quicker
READY: Final = "ready"
LANE: Final = (Kind.TRANSCRIPTION, Priority.NORMAL)


class BareQueue:
    """Says the words of tasks that it is handed, and shows them."""

    def __init__(self, client: Client, redis: Redis, settings: Settings) -> None:
        names = streams.names(settings)
        self._redis = redis
        self._events, self._results = GroupCommit(client, names.progress), GroupCommit(client, names.results)
        self._stored_events = PullInbox(client, names.progress, names.progress_projection)
        self._stored_results = PullInbox(client, names.results, names.results_projection)
        self._queued = defaultdict[str, asyncio.Future[asyncio.Task[int]]](asyncio.get_running_loop().create_future)

    async def announce(self, copy: Msg) -> None:
        """Say `queued`."""
        task_id, headers = _task_id(copy), copy.headers or {}
        facts = _facts(copy, headers["Nats-Subject"], int(headers["Nats-Sequence"]), datetime.now(UTC))
        saying = asyncio.create_task(self._say(task_id, "queued", 1, facts, after=0))
        self._queued[task_id].set_result(saying)

    async def show(self) -> None:
        """Show in Redis what is stored until cancelled."""
        await asyncio.gather(
            _follow(self._stored_events, EVENTS, self._show_events),
            _follow(self._stored_results, RESULTS, self._show_results),
        )

    async def work_on(self, task: Msg) -> None:
        """Say `running`, the result, and `completed`."""
        task_id, stored = _task_id(task), task.metadata
        facts = _facts(task, task.subject, stored.sequence.stream, stored.timestamp)
        queued = await self._queued[task_id]
        del self._queued[task_id]
        running = await self._say(task_id, "running", 2, facts, after=await queued)
        body: dict[str, object] = {
            "schema_version": 1,
            "task_id": task_id,
            "kind": LANE[0],
            "text": "",
            "segments": [],
            "language": None,
        }
        await self._results.publish(
            subjects.append_to(subjects.results(task_id)), _json(body), _headers("results", task_id, facts, after=0)
        )
        await self._say(task_id, "completed", 3, facts, after=running)

    async def _say(self, task_id: str, state: str, sequence: int, facts: dict[str, str], *, after: int) -> int:
        body: dict[str, object] = {
            "schema_version": 1,
            "task_id": task_id,
            "kind": LANE[0],
            "state": state,
            "progress": 100 if state == "completed" else 0,
            "attempt": 1,
            "max_attempts": 3,
            "sequence": sequence,
            "time": datetime.now(UTC).isoformat(),
        }
        headers = _headers("progress", task_id, facts, after=after)
        return await self._events.publish(subjects.append_to(subjects.progress(task_id)), _json(body), headers)

    async def _show_events(self, messages: list[Msg]) -> None:
        writing = self._redis.pipeline(transaction=False)
        for message in {message.subject: message for message in messages}.values():
            event = json.loads(message.data)
            writing.set(redis_keys.info(event["task_id"]), message.data, ex=KEEP)
            writing.set(redis_keys.progress(event["task_id"]), event["progress"], ex=KEEP)
        await writing.execute()

    async def _show_results(self, messages: list[Msg]) -> None:
        writing = self._redis.pipeline(transaction=False)
        for message in messages:
            writing.set(redis_keys.result(_task_id(message)), message.data, ex=KEEP)
        await writing.execute()


async def _follow(inbox: PullInbox, at_once: int, show: Callable[[list[Msg]], Awaitable[None]]) -> None:
    while True:
        messages = await inbox.ask(at_once) or await inbox.ask(1, within=LINGER)
        await show(messages)
        for message in messages:
            await message.ack()
        if len(messages) < at_once:
            await asyncio.sleep(GATHER)


def _json(body: dict[str, object]) -> bytes:
    return json.dumps(body, separators=(",", ":")).encode()


def _task_id(message: Msg) -> str:
    return str(json.loads(message.data)["task_id"])


def _facts(message: Msg, subject: str, sequence: int, created_at: datetime) -> dict[str, str]:
    return Facts(None, sequence, subject, created_at).headers() | {"Natscribe-Task": message.data.decode()}


def _headers(what: str, task_id: str, facts: dict[str, str], *, after: int) -> dict[str, str]:
    attributes = cloud_events.headers(what, "natscribe/bare", uuid4().hex, task_id=task_id)
    return attributes | facts | {"Nats-Expected-Last-Subject-Sequence": str(after)}


async def _work(lane: PullInbox, queue: BareQueue, at_once: int) -> None:
    async def work_on(task: Msg) -> None:
        await queue.work_on(task)
        await task.ack()

    while True:
        tasks = await lane.ask(at_once) or await lane.ask(1, within=LINGER)
        await asyncio.gather(*map(work_on, tasks))


def tell_ready() -> None:
    """Say to whoever measures that tasks are heard."""
    sys.stdout.write(READY)
    sys.stdout.flush()


async def main() -> None:
    """Work until the process is ended."""
    at_once = int(os.environ["AT_ONCE"])
    settings = Settings(_env_file=None)
    names = streams.names(settings)
    client, redis = await nats.connect(settings.nats_url), Redis.from_url(settings.redis_url)
    await provisioning.provision(client.jetstream(), settings)
    queue = BareQueue(client, redis, settings)
    await client.subscribe(subjects.ALL_ACCEPTED, cb=queue.announce)
    await client.flush()
    tell_ready()
    rounds = min(at_once, ROUNDS)
    lanes = [PullInbox(client, names.tasks, names.lane(*LANE)) for _ in range(rounds)]
    await asyncio.gather(*(_work(lane, queue, at_once // rounds) for lane in lanes), queue.show())


if __name__ == "__main__":
    asyncio.run(main())

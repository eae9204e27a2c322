"""All that is measured with tasks in which there is nothing to do, in one shape: ours, and the peers'."""

import asyncio
import json
import secrets
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Protocol

from nats.js import JetStreamContext

from benchmarks.bare_queue import READY
from benchmarks.caller import Caller
from benchmarks.peers.registry import PEERS, Peer, Shape, installed
from benchmarks.service import NO_OP, serving
from benchmarks.stack import READY_WITHIN, Child, Stack, python
from schemas import subjects
from schemas.wire import Kind, Priority

OURS = "this service"
BARE = "a bare loop that says the same words"
BARE_FASTSTREAM = "FastStream alone, saying the same words"
SAYS_NO_MORE = (
    "nothing is repeated, resumed, measured or logged, nobody is asked whose a task is; messages a third shorter"
)
BARES = (
    (
        BARE,
        256,  # more of them, or fewer, are no quicker
        "nats-py, redis-py and this service's own batches",
        python("benchmarks.bare_queue"),
    ),
    (
        BARE_FASTSTREAM,
        64,
        "the same, but FastStream's own pull subscriber has the tasks worked on, and reads the two messages of each",
        python("faststream", "run", "benchmarks.bare_faststream:app"),
    ),
)
PUBLISHED_AT_ONCE = 100
WARM_UP, IDLE = 10, 0.02  # tasks; seconds between tasks: as the peers are asked


class Queue(Protocol):
    """A queue with workers that have nothing to do in their tasks."""

    @property
    def name(self) -> str:
        """What it is called in the table."""
        ...

    @property
    def usual(self) -> int:
        """Tasks at once in a process, where nothing else is said."""
        ...

    @property
    def promise(self) -> str:
        """What it stores, and when it acknowledges."""
        ...

    @property
    def scales(self) -> bool:
        """Whether several processes share the tasks."""
        ...

    @property
    def installed(self) -> bool:
        """Whether it can be run here."""
        ...

    def working(self, stack: Stack, shape: Shape) -> AbstractAsyncContextManager[list[Child]]:
        """Run its workers."""
        ...

    async def publish(self, stack: Stack, count: int) -> None:
        """Publish so many tasks."""
        ...

    async def ended(self, stack: Stack, published: int) -> int:
        """How many have ended, all that is promised being stored."""
        ...

    async def starts(self, stack: Stack, count: int) -> list[float]:
        """Seconds from the publication of each of so many tasks to its start, one after the other."""
        ...


class Ours:
    """This service with a transcriber that has nothing to do."""

    name = OURS
    usual = 64
    promise = "three events in the task's log and the result in JetStream; state, progress and result in Redis"
    scales = True
    installed = True

    @asynccontextmanager
    async def working(self, stack: Stack, shape: Shape) -> AsyncIterator[list[Child]]:
        """Run workers."""
        async with serving(stack, NO_OP, workers=shape.processes, quick_tasks_at_once=shape.at_once) as child:
            yield [child]

    async def publish(self, stack: Stack, count: int) -> None:
        """Publish tasks whose ids are new."""
        await publish(stack.nats.jetstream(), count)

    async def ended(self, stack: Stack, published: int) -> int:
        """Count the tasks whose result and last state are both in Redis, which is where they come last."""
        results = [key async for key in stack.redis.scan_iter("task:*:result", count=10 * published)]
        if len(results) < published:
            return len(results)
        states = await stack.redis.mget([key.replace(b":result", b":info") for key in results])
        return sum(b'"state":"completed"' in state for state in states if state is not None)

    async def starts(self, stack: Stack, count: int) -> list[float]:
        """Until another client has heard `running`."""
        return await starts(Caller(stack.nats), count)


class Bare(Ours):
    """The same words by a program that does nothing else."""

    scales = False

    def __init__(self, name: str, usual: int, promise: str, command: list[str]) -> None:
        self.name, self.usual, self.promise = name, usual, f"{promise}; {SAYS_NO_MORE}"
        self._command = command

    @asynccontextmanager
    async def working(self, stack: Stack, shape: Shape) -> AsyncIterator[list[Child]]:
        """Run it."""
        async with stack.running(self._command, {"AT_ONCE": str(shape.at_once)}) as child:

            async def is_ready() -> bool:
                return READY in child.log.read_text()

            await child.until(is_ready, within=READY_WITHIN)
            yield [child]


class Theirs:
    """A peer."""

    scales = True

    def __init__(self, peer: Peer) -> None:
        self._peer = peer
        self.name, self.usual, self.promise = peer.name, peer.usual, peer.promise
        self.installed = installed(peer.home)

    @asynccontextmanager
    async def working(self, stack: Stack, shape: Shape) -> AsyncIterator[list[Child]]:
        """Run its own command for workers."""
        copies = shape.processes if self._peer.one_process_a_command else 1
        command, environment = self._peer.command(shape), self._peer.environment(stack, shape)
        async with AsyncExitStack() as running:
            yield [await running.enter_async_context(stack.running(command, environment)) for _ in range(copies)]

    async def publish(self, stack: Stack, count: int) -> None:
        """Publish with its own library."""
        await self._ask(stack, "publish", count)

    async def ended(self, stack: Stack, published: int) -> int:
        """Count what its result backend holds."""
        return await self._peer.ended(stack, published)

    async def starts(self, stack: Stack, count: int) -> list[float]:
        """Until the function begins."""
        delays: list[float] = json.loads(await self._ask(stack, "starts", count))
        return delays

    async def _ask(self, stack: Stack, what: str, count: int) -> str:
        command = python(self._peer.module, what, str(count), interpreter=self._peer.python)
        return await stack.output(command, self._peer.environment(stack, Shape(1, self.usual)))


def queues(*, peers: bool) -> list[Queue]:
    """Ours first, then what its words cost by themselves."""
    return [Ours(), *(Bare(*each) for each in BARES), *(Theirs(peer) for peer in PEERS if peers)]


async def publish(js: JetStreamContext, count: int, priority: Priority = Priority.NORMAL) -> None:
    """Publish no-op tasks to the service."""
    for first in range(0, count, PUBLISHED_AT_ONCE):
        await asyncio.gather(*(_publish(js, priority) for _ in range(min(PUBLISHED_AT_ONCE, count - first))))


async def _publish(js: JetStreamContext, priority: Priority) -> None:
    task_id = secrets.token_hex(8)
    task = {"task_id": task_id, "audio_file_id": "none", "user_id": 1}
    subject = subjects.tasks(Kind.TRANSCRIPTION, priority)
    await js.publish(subject, json.dumps(task).encode(), headers={"Nats-Msg-Id": task_id})


async def starts(caller: Caller, count: int, priority: Priority = Priority.NORMAL) -> list[float]:
    """Seconds from publication to the first `running`, one task after the other."""
    delays = []
    for _ in range(WARM_UP + count):
        delays.append((await caller.run("none", priority=priority)).running)
        await asyncio.sleep(IDLE)
    return delays[WARM_UP:]

"""Missed tasks: what was stored while no worker heard of it is read off the queue, so that it, too, is known."""

import asyncio
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import Final

import structlog
from nats.aio.client import Client
from nats.errors import Error as NatsError
from nats.js.api import RawStreamMsg

from app.errors import TransientError
from app.jetstream.outages import Outages
from app.jetstream.stream_pages import page
from app.log.entry import TASKS
from app.queue.accepted_tasks import AcceptedTask, AcceptedTasks
from app.queue.priorities import QueueReader
from schemas import subjects
from schemas.stream_names import StreamNames
from schemas.wire import Kind, Priority

MOST: Final = 10_000  # tasks of a lane, the first that wait: as many as a lane takes as it comes
AT_ONCE: Final = 50  # tasks
AGAIN_AFTER: Final = 60.0  # seconds
LOOK_EVERY: Final = 0.5  # seconds
RETRY_AFTER: Final = 2.0  # seconds

log = structlog.get_logger()


class MissedTasks:
    """Opens the logs of tasks that wait without one: at the start, after each outage, and now and then.

    What another worker heard and did not open before it was lost nobody announces again. `must_wait` says whether
    tasks have to wait for this worker.
    """

    def __init__(  # noqa: PLR0913 -- what is missed is read off the queue, by lanes, when it is time
        self,
        nats: Client,
        names: StreamNames,
        lanes: QueueReader,
        accepted_tasks: AcceptedTasks,
        outages: Outages,
        *,
        must_wait: Callable[[], bool],
    ) -> None:
        self._nats = nats
        self._stream = names.tasks
        self._lanes = lanes
        self._accepted_tasks = accepted_tasks
        self._outages = outages
        self._must_wait = must_wait
        self._looked_up_to: dict[str, int] = {}  # of each lane, since the last outage: stream sequences

    async def run(self) -> None:
        """Open them until cancelled."""
        while True:
            try:
                for priority in Priority:
                    for kind in Kind:
                        await self._open(kind, priority)
            except (NatsError, TransientError) as error:
                log.warning("tasks_unopened", error=str(error) or type(error).__name__)
                await asyncio.sleep(RETRY_AFTER)
                continue
            except Exception:
                log.exception("tasks_unopened")  # whoever picks them up opens their logs
            await self._rest()

    async def _rest(self) -> None:
        """Wait for the end of an outage, in which anything may have been missed, or for a while."""
        with suppress(TimeoutError):
            async with asyncio.timeout(AGAIN_AFTER):
                await self._outages.another()
                self._looked_up_to.clear()

    async def _open(self, kind: Kind, priority: Priority) -> None:
        """Open what waits in one lane, a few at once; others get three times as much of the worker as this takes."""
        loop, subject = asyncio.get_running_loop(), subjects.tasks(kind, priority)
        settled = (await self._lanes.consumer((kind, priority))).ack_floor
        at, read = max(settled.stream_seq if settled else 0, self._looked_up_to.get(subject, 0)), 0
        while read < MOST:
            await self._until_busy()
            began = loop.time()
            found = await page(self._nats, self._stream, subject, start=at + 1, count=AT_ONCE)
            if not found:
                return
            await self._accepted_tasks.open(list(_tasks(kind, found)))
            self._looked_up_to[subject] = at = found[-1].seq or at + 1
            read += len(found)
            await asyncio.sleep(3 * (loop.time() - began))

    async def _until_busy(self) -> None:
        """Wait until others have to wait: else what is there is picked up soon, and whoever does that opens its log."""
        while not self._must_wait():  # noqa: ASYNC110 -- nobody tells how long
            await asyncio.sleep(LOOK_EVERY)


def _tasks(kind: Kind, messages: Iterable[RawStreamMsg]) -> Iterator[AcceptedTask]:
    for message in messages:
        with suppress(ValueError):  # no task: whoever picks it up says so
            task = TASKS[kind].validate_json(message.data or b"")
            yield AcceptedTask(task, message.subject or "", message.seq or 0)

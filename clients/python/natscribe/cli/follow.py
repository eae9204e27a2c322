"""Shows tasks on the screen until they end."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

from natscribe.cli.display import Display, Event
from natscribe.client import Client, ClientError, NoWorkerError
from natscribe.schemas.progress import ProgressEvent, State

POSITION_EVERY_S = 3.0  # the position of a waiting task is requested at this interval: no event reports its changes
_ASKING_AT_ONCE = 8  # if more tasks are followed, the position of each is requested less often


async def follow(  # noqa: PLR0913 -- what and where
    client: Client,
    display: Display,
    task_id: str,
    label: str,
    *,
    tasks: int = 1,
    events: AsyncGenerator[Event] | None = None,
) -> bool:
    """Show a task until it ends; return whether it was completed.

    `tasks` is how many tasks are followed at once. `events` are those of the task; None: the client reads them.
    """
    last: ProgressEvent | None = None
    waiting = _WaitingTask(client, display, task_id, label, POSITION_EVERY_S * max(1.0, tasks / _ASKING_AT_ONCE))
    waiting.begin()
    try:
        async with aclosing(events or client.follow(task_id)) as found:
            async for event in found:
                display.show(label, event)
                if isinstance(event, ProgressEvent):
                    last = event
                    await waiting.end()
                    if event.state is State.QUEUED:
                        waiting.begin()
    finally:
        await waiting.end()
    return last is not None and last.state is State.COMPLETED


class _WaitingTask:
    """A followed task: while it waits, its position is requested every few seconds."""

    def __init__(self, client: Client, display: Display, task_id: str, label: str, every_s: float) -> None:
        self._client = client
        self._display = display
        self._task_id = task_id
        self._label = label
        self._every_s = every_s
        self._asking: asyncio.Task[None] | None = None

    def begin(self) -> None:
        self._asking = asyncio.create_task(self._ask())

    async def end(self) -> None:
        asking, self._asking = self._asking, None
        if asking is not None:
            asking.cancel()
            await asyncio.wait([asking])  # `await asking` raises CancelledError for its own end and for Ctrl-C alike

    async def _ask(self) -> None:
        while self._asking is asyncio.current_task():  # before Python 3.12 a request may swallow a cancellation
            await asyncio.sleep(self._every_s)
            try:
                found = await self._client.get_task_progress(self._task_id)
            except NoWorkerError as error:
                self._display.warn(self._label, f"waits: {error}")
            except ClientError:
                continue  # the client's `on_outage` has printed it
            else:
                if found.state is State.QUEUED and found.queue_position is not None:
                    self._display.position(self._label, found)

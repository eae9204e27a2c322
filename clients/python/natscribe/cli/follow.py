"""Follows tasks on a display until they end."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

from natscribe.cli.display import Display, Event
from natscribe.client import Client, ClientError, NoWorkerError
from natscribe.schemas.progress import ProgressEvent, State

POSITION_EVERY_S = 3.0  # the position of a waiting task is requested at this interval: no event reports its changes
_FREQUENT_TASKS = 8  # if more tasks are followed, the position of each is requested less often


async def follow(  # noqa: PLR0913 -- what and where
    client: Client,
    display: Display,
    task_id: str,
    label: str,
    *,
    tasks: int = 1,
    events: AsyncGenerator[Event] | None = None,
) -> bool:
    """Show the events of a task on a display until the task ends; return whether it was completed.

    `label`: the name of the task on the display. `tasks`: how many tasks the command follows concurrently. `events`:
    the events of the task; None: the function reads them with the client.
    """
    last: ProgressEvent | None = None
    poller = _PositionPoller(client, display, task_id, label, POSITION_EVERY_S * max(1.0, tasks / _FREQUENT_TASKS))
    poller.start()
    try:
        async with aclosing(events or client.follow(task_id)) as task_events:
            async for event in task_events:
                display.show(label, event)
                if isinstance(event, ProgressEvent):
                    last = event
                    await poller.stop()
                    if event.state is State.QUEUED:
                        poller.start()
    finally:
        await poller.stop()
    return last is not None and last.state is State.COMPLETED


class _PositionPoller:
    """Requests the queue position of a waiting task every `every_s` seconds, and shows it on a display."""

    def __init__(self, client: Client, display: Display, task_id: str, label: str, every_s: float) -> None:
        self._client = client
        self._display = display
        self._task_id = task_id
        self._label = label
        self._every_s = every_s
        self._polling: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._polling = asyncio.create_task(self._poll())

    async def stop(self) -> None:
        polling, self._polling = self._polling, None
        if polling is not None:
            polling.cancel()
            await asyncio.wait([polling])  # `await polling` raises CancelledError for its own end and for Ctrl-C alike

    async def _poll(self) -> None:
        while self._polling is asyncio.current_task():  # before Python 3.12 a request may swallow a cancellation
            await asyncio.sleep(self._every_s)
            try:
                status = await self._client.get_task_progress(self._task_id)
            except NoWorkerError as error:
                self._display.warn(self._label, f"waits: {error}")
            except ClientError:
                continue  # the client's `on_outage` has printed it
            else:
                if status.state is State.QUEUED and status.queue_position is not None:
                    self._display.update_position(self._label, status)

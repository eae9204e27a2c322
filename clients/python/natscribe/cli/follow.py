"""Shows tasks on the screen until they end."""

import asyncio
from contextlib import aclosing

from natscribe.cli.console import err
from natscribe.cli.show import Display
from natscribe.client import Client, ClientError, NoWorkerError
from natscribe.schemas.progress import ProgressEvent, State

ASK_EVERY_S = 3.0  # the position of a waiting task is requested at this interval: no event reports its changes


async def follow(client: Client, display: Display, task_id: str, label: str) -> bool:
    """Show a task until the task ends; return whether the task was completed."""
    last: ProgressEvent | None = None
    waiting = _Waiting(client, display, task_id, label)
    waiting.begin()
    try:
        async with aclosing(client.follow(task_id)) as events:
            async for event in events:
                display.show(label, event)
                if isinstance(event, ProgressEvent):
                    last = event
                    await waiting.end()
                    if event.state is State.QUEUED:
                        waiting.begin()
    finally:
        await waiting.end()
    return last is not None and last.state is State.COMPLETED


class _Waiting:
    """Requests the position of a task every few seconds while the task waits."""

    def __init__(self, client: Client, display: Display, task_id: str, label: str) -> None:
        self._client = client
        self._display = display
        self._task_id = task_id
        self._label = label
        self._asking: asyncio.Task[None] | None = None
        self._no_worker_shown = False

    def begin(self) -> None:
        self._asking = asyncio.create_task(self._ask())

    async def end(self) -> None:
        asking, self._asking = self._asking, None
        if asking is not None:
            asking.cancel()
            await asyncio.wait([asking])  # `await asking` raises CancelledError for its own end and for Ctrl-C alike

    async def _ask(self) -> None:
        while self._asking is asyncio.current_task():  # before Python 3.12 a request may swallow a cancellation
            await asyncio.sleep(ASK_EVERY_S)
            try:
                found = await self._client.get_task_progress(self._task_id)
            except NoWorkerError as error:
                if not self._no_worker_shown:
                    self._no_worker_shown = True
                    err.print(f"{self._label} waits: {error}", style="yellow")
            except ClientError:
                continue  # the client's `on_outage` has printed it
            else:
                if found.state is State.QUEUED and found.queue_position is not None:
                    self._display.position(self._label, found)

"""Following tasks on the screen, to their end."""

import asyncio
from contextlib import aclosing

from app.cli.console import err
from app.cli.show import Display
from app.client import Client, ClientError, NoWorkerError
from schemas.progress import ProgressEvent, State

LOOK_EVERY = 3.0  # seconds: no event tells a waiting task that those ahead of it are done


async def follow(client: Client, display: Display, task_id: str, label: str) -> bool:
    """Show a task until it ends; whether it was completed."""
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
    """Asks now and then where a task stands in the queue, for as long as it waits."""

    def __init__(self, client: Client, display: Display, task_id: str, label: str) -> None:
        self._client = client
        self._display = display
        self._task_id = task_id
        self._label = label
        self._asking: asyncio.Task[None] | None = None
        self._nobody_works = False

    def begin(self) -> None:
        self._asking = asyncio.create_task(self._ask())

    async def end(self) -> None:
        asking, self._asking = self._asking, None
        if asking is not None:
            asking.cancel()
            await asyncio.wait([asking])  # to await it would take a Ctrl-C that comes now for its own end

    async def _ask(self) -> None:
        while self._asking is asyncio.current_task():  # before Python 3.12 a request may swallow its cancellation
            await asyncio.sleep(LOOK_EVERY)
            try:
                found = await self._client.get_task_progress(self._task_id)
            except NoWorkerError as error:
                if not self._nobody_works:
                    self._nobody_works = True
                    err.print(f"{self._label} waits: {error}", style="yellow")
            except ClientError:
                continue  # an outage is told by the connection
            else:
                if found.state is State.QUEUED and found.queue_position is not None:
                    self._display.place(self._label, found)

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
    state: State | None = None
    may_wait = asyncio.Event()  # whether the task waits in the queue, as far as its events say
    may_wait.set()
    every_s = POSITION_EVERY_S * max(1.0, tasks / _FREQUENT_TASKS)
    polling = asyncio.create_task(_poll_position(client, display, task_id, label, every_s, may_wait))
    try:
        async with aclosing(events or client.follow(task_id)) as task_events:
            async for event in task_events:
                display.show(label, event)
                if isinstance(event, ProgressEvent):
                    state = event.state
                    may_wait.set() if state is State.QUEUED else may_wait.clear()
    finally:
        while not polling.done():
            polling.cancel()  # more than once: before Python 3.12 a request may swallow its cancellation
            await asyncio.wait([polling], timeout=0.1)
    return state is State.COMPLETED


async def _poll_position(  # noqa: PLR0913, PLR0917 -- what and where
    client: Client, display: Display, task_id: str, label: str, every_s: float, may_wait: asyncio.Event
) -> None:
    """While a task waits, request its queue position every `every_s` seconds, and show the position on a display.

    `may_wait`: set by the caller while the task waits in the queue, according to its events.
    """
    while await may_wait.wait():
        await asyncio.sleep(every_s)
        if not may_wait.is_set():
            continue
        try:
            status = await client.get_task_progress(task_id)
        except NoWorkerError as error:
            display.warn(label, f"waits: {error}")
        except ClientError:
            continue  # the client's `on_outage` has printed it
        else:
            if may_wait.is_set() and status.state is State.QUEUED and status.queue_position is not None:
                display.update_position(label, status)

"""What tests of the client check: the end and the state of a task, and the recordings in the bucket."""

import asyncio

from nats.js import JetStreamContext
from nats.js.errors import NotFoundError
from natscribe.client import Client, RequestFailedError
from natscribe.schemas.progress import ProgressEvent, State


async def ended(client: Client, task_id: str) -> ProgressEvent:
    async with asyncio.timeout(20):
        events = [event async for event in client.follow(task_id)]
    last = events[-1]
    assert isinstance(last, ProgressEvent)
    return last


async def is_in_state(client: Client, task_id: str, state: State) -> bool:
    try:
        return (await client.get_task_progress(task_id)).state is state
    except RequestFailedError:
        return False


async def recordings_in(js: JetStreamContext) -> list[str | None]:
    try:
        return [info.name for info in await (await js.object_store("audio")).list(ignore_deletes=True)]
    except NotFoundError:
        return []

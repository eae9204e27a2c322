"""The order in which a scheduler grants tasks, observed from outside."""

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

import nats
from nats.aio.msg import Msg
from natscribe.faststream import RECONNECT_WITHOUT_LIMIT
from natscribe.schemas import subjects

from app.settings import Settings
from app.storage.jetstream.slots import SlotPool
from app.tasks.task_log.log import TaskLog
from tests.publishers import publishers


@asynccontextmanager
async def observed_grants(settings: Settings) -> AsyncIterator[dict[int, None]]:
    """Collect the stream sequences of the granted recordings, each at its first grant; outages of NATS hide some."""
    granted = dict[int, None]()  # in order

    async def note(grant: Msg) -> None:
        granted.setdefault(int(grant.subject.rpartition(".")[2]))

    nc = await nats.connect(
        settings.nats_servers, max_reconnect_attempts=RECONNECT_WITHOUT_LIMIT, reconnect_time_wait=0.1
    )
    try:
        await nc.subscribe(subjects.ready(SlotPool.RECORDINGS, "*"), cb=note)
        yield granted
    finally:
        await nc.close()


async def sequences_of(settings: Settings, tasks: Iterable[str]) -> dict[str, int]:
    """Return the stream sequence of the message of each task that has a log."""
    nc = await nats.connect(settings.nats_servers)
    task_log = TaskLog(nc, publishers(nc), settings.stream_names, "chaos")
    records = [(task_id, await task_log.last(task_id)) for task_id in tasks]
    await nc.close()
    return {task_id: record.metadata.task_sequence for task_id, record in records if record is not None}

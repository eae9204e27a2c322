"""A task log on a NATS in memory, whose appends a test can delay."""

import asyncio
from typing import Any, TypeVar

from nats.js.api import RawStreamMsg
from natscribe.schemas import subjects
from natscribe.schemas.progress import ProgressEvent
from natscribe.schemas.transcription import SegmentsEvent

from app.settings import Settings
from app.storage.jetstream.stream_log import StreamLog
from app.storage.jetstream.streams import stream_configs
from app.tasks.task_log.log import TaskLog
from app.tasks.task_log.record import Metadata, Outcome, Record, SegmentsMessage, StoredOutcome
from tests.fakes.jetstream import Stream
from tests.fakes.nats import InMemoryNats
from tests.publishers import publishers

T = TypeVar("T")
SETTINGS = Settings(_env_file=None)
NAMES = SETTINGS.stream_names


class HeldStreamLog(StreamLog[T]):
    """Sets `stored` with each append, and returns from it when `acknowledges` is set."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.stored, self.acknowledges = asyncio.Event(), asyncio.Event()
        self.acknowledges.set()

    async def append(self, *arguments: Any, **options: Any) -> int:
        sequence = await super().append(*arguments, **options)
        self.stored.set()
        await self.acknowledges.wait()
        return sequence


class InMemoryTaskLog(TaskLog):
    """The task log of one worker; `of` returns that of another worker on the same streams."""

    def __init__(self, worker: str = "w", nats: InMemoryNats | None = None) -> None:
        self.nats = nats or InMemoryNats()
        if nats is None:
            self.nats.streams = {str(config.name): Stream(config.as_dict()) for config in stream_configs(SETTINGS)}
        client = self.nats.client
        by = publishers(client)
        super().__init__(client, by, NAMES, worker)
        self._progress = self.progress_stream = HeldStreamLog[Record](client, by.progress, NAMES.progress, Record.read)
        self._outcomes = self.outcomes_stream = HeldStreamLog[StoredOutcome](
            client, by.results, NAMES.results, StoredOutcome.read
        )

    def of(self, worker: str) -> "InMemoryTaskLog":
        return InMemoryTaskLog(worker, self.nats)

    async def push(self, event: ProgressEvent, metadata: Metadata) -> Record:
        """Append after the last record, as another writer would."""
        last = await self.last(event.task_id)
        return await self.append(event, metadata, after=last.stream_sequence if last else 0)

    def events(self, task_id: str) -> list[ProgressEvent]:
        """Return all events of a task in order."""
        return [Record.read(message).event for message in self._stored(NAMES.progress, subjects.progress(task_id))]

    def batches(self, task_id: str) -> list[SegmentsEvent]:
        """Return all messages with segments of a task in order."""
        messages = self._stored(NAMES.segments, subjects.segments(task_id))
        return [SegmentsMessage.read(message).event for message in messages]

    def outcomes(self, task_id: str) -> list[Outcome]:
        """Return the stored outcomes of a task id."""
        messages = self._stored(NAMES.results, subjects.outcomes(task_id))
        return [StoredOutcome.read(message).outcome for message in messages]

    def _stored(self, stream: str, subject: str) -> list[RawStreamMsg]:
        messages = self.nats.streams[stream].of(subject)
        return [RawStreamMsg(item.subject, item.sequence, item.body, headers=item.headers) for item in messages]

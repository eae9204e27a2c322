"""The task log: the one module that appends to a task's subjects, each time by compare-and-set."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final, TypeVar
from uuid import uuid4

from nats.aio.client import Client
from nats.errors import ConnectionReconnectingError, OutboundBufferLimitError
from nats.errors import TimeoutError as NatsTimeoutError
from nats.js.api import RawStreamMsg
from nats.js.errors import BadRequestError, NoStreamResponseError, NotFoundError, ServerError, ServiceUnavailableError
from pydantic import TypeAdapter

from app import cloud_events
from app.entry import Entry, Facts
from handlers.channels import StreamNames
from handlers.errors import OvertakenError, PassingError, UnreadableError
from handlers.ports import Result
from schemas import subjects
from schemas.errors import ErrorCode, ErrorDetail
from schemas.progress import ProgressEvent, State
from schemas.transcription import SegmentsEvent

WRONG_LAST_SEQUENCE: Final = 10071  # err_code of nats-server: somebody else has appended
AUDIO: Final = "Natscribe-Audio-Sha256"  # header: the recording that a batch of segments was heard in
GIVE_UP_AFTER: Final = 60.0  # seconds without an acknowledgement
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 2.0

RESULT: TypeAdapter[Result] = TypeAdapter(Result)
SEGMENTS: TypeAdapter[SegmentsEvent] = TypeAdapter(SegmentsEvent)
T = TypeVar("T")

_UNANSWERED = (
    NatsTimeoutError,
    NoStreamResponseError,
    ConnectionReconnectingError,
    OutboundBufferLimitError,
    ServiceUnavailableError,
    ServerError,
)


class TaskLog:
    """Appends to and reads `progress.*`, `segments.*` and `results.*` in the name of one worker."""

    def __init__(self, nats: Client, names: StreamNames, worker: str) -> None:
        self._nats = nats
        self._js = nats.jetstream()
        self._names = names
        self.worker = worker

    @property
    def source(self) -> str:
        """The `ce-source` of this worker's own events."""
        return f"natscribe/{self.worker}"

    async def last(self, task_id: str) -> Entry | None:
        """The last entry of a task's log, None where the task is unknown (UnreadableError)."""
        message = await self._last_message(self._names.progress, subjects.progress(task_id))
        if message is None:
            return None
        try:
            return Entry.read(message)
        except UnreadableError:
            return await self._last_of_our_own(task_id, up_to=message.seq or 0)

    async def _last_of_our_own(self, task_id: str, *, up_to: int) -> Entry:
        """The last entry before what somebody else has written there; the next one is appended behind that."""
        found: Entry | None = None
        async for message in self._messages(self._names.progress, subjects.progress(task_id)):
            if (message.seq or 0) > up_to:
                break
            with suppress(UnreadableError):
                found = Entry.read(message)
        if found is None:
            text = f"The log of task {task_id} holds nothing of the service's own: delete the task, use another id."
            raise UnreadableError(text)
        return replace(found, stream_sequence=up_to)

    async def append(self, event: ProgressEvent, facts: Facts, *, after: int) -> Entry:
        """Append an event behind stream sequence `after`, 0 for the first (OvertakenError, PassingError)."""
        sequence = await self._append(
            subjects.progress(event.task_id),
            event.model_dump_json().encode(),
            self._cloud_event("progress", event.task_id) | facts.headers(),
            after=after,
            stream=self._names.progress,
        )
        return Entry(event, facts, sequence)

    async def end(self, last: Entry, state: State, error: ErrorDetail | None = None) -> Entry:
        """Append the end of a task on nobody's behalf (OvertakenError, PassingError)."""
        event = ProgressEvent(
            task_id=last.event.task_id,
            kind=last.event.kind,
            state=state,
            progress=100 if state is State.COMPLETED else last.event.progress,
            attempt=last.event.attempt,
            max_attempts=last.event.max_attempts,
            sequence=last.event.sequence + 1,
            error=error,
            time=datetime.now(UTC),
        )
        return await self.append(event, last.facts, after=last.stream_sequence)

    async def append_segments(self, event: SegmentsEvent, facts: Facts, audio_sha256: str, *, after: int) -> int:
        """Append a batch of segments behind stream sequence `after` (OvertakenError, PassingError)."""
        return await self._append(
            subjects.segments(event.task_id),
            event.model_dump_json().encode(),
            self._cloud_event("segments", event.task_id) | facts.headers() | {AUDIO: audio_sha256},
            after=after,
            stream=self._names.segments,
        )

    async def append_result(self, result: Result, facts: Facts) -> None:
        """Publish the one result that a task ever has (OvertakenError, PassingError)."""
        await self._append(
            subjects.results(result.task_id),
            result.model_dump_json().encode(),
            self._cloud_event("results", result.task_id) | facts.headers(),
            after=0,
            stream=self._names.results,
        )

    async def segments(self, task_id: str) -> AsyncIterator[tuple[SegmentsEvent, str, int]]:
        """All batches of segments in order, each with its recording's SHA-256 and its stream sequence."""
        async for message in self._messages(self._names.segments, subjects.segments(task_id)):
            audio_sha256 = (message.headers or {}).get(AUDIO, "")
            yield _read(SEGMENTS, message), audio_sha256, message.seq or 0

    async def result(self, task_id: str) -> Result | None:
        """The result as it was published, None where there is none (UnreadableError)."""
        message = await self._last_message(self._names.results, subjects.results(task_id))
        return _read(RESULT, message) if message else None

    async def _messages(self, stream: str, subject: str) -> AsyncIterator[RawStreamMsg]:
        """All messages of a subject from the first on."""
        at = 1
        while True:
            try:
                message = await self._js.get_msg(stream, at, subject=subject, direct=True, next=True)
            except NotFoundError:
                return
            yield message
            at = (message.seq or 0) + 1

    async def purge_result(self, task_id: str) -> None:
        """Remove the result's message."""
        await self._js.purge_stream(self._names.results, subject=subjects.results(task_id))

    async def purge_events(self, task_id: str) -> None:
        """Remove segments and events, the events last: as long as they are there, deleting can be asked for again."""
        await self._js.purge_stream(self._names.segments, subject=subjects.segments(task_id))
        await self._js.purge_stream(self._names.progress, subject=subjects.progress(task_id))

    def _cloud_event(self, what: str, task_id: str) -> dict[str, str]:
        return cloud_events.headers(what, self.source, uuid4().hex, task_id=task_id)

    async def _last_message(self, stream: str, subject: str) -> RawStreamMsg | None:
        try:
            return await self._js.get_last_msg(stream, subject, direct=True)
        except NotFoundError:
            return None

    async def _append(self, subject: str, payload: bytes, headers: dict[str, str], *, after: int, stream: str) -> int:
        headers = headers | {"Nats-Expected-Last-Subject-Sequence": str(after)}
        try:
            return await self._publish(subject, payload, headers, stream)
        except BadRequestError as error:
            if error.err_code != WRONG_LAST_SEQUENCE:
                raise
            last = await self._last_message(stream, subject)
            if last is not None and (last.headers or {}).get("ce-id") == headers["ce-id"]:
                return last.seq or 0  # our own: only its acknowledgement was lost
            raise OvertakenError(subject) from error

    async def _publish(self, subject: str, payload: bytes, headers: dict[str, str], stream: str) -> int:
        """Publish until it is acknowledged: the same id makes the repetition harmless.

        An outage is waited for, however long: whoever took the task over in the meantime makes the append fail.
        """
        loop = asyncio.get_running_loop()
        give_up_at = loop.time() + GIVE_UP_AFTER
        pause = FIRST_PAUSE
        while True:
            try:
                return (await self._js.publish(subject, payload, stream=stream, headers=dict(headers))).seq
            except _UNANSWERED as error:
                if not self._nats.is_connected:
                    give_up_at = loop.time() + GIVE_UP_AFTER
                if loop.time() > give_up_at:
                    message = f"JetStream does not acknowledge what is published to {subject}: check the NATS server."
                    raise PassingError(ErrorCode.INTERNAL, message) from error
                await asyncio.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE)


def _read(shape: TypeAdapter[T], message: RawStreamMsg) -> T:
    try:
        return shape.validate_json(message.data or b"")
    except ValueError as error:
        text = f"The service did not write what is stored at {message.subject}: delete the task, use another id."
        raise UnreadableError(text) from error

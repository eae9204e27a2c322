"""Reads and writes the streams and buckets for the mock: it appends by compare-and-set, as the service does."""

import base64
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime, timezone
from uuid import uuid4

from nats.aio.client import Client as Nats
from nats.js.api import Header, RawStreamMsg
from nats.js.errors import NotFoundError
from pydantic import BaseModel

from natscribe.jetstream import cloud_events
from natscribe.jetstream.dead_letters import dead_letter_pages, make_dead_letter
from natscribe.jetstream.large_results import HEADROOM_BYTES, result_reference
from natscribe.jetstream.leader_reads import next_from
from natscribe.jetstream.streams import BUCKET_SCHEME, RESULTS_BUCKET
from natscribe.jetstream.task_messages import TaskMessage
from natscribe.mock.task import MOCK_WORKER, PlayedTask
from natscribe.schemas import subjects
from natscribe.schemas.dead_letters import DeadLetter
from natscribe.schemas.diarization import Turn
from natscribe.schemas.erased import Erased, ErasureReason
from natscribe.schemas.errors import ErrorDetail
from natscribe.schemas.headers import REPLAY_OF
from natscribe.schemas.kinds import Result
from natscribe.schemas.live import SpeakersEvent
from natscribe.schemas.progress import MIN_EVENT_INTERVAL_S, State
from natscribe.schemas.requests import DeadLetterChoice
from natscribe.schemas.stream_names import StreamNames
from natscribe.schemas.transcription import Segment, SegmentsEvent


class Log:
    """Writes the progress logs, segments, results and dead letters of tasks to JetStream, and deletes them."""

    def __init__(self, nats: Nats, names: StreamNames, audio_store: str) -> None:
        self._max_payload = nats.max_payload
        self.largest = self._max_payload - HEADROOM_BYTES
        self._nats = nats
        self._js = nats.jetstream()
        self._names = names
        in_bucket = audio_store.startswith(BUCKET_SCHEME)
        self._bucket = audio_store.removeprefix(BUCKET_SCHEME) if in_bucket else None

    async def append(self, task: PlayedTask, state: State, **fields: object) -> None:
        """Append a progress event to the log of a task, i.e. to its events on `progress.<task_id>`.

        `fields` are the fields of the event other than `state`.

        Raises:
            BadRequestError: The log has events that this mock has not written, e.g. of an earlier run of the mock.
        """
        event = task.next_event(state, **fields)
        await self._append(self._names.progress, subjects.progress(task.task_id), event, task)
        task.note(event)

    async def append_progress(self, task: PlayedTask, **fields: object) -> bool:
        """Append a `running` event, unless the log's last event is less than MIN_EVENT_INTERVAL_S seconds old.

        `fields`: the fields of the event other than `state`. Return whether the event was appended.

        Raises:
            EndedError: A client has cancelled or deleted the task.
        """
        last = task.last
        if last and (datetime.now(timezone.utc) - last.time).total_seconds() < MIN_EVENT_INTERVAL_S:
            return False
        async with task.appending():
            await self.append(task, State.RUNNING, **fields)
        return True

    async def append_segment(
        self, task: PlayedTask, segment: Segment | None, processed_seconds: float, mark: str | None = None
    ) -> None:
        """Append a segment, or none, to the segments stream, as the task's next segments event.

        `processed_seconds`: the time in seconds up to which the recording has been transcribed. `mark`: of the frame of
        a live task whose text is complete.
        """
        event = SegmentsEvent(
            task_id=task.task_id,
            attempt=task.last.attempt if task.last else 1,
            sequence=task.batches + 1,
            language=segment.language if segment else None,
            processed_seconds=processed_seconds,
            segments=[segment] if segment else [],
            finalized=[mark] if mark else [],
        )
        await self._append(self._names.segments, subjects.segments(task.task_id), event, task)
        task.batches += 1
        task.silent_batches += segment is None

    async def append_speakers(self, task: PlayedTask, turns: Sequence[Turn], settled_until: float) -> None:
        """Append an event that changes the speakers of earlier segments of a live task.

        `turns`: intervals of the audio, each with its new speaker. `settled_until`: the time in seconds before which
        speakers no longer change.
        """
        event = SpeakersEvent(
            task_id=task.task_id,
            sequence=task.speakers_events + 1,
            turns=list(turns),
            same=[],
            voices={},
            settled_until=settled_until,
        )
        await self._append(self._names.speakers, subjects.speakers(task.task_id), event, task)
        task.speakers_events += 1

    async def publish(self, subject: str, message: BaseModel) -> None:
        """Publish a message on a subject that belongs to no stream, e.g. a partial result."""
        body = message.model_dump_json().encode()
        await self._nats.publish(subject, body, headers={"content-type": cloud_events.JSON})

    async def next_frame(self, task_id: str, after: int) -> RawStreamMsg | None:
        """Return the first audio frame of a live task after the stream sequence `after`; None if there is none yet."""
        return await next_from(self._nats, self._names.live, subjects.live_audio(task_id), after + 1)

    async def store_result(self, task: PlayedTask, result: Result) -> None:
        """Store the result of a task as a message in the results stream.

        If the result is too large for a message, store it in the results bucket, and a reference to it in the message.
        """
        message, body = result, result.model_dump_json().encode()
        if len(body) > self.largest:
            info = await (await self._js.object_store(RESULTS_BUCKET)).put(task.task_id, body)
            message = result_reference(result, info)
        await self._append(self._names.results, subjects.results(task.task_id), message, task)
        task.result, task.result_message = result, message

    async def sha256_of(self, name: str) -> str | None:
        """Return the SHA-256 of the recording `name` in hexadecimal; None if AUDIO_STORE is not a NATS bucket.

        Raises:
            NotFoundError: The bucket has no such recording.
        """
        if self._bucket is None:
            return None
        info = await (await self._js.object_store(self._bucket)).get_info(name)
        digest = (info.digest or "").removeprefix("SHA-256=").rstrip("=")
        return base64.urlsafe_b64decode(digest + "=" * (-len(digest) % 4)).hex()

    async def delete_segments(self, task: PlayedTask) -> None:
        """Delete the segments events and speakers events of a task from their streams."""
        await self._js.purge_stream(self._names.speakers, subject=subjects.speakers(task.task_id))
        await self._js.purge_stream(self._names.segments, subject=subjects.segments(task.task_id))

    async def delete(self, task: PlayedTask, reason: ErasureReason) -> None:
        """Delete all data of a task from the streams and buckets, including its recording and its dead letters.

        `reason`: what the event `erased.<task_id>` says.
        """
        await self.delete_dead_letters(DeadLetterChoice(task_id=task.task_id))
        with suppress(NotFoundError):
            await (await self._js.object_store(RESULTS_BUCKET)).delete(task.task_id)
        if self._bucket is not None and task.sent is not None:
            with suppress(NotFoundError):
                await (await self._js.object_store(self._bucket)).delete(task.sent.audio_file_id)
        await self._js.purge_stream(self._names.results, subject=subjects.results(task.task_id))
        await self.delete_segments(task)
        await self._js.purge_stream(self._names.live, subject=subjects.live_audio(task.task_id))
        user = task.sent.user_id if task.sent is not None and reason is not ErasureReason.USER else None
        event = Erased(task_id=task.task_id, user_id=user, reason=reason, time=datetime.now(timezone.utc))
        headers = cloud_events.headers("erased", f"natscribe/{MOCK_WORKER}", uuid4().hex, task_id=task.task_id)
        subject, body = subjects.append_to(subjects.erased(task.task_id)), event.model_dump_json().encode()
        await self._js.publish(subject, body, stream=self._names.erased, headers=headers)
        await self._js.purge_stream(self._names.progress, subject=subjects.progress(task.task_id))

    async def store_dead_letter(
        self, message: TaskMessage, task_id: str | None, error: ErrorDetail, *, attempts: int
    ) -> None:
        """Store a task message that failed permanently, after `attempts` attempts, as a dead letter.

        `task_id`: None if the message contains no valid id.
        """
        letter = make_dead_letter(message, task_id, error, attempts=attempts, max_payload=self._max_payload)
        headers = cloud_events.headers("dead_letters", f"natscribe/{MOCK_WORKER}", uuid4().hex, task_id=task_id)
        subject, body = subjects.append_to(subjects.dead_letters(letter.kind)), letter.model_dump_json().encode()
        await self._js.publish(subject, body, stream=self._names.dead_letters, headers=headers)

    async def find_dead_letters(self, choice: DeadLetterChoice | None) -> list[tuple[int, DeadLetter]]:
        """Return the selected dead letters (None: all), the oldest first, each with its stream sequence."""
        pages = dead_letter_pages(self._nats, self._names.dead_letters)
        stored = [numbered async for page in pages for numbered in page]
        return [(sequence, letter) for sequence, letter in stored if choice is None or choice.chooses(letter)]

    async def delete_dead_letters(self, choice: DeadLetterChoice) -> int:
        """Delete the selected dead letters, and return the number of deleted ones."""
        letters = await self.find_dead_letters(choice)
        for sequence, _ in letters:
            await self.delete_dead_letter(sequence)
        return len(letters)

    async def delete_dead_letter(self, sequence: int) -> None:
        """Delete the dead letter with this stream sequence."""
        await self._js.delete_msg(self._names.dead_letters, sequence)

    async def replay(self, task: PlayedTask) -> None:
        """Publish the task message of a failed task again, with the header that marks it as a replay."""
        headers = task.traceparent | {REPLAY_OF: str(task.log_end)}
        await self._js.publish(task.message.subject, task.message.body, headers=headers)

    async def _append(self, stream: str, subject: str, event: BaseModel, task: PlayedTask) -> None:
        what = subject.partition(".")[0]
        headers = cloud_events.headers(what, f"natscribe/{MOCK_WORKER}", uuid4().hex, task_id=task.task_id)
        last = str(task.ends.get(subject, 0))
        expected = {Header.EXPECTED_LAST_SUBJECT_SEQUENCE.value: last} | task.traceparent
        body = event.model_dump_json().encode()
        stored = await self._js.publish(subjects.append_to(subject), body, stream=stream, headers=headers | expected)
        task.ends[subject] = stored.seq

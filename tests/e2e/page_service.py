"""Replies of a service to the page, from results that a test has made, without a worker."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import nats
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js.api import ObjectMeta, ObjectMetaOptions, ObjectStoreConfig
from natscribe import formats
from natscribe.jetstream.streams import public_streams
from natscribe.schemas import subjects
from natscribe.schemas.errors import ErrorCode, ErrorDetail, ErrorReply
from natscribe.schemas.progress import State
from natscribe.schemas.request_errors import unknown_task
from natscribe.schemas.requests import ResultRequest, TaskRequest, TaskStatus
from natscribe.schemas.task_list import ListedTask, TaskPage
from natscribe.schemas.transcription import TranscriptionResult, TranscriptionTask
from natscribe.schemas.wire import Kind, Priority
from pydantic import BaseModel

from tests.audio import tone, wav
from tests.e2e.web_page import Site
from tests.unit.formats.test_transcript_page import HOSTILE

Reply = Callable[[Msg], Awaitable[None]]


@asynccontextmanager
async def streams_of(site: Site, max_bytes: int | None = None) -> AsyncIterator[Client]:
    """A client of NATS that has made the streams of the service and its bucket, as a worker would."""
    async with await nats.connect(site.server.url) as client:
        js = client.jetstream()
        for stream in public_streams(site.settings.stream_names):
            await js.add_stream(stream)
        await js.create_object_store("audio", ObjectStoreConfig(max_bytes=max_bytes))
        yield client


def recording(folder: Path, seconds: int) -> Path:
    path = folder / "long.wav"
    path.write_bytes(wav(tone(seconds)))
    return path


def listed(number: int, name: str) -> ListedTask:
    """A task with an even number has failed, the others wait."""
    created = datetime(2026, 11, 24, tzinfo=UTC) + timedelta(minutes=number)
    return ListedTask.model_validate(
        {
            "task_id": f"t{number}",
            "kind": Kind.TRANSCRIPTION,
            "priority": Priority.NORMAL,
            "user_id": 0,
            "audio_file_id": name,
            "state": State.QUEUED if number % 2 else State.FAILED,
            "progress": 0,
            "attempt": 1,
            "error": None if number % 2 else ErrorDetail(code=ErrorCode.INTERNAL, message=HOSTILE),
            "created_at": created,
        }
    )


def completed(number: int, name: str) -> ListedTask:
    return listed(number, name).model_copy(update={"state": State.COMPLETED, "progress": 100, "error": None})


def replies(model: BaseModel) -> Reply:
    async def reply(message: Msg) -> None:
        await message.respond(model.model_dump_json().encode())

    return reply


def lists(tasks: list[ListedTask]) -> Reply:
    """The list of these tasks, also when it changes."""

    async def reply(message: Msg) -> None:
        await message.respond(TaskPage(tasks=tasks, more_before=None).model_dump_json().encode())

    return reply


def status_of(task: ListedTask, **options: object) -> TaskStatus:
    fields = {"task_id": task.task_id, "audio_file_id": task.audio_file_id or "", "user_id": 0}
    sent = TranscriptionTask.model_validate(fields | {"diarize": True, "identify": True} | options)
    return TaskStatus.model_validate(task.model_dump() | {"task": sent})


def statuses(tasks: list[ListedTask], **options: object) -> Reply:
    """The statuses of these tasks, also when the list changes."""

    async def reply(message: Msg) -> None:
        task_id = TaskRequest.model_validate_json(message.data).task_id
        task = next((task for task in tasks if task.task_id == task_id), None)
        status = ErrorReply(error=unknown_task(task_id)) if task is None else status_of(task, **options)
        await message.respond(status.model_dump_json().encode())

    return reply


async def serve_results(
    client: Client, audio: bytes, *results: TranscriptionResult, replies_with_results: bool = True, **options: object
) -> None:
    """Reply as a service that has these results of tasks with these options, each of a recording with this content."""
    tasks = [completed(number, result.audio_file_id) for number, result in enumerate(results)]
    tasks = [task.model_copy(update={"task_id": result.task_id}) for task, result in zip(tasks, results, strict=True)]
    bucket = await client.jetstream().object_store("audio")
    chunks = ObjectMeta(options=ObjectMetaOptions(max_chunk_size=256 * 1024))  # as the page uploads them
    for task in tasks:
        await bucket.put(task.audio_file_id or "", audio, chunks)
    await client.subscribe(subjects.LIST, cb=lists(tasks))
    await client.subscribe(subjects.STATUS, cb=statuses(tasks, **options))
    if replies_with_results:
        await client.subscribe(subjects.RESULT, cb=results_of(client, *results))


def results_of(client: Client, *results: TranscriptionResult) -> Reply:
    async def reply(message: Msg) -> None:
        request = ResultRequest.model_validate_json(message.data)
        (result,) = [result for result in results if result.task_id == request.task_id]
        content = formats.encoded(formats.write(result, request.format, request))
        await client.publish(message.reply, content, headers={"content-type": request.format.content_type})

    return reply

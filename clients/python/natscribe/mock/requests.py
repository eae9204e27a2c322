"""Replies to requests about the tasks whose execution the mock simulates."""

import asyncio
import re
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import datetime, timezone
from importlib.metadata import version
from typing import Any, Final, cast
from uuid import uuid4

import nats.errors
from nats.aio.msg import Msg
from pydantic import BaseModel, TypeAdapter, ValidationError

from natscribe.client import ClientError, RequestFailedError, format_result
from natscribe.formats import encoded
from natscribe.jetstream import cloud_events
from natscribe.mock.log import Log
from natscribe.mock.script import scripted_reply
from natscribe.mock.task import MOCK_WORKER, EndedError, PlayedTask
from natscribe.mock.voices import Voices
from natscribe.mock.worker_loop import Player
from natscribe.schemas import channels
from natscribe.schemas.erased import ErasureReason
from natscribe.schemas.errors import ErrorCode, ErrorDetail, ErrorReply
from natscribe.schemas.examples import WORKER_INFO
from natscribe.schemas.problems import NO_JSON_OBJECT, invalid_request, problems_of
from natscribe.schemas.progress import State
from natscribe.schemas.redaction import Redacted, RedactedEntity, RedactRequest
from natscribe.schemas.request_errors import no_dead_letter, unknown_task, without_result
from natscribe.schemas.requests import (
    Deleted,
    DeleteLettersRequest,
    LettersDeleted,
    Replayed,
    ReplayRequest,
    ResultFormat,
    ResultRequest,
    TaskRequest,
    TaskStatus,
    UserRequest,
)
from natscribe.schemas.task_list import ListRequest, TaskPage, listed
from natscribe.schemas.task_queues import MAX_LISTED_USERS, QueueOverview, QueueRequest, QueueStatus, UserLoad
from natscribe.schemas.voices import EnrollRequest, ForgetRequest, Voice
from natscribe.schemas.wire import Priority, TaskType
from natscribe.schemas.workers import WorkerInfo, WorkersRequest

_DIGITS: Final = re.compile(r"\d(?:[ -]?\d){3,}")
_PAUSES_S: Final = (0, 0.01, 0.04, 0.1, 0.15)  # before each check: a task is known shortly after its publish


File = tuple[bytes, str]  # a result in a format other than JSON, and its content type
Reply = BaseModel | File
Handler = Callable[[Any], Awaitable[Reply]]  # `Any`: the request, whose type the registry names


class RequestHandlers:
    """Replies to every kind of request that the AsyncAPI document defines."""

    def __init__(
        self, tasks: dict[str, PlayedTask], player: Player, log: Log, voices: Voices, *, audio_store: str
    ) -> None:
        self._tasks = tasks
        self._player = player
        self._log = log
        self._voices = voices
        self._audio_store = audio_store
        self._started_at = datetime.now(timezone.utc)
        handlers: dict[channels.Channel, Handler] = {
            channels.STATUS: self._status,
            channels.RESULT: self._result,
            channels.LIST: self._list,
            channels.QUEUE: self._queue,
            channels.WORKERS: self._worker,
            channels.CANCEL: self._cancel,
            channels.DELETE: self._delete,
            channels.REDACT: self._redact,
            channels.REPLAY: self._replay,
            channels.ENROLL: self._enroll,
            channels.VOICES: voices.page,
            channels.RENAME: voices.rename,
            channels.FORGET: voices.forget,
            channels.DELETE_LETTERS: self._delete_letters,
        }
        self._handlers = {
            channel.subject: (TypeAdapter[Any](cast("type[Any]", channel.message)), handle)
            for channel, handle in handlers.items()
        }

    @property
    def subjects(self) -> list[str]:
        """The subjects on which requests arrive."""
        return list(self._handlers)

    async def reply(self, message: Msg) -> tuple[bytes, dict[str, str]]:
        """Handle a request; return the body and the headers of the reply, which may contain an error."""
        reply = await self._reply(message)
        if isinstance(reply, BaseModel):
            reply = reply.model_dump_json().encode(), cloud_events.JSON
        content, content_type = reply
        correlation = (message.headers or {}).get("correlation_id") or uuid4().hex
        return content, {"content-type": content_type, "correlation_id": correlation}

    async def _reply(self, message: Msg) -> Reply:
        adapter, handle = self._handlers[message.subject]
        try:
            request = adapter.validate_json(message.data)
            task_id = getattr(request, "task_id", None)
            if task_id is not None and (error := scripted_reply(task_id)) is not None:
                return ErrorReply(error=error)
            return await handle(request)
        except ValidationError as error:
            no_json = error.errors(include_input=False)[0]["type"] == "json_invalid"
            return ErrorReply(error=invalid_request(NO_JSON_OBJECT if no_json else problems_of(error)))
        except RequestFailedError as error:
            return ErrorReply(error=ErrorDetail(code=error.code, message=error.message))
        except ClientError as error:  # the extra that writes subtitles is missing
            return ErrorReply(error=ErrorDetail(code=ErrorCode.INTERNAL, message=str(error)))
        except nats.errors.Error as error:
            advice = f"NATS refuses a request of the mock ({error}): try again in a moment."
            return ErrorReply(error=ErrorDetail(code=ErrorCode.INTERNAL, message=advice))

    async def _status(self, request: TaskRequest) -> TaskStatus:
        return self._status_of(await self._known(request.task_id))

    async def _result(self, request: ResultRequest) -> Reply:
        task = await self._known(request.task_id)
        if task.result is None or task.result_message is None:
            raise RequestFailedError(without_result(task.status()))
        if request.format is not ResultFormat.JSON:
            content = encoded(format_result(self._voices.with_names(task.result), request.format, request))
            if len(content) <= self._log.largest:
                return content, request.format.content_type
        return self._voices.with_names(task.result_message)

    async def _list(self, request: ListRequest) -> TaskPage:
        chosen = [
            task
            for task in sorted(self._tasks.values(), key=lambda task: task.cursor, reverse=True)
            if (request.user_id is None or (task.sent is not None and task.sent.user_id == request.user_id))
            and request.state in (None, task.state)
            and (request.before is None or task.cursor < request.before)
        ]
        page = chosen[: request.limit]
        more = page[-1].cursor if len(chosen) > len(page) else None
        return TaskPage(tasks=[listed(task.status()) for task in page], more_before=more)

    async def _queue(self, _: QueueRequest) -> QueueOverview:
        return QueueOverview(
            queues=[self._queue_of(queue, priority) for priority in Priority for queue in TaskType],
            dead_letters=len(await self._log.find_dead_letters(None)),
            users=self._users(),
        )

    async def _worker(self, _: WorkersRequest) -> WorkerInfo:
        fields = {
            "version": version("natscribe"),
            "started_at": self._started_at,
            "idle": self._player.is_idle,
            "worker": MOCK_WORKER,
            "models": None,
            "engine": "plays examples",
            "audio_store": self._audio_store,
        }
        return WORKER_INFO.model_copy(update=fields)

    async def _cancel(self, request: TaskRequest) -> TaskStatus:
        task = await self._known(request.task_id)
        await self._end(task)
        return self._status_of(task)

    async def _delete(self, request: TaskRequest | UserRequest) -> Deleted:
        if isinstance(request, TaskRequest):
            await self._delete_task(await self._known(request.task_id), ErasureReason.REQUEST)
            return Deleted()
        of_user = [task for task in self._tasks.values() if task.sent and task.sent.user_id == request.user_id]
        for task in of_user:
            await self._delete_task(task, ErasureReason.USER)
        for voice in self._voices.of_user(request.user_id):
            await self._voices.forget(ForgetRequest(user_id=request.user_id, voice=voice.voice))
        return Deleted(tasks=len(of_user))

    async def _redact(self, request: RedactRequest) -> Redacted:
        """Replace runs of four digits or more, which the mock takes for the first of the types in the alphabet."""
        type_, replace = min(request.redact.types), request.redact.replace
        found = list(_DIGITS.finditer(request.text))
        numbers = {digits: number for number, digits in enumerate(dict.fromkeys(match.group() for match in found), 1)}
        entities = [
            RedactedEntity(type=type_, start=match.start(), end=match.end(), score=1, number=numbers[match.group()])
            for match in found
        ]
        text = _DIGITS.sub(lambda match: replace.of(type_, numbers[match.group()]), request.text)
        return Redacted(text=text, entities=entities)

    async def _enroll(self, request: EnrollRequest) -> Voice:
        task = await self._known(request.task_id)
        if task.sent is None or task.sent.user_id != request.user_id:
            raise RequestFailedError(unknown_task(request.task_id))
        if task.state is not State.COMPLETED:
            raise RequestFailedError(without_result(task.status()))
        return self._voices.enroll(request, task.result)

    async def _replay(self, request: ReplayRequest) -> Replayed:
        count, letters = 0, await self._log.find_dead_letters(request)
        for sequence, letter in letters:
            task = self._tasks.get(letter.task_id or "")
            if task is not None and task.state is State.FAILED and task.sent is not None:
                await self._log.delete_dead_letter(sequence)
                await self._log.replay(task)
                await _queued_again(task)
                count += 1
        if request.task_id and not letters:
            raise RequestFailedError(no_dead_letter(request.task_id))
        return Replayed(replayed=count)

    async def _delete_letters(self, request: DeleteLettersRequest) -> LettersDeleted:
        return LettersDeleted(deleted=await self._log.delete_dead_letters(request))

    async def _known(self, task_id: str) -> PlayedTask:
        for pause in _PAUSES_S:
            await asyncio.sleep(pause)
            task = self._tasks.get(task_id)
            if task is not None and task.last is not None:
                await task.appended()
                return task
        raise RequestFailedError(unknown_task(task_id))

    def _status_of(self, task: PlayedTask) -> TaskStatus:
        return task.status().model_copy(update=self._player.position_of(task))

    def _queue_of(self, queue: TaskType, priority: Priority) -> QueueStatus:
        tasks = self._tasks.values()
        of_queue = [task for task in tasks if (task.message.task_type, task.message.priority) == (queue, priority)]
        waiting = [task for task in self._player.waiting() if task in of_queue]
        return QueueStatus(
            queue=queue,
            kind=queue.kind,
            priority=priority,
            waiting=len(waiting),
            scheduled=sum(task.state is State.SCHEDULED for task in of_queue),
            running=sum(self._player.is_running(task) for task in of_queue),
            oldest=waiting[0].created_at if waiting else None,
        )

    def _users(self) -> list[UserLoad]:
        """Return how many tasks of each user wait and run; `waiting_seconds` is 0, as the mock reads no durations."""
        both = self._player.waiting(), filter(self._player.is_running, self._tasks.values())
        waiting, running = (Counter(task.sent.user_id for task in tasks if task.sent) for tasks in both)
        return [
            UserLoad(user_id=user, waiting=waiting[user], running=running[user], waiting_seconds=0)
            for user, _ in (waiting + running).most_common(MAX_LISTED_USERS)
        ]

    async def _end(self, task: PlayedTask) -> None:
        """Cancel a task, unless it has already ended."""
        with suppress(EndedError):
            async with task.appending():
                await self._log.append(task, State.CANCELLED)

    async def _delete_task(self, task: PlayedTask, reason: ErasureReason) -> None:
        await self._end(task)
        self._tasks.pop(task.task_id, None)
        await self._log.delete(task, reason)


async def _queued_again(task: PlayedTask) -> None:
    """Wait for at most 0.3 s until a replayed task has left the state `failed`.

    Otherwise a client that requests the status right after the reply to its replay request would still receive
    `failed`, the state before the replay.
    """
    for pause in _PAUSES_S:
        if task.state is not State.FAILED:
            return
        await asyncio.sleep(pause)

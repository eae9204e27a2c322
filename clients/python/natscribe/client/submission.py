"""Submits a task: uploads its recording and publishes it, unless another task has the same id."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TypeVar

from nats.aio.client import Client as Nats
from pydantic import BaseModel, ValidationError
from typing_extensions import TypedDict

from natscribe.client.errors import ClientError, OptionError, RequestFailedError, TaskIdTakenError, UnreachableError
from natscribe.client.exchange import publish_task, request
from natscribe.client.stores import Store
from natscribe.schemas import subjects
from natscribe.schemas.errors import ErrorCode
from natscribe.schemas.kinds import Task
from natscribe.schemas.problems import problems_of
from natscribe.schemas.requests import TaskRequest, TaskStatus
from natscribe.schemas.transcription import TranscribeKeywords
from natscribe.schemas.wire import Input

AnyInput = TypeVar("AnyInput", bound=Input)
AnyModel = TypeVar("AnyModel", bound=BaseModel)
_STATUS_REQUESTS = 3  # for a task that was stored a moment ago and may not be registered yet


class DiarizationKeywords(TypedDict, total=False):
    """Types of the keyword arguments for the fields of `DiarizationTask`, except the recording.

    A test checks that `DiarizationTask` has the same fields.
    """

    task_id: str | None
    user_id: int | str
    min_speakers: int | None
    max_speakers: int | None
    identify: bool
    keep_seconds: int | None
    not_before: datetime | None


class TranscriptionKeywords(TranscribeKeywords, DiarizationKeywords, total=False):
    """Types of the keyword arguments for the fields of `TranscriptionTask`, except the recording.

    A test checks that `TranscriptionTask` has the same fields.
    """

    diarize: bool
    word_timestamps: bool


def build_message(kind: type[AnyModel], fields: Mapping[str, object]) -> AnyModel:
    """Validate the fields of a message, e.g. a task or a request, and return it as an object of the type `kind`.

    Raises:
        OptionError: A field is invalid.
    """
    try:
        return kind.model_validate(fields)
    except ValidationError as error:
        raise OptionError(problems_of(error)) from error


@dataclass(frozen=True)
class Submission:
    """Submits one task: uploads its recording, and publishes the task."""

    connection: Nats
    store: Store | None  # None: the recording is not uploaded
    recording: Path | str
    task: Task
    seconds: float | None = None  # duration of the recording, if known

    async def submit(self, subject: str, *, is_new: bool) -> None:
        """Upload the recording, and publish the task on `subject`, unless the service already has this task.

        `is_new`: the task id was just generated, so the service cannot have the task.

        Raises:
            TaskIdTakenError: The id belongs to another task.
            RecordingError: The recording cannot be uploaded.
            QueueFullError: The task queue is full.
            StorageFullError: NATS has no room for the recording or the task.
            UnreachableError: NATS or the store of recordings does not reply.
        """
        if not is_new and await self._exists():
            return
        was_uploaded = await self._upload()
        refusal = await self._publish(subject, is_new=is_new)
        if refusal is not None:
            if self.store is not None and was_uploaded:
                await self.store.delete(self.task.audio_file_id)
            raise refusal

    async def _upload(self) -> bool:
        """Upload the recording if it is a local file; return True if the store had no object with its name before."""
        if self.store is None or isinstance(self.recording, str):
            return False
        return await self.store.upload(self.recording, self.task.audio_file_id)

    async def _publish(self, subject: str, *, is_new: bool) -> ClientError | None:
        """Publish the task; return an error if the task is certainly not stored, or None if it is or may be stored.

        If an error is returned, the caller can delete the recording that it has uploaded for the task.

        Raises:
            TaskIdTakenError: Another task has this id.
            UnreachableError: NATS does not acknowledge the task.
        """
        try:
            stored = await publish_task(self.connection, subject, self.task, seconds=self.seconds)
        except UnreachableError:
            raise
        except ClientError as error:
            return error
        if is_new:  # nobody else uses a new id: a duplicate is this task
            return None
        exists = await self._exists(requests=1 if stored else _STATUS_REQUESTS)  # perhaps another client's task
        if exists is not False or stored:
            return None
        return TaskIdTakenError(
            f"The id {self.task.task_id} was used and deleted moments ago", "choose another id or wait two minutes"
        )

    async def _exists(self, *, requests: int = 1) -> bool | None:
        """Whether the service already has this task; None if the service does not reply or cannot process the request.

        `requests`: how often to ask before the answer is False; a task may be unknown just after it was stored.

        Raises:
            TaskIdTakenError: Another task has this id.
        """
        for _ in range(requests):
            try:
                status = await request(
                    self.connection, subjects.STATUS, TaskRequest(task_id=self.task.task_id), TaskStatus
                )
            except UnreachableError:
                return None
            except RequestFailedError as error:
                if error.code is ErrorCode.INTERNAL:
                    return None
                if error.code is not ErrorCode.NOT_FOUND:
                    raise
            else:
                await self._compare(status)
                return True
        return False

    async def _compare(self, status: TaskStatus) -> None:
        differences = _differences(status.task, self.task)
        if not differences and await self._recording_differs():
            differences = ["recording"]
        if differences:
            what = (
                f"The id {status.task_id} belongs to another task already (a {status.kind}, {status.state}; "
                f"it differs in {', '.join(differences)})"
            )
            raise TaskIdTakenError(what, "choose another id")

    async def _recording_differs(self) -> bool:
        if self.store is None or isinstance(self.recording, str):
            return False
        return await self.store.differs(self.recording, self.task.audio_file_id)


def _differences(existing: Task | None, task: Task) -> list[str]:
    if type(existing) is not type(task):
        return ["kind"]
    fields = [name for name in type(task).model_fields if getattr(existing, name) != getattr(task, name)]
    return ["recording" if name == "audio_file_id" else name for name in fields]

"""Handing a task over: nothing is uploaded for an id that is taken, and no id ever stands for two tasks."""

from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

from nats.aio.client import Client as Nats
from pydantic import ValidationError

from app.client import recordings
from app.client.errors import ClientError, OptionError, RequestFailedError, TaskIdTakenError, UnreachableError
from app.client.exchange import ask, publish_task
from schemas import subjects
from schemas.diarization import DiarizationTask
from schemas.errors import ErrorCode
from schemas.problems import first_problem
from schemas.requests import TaskRequest, TaskStatus
from schemas.transcription import TranscriptionTask

Task = TranscriptionTask | DiarizationTask
AnyTask = TypeVar("AnyTask", TranscriptionTask, DiarizationTask)
LOOKS = 3  # the log of a task that was stored a moment ago is opened soon


def make(kind: type[AnyTask], fields: Mapping[str, object]) -> AnyTask:
    """Make a task of its fields, before anything is uploaded for it.

    Raises:
        OptionError: A field is wrong.
    """
    try:
        return kind.model_validate(fields)
    except ValidationError as error:
        raise OptionError(first_problem(error)) from error


class _UnwantedError(Exception):
    """The task was refused: nobody needs its recording."""

    def __init__(self, reason: ClientError) -> None:
        super().__init__(str(reason))
        self.reason = reason


class Submission:
    """One task on its way to the service."""

    def __init__(
        self, connection: Nats, store: str, recording: Path | str, task: Task, seconds: float | None = None
    ) -> None:
        self._connection = connection
        self._js = connection.jetstream()
        self._store = store
        self._recording = recording
        self._task = task
        self._seconds = seconds

    async def hand_over(self, subject: str, *, is_new: bool) -> None:
        """Upload and publish; where this very task is known already, do nothing.

        `is_new` says that the id cannot be known. Raises TaskIdTakenError, RecordingError, QueueFullError,
        UnreachableError.
        """
        if not is_new and await self._is_known():
            return
        uploaded = await recordings.upload(self._js, self._store, self._recording, self._task.audio_file_id)
        try:
            await self._publish(subject, is_new=is_new)
        except _UnwantedError as refused:  # by any other error the task may be stored, and needs it
            if uploaded:
                await recordings.withdraw(self._js, self._store, self._task.audio_file_id)
            raise refused.reason from refused

    async def _publish(self, subject: str, *, is_new: bool) -> None:
        try:
            stored = await publish_task(self._connection, subject, self._task, seconds=self._seconds)
        except UnreachableError:
            raise
        except ClientError as error:
            raise _UnwantedError(error) from error
        if is_new:  # a duplicate can only be our own
            return
        known = await self._is_known(looks=1 if stored else LOOKS)  # somebody else may have been faster
        if known is False and not stored:
            message = (
                f"The id {self._task.task_id} was used and deleted moments ago: choose another id or wait two minutes."
            )
            raise _UnwantedError(TaskIdTakenError(message))

    async def _is_known(self, *, looks: int = 1) -> bool | None:
        """Whether this very task is known, None where nobody can tell; TaskIdTakenError if another one has its id."""
        question = TaskRequest(task_id=self._task.task_id)
        for _ in range(looks):
            try:
                known = await ask(self._connection, subjects.STATUS, question, TaskStatus)
            except UnreachableError:
                return None
            except RequestFailedError as error:
                if error.code is ErrorCode.INTERNAL:
                    return None
                if error.code is not ErrorCode.NOT_FOUND:
                    raise
            else:
                await self._compare(known)
                return True
        return False

    async def _compare(self, known: TaskStatus) -> None:
        differences = _differences(known.task, self._task)
        if not differences and await self._recording_differs():
            differences = ["recording"]
        if differences:
            message = (
                f"The id {known.task_id} stands for another task already (a {known.kind}, {known.state}; "
                f"it differs in {', '.join(differences)}): choose another id."
            )
            raise TaskIdTakenError(message)

    async def _recording_differs(self) -> bool:
        return await recordings.differs(self._js, self._store, self._recording, self._task.audio_file_id)


def _differences(known: Task | None, wanted: Task) -> list[str]:
    if type(known) is not type(wanted):
        return ["kind"]
    fields = [name for name in type(wanted).model_fields if getattr(known, name) != getattr(wanted, name)]
    return ["recording" if name == "audio_file_id" else name for name in fields]

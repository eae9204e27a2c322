"""Submits a task: uploads its recording and publishes the task, unless another task has its id."""

from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

from nats.aio.client import Client as Nats
from pydantic import ValidationError

from natscribe.client.errors import ClientError, OptionError, RequestFailedError, TaskIdTakenError, UnreachableError
from natscribe.client.exchange import ask, publish_task
from natscribe.client.stores import Store
from natscribe.schemas import subjects
from natscribe.schemas.errors import ErrorCode
from natscribe.schemas.kinds import Task
from natscribe.schemas.problems import problems_of
from natscribe.schemas.requests import TaskRequest, TaskStatus
from natscribe.schemas.wire import Input

AnyInput = TypeVar("AnyInput", bound=Input)
_TRIES = 3  # status requests for a task that was stored a moment ago and may not be registered yet


def build_message(kind: type[AnyInput], fields: Mapping[str, object]) -> AnyInput:
    """Make a task or a request from its fields.

    Raises:
        OptionError: A field is wrong.
    """
    try:
        return kind.model_validate(fields)
    except ValidationError as error:
        raise OptionError(problems_of(error)) from error


class _UnwantedError(Exception):
    """NATS or the service refuses the task, which needs no recording then."""

    def __init__(self, reason: ClientError) -> None:
        super().__init__(str(reason))
        self.reason = reason


class Submission:
    """Submits one task."""

    def __init__(
        self, connection: Nats, store: Store | None, recording: Path | str, task: Task, seconds: float | None = None
    ) -> None:
        """`store` None: the recording is not uploaded. `seconds` is its length, if known."""
        self._connection = connection
        self._store = store
        self._recording = recording
        self._task = task
        self._seconds = seconds

    async def submit(self, subject: str, *, is_new: bool) -> None:
        """Upload the recording and publish the task, unless the service already knows this task.

        `is_new`: the task id was just made, so the service cannot know it.

        Raises:
            TaskIdTakenError: The id belongs to another task.
            RecordingError: The recording cannot be uploaded.
            QueueFullError: The task queue is full.
            UnreachableError: NATS does not answer.
        """
        if not is_new and await self._is_known():
            return
        uploaded = await self._upload()
        try:
            await self._publish(subject, is_new=is_new)
        except _UnwantedError as refused:  # after any other error the task may be stored and need its recording
            if uploaded is not None:
                await uploaded.withdraw(self._task.audio_file_id)
            raise refused.reason from refused

    async def _upload(self) -> Store | None:
        """Upload the recording; return the store if it had nothing of this name before, else None."""
        if self._store is None or isinstance(self._recording, str):
            return None
        is_first = await self._store.upload(self._recording, self._task.audio_file_id)
        return self._store if is_first else None

    async def _publish(self, subject: str, *, is_new: bool) -> None:
        try:
            stored = await publish_task(self._connection, subject, self._task, seconds=self._seconds)
        except UnreachableError:
            raise
        except ClientError as error:
            raise _UnwantedError(error) from error
        if is_new:  # nobody else uses a new id: a duplicate is this task
            return
        known = await self._is_known(tries=1 if stored else _TRIES)  # another client may have used the id before
        if known is False and not stored:
            message = (
                f"The id {self._task.task_id} was used and deleted moments ago: choose another id or wait two minutes."
            )
            raise _UnwantedError(TaskIdTakenError(message))

    async def _is_known(self, *, tries: int = 1) -> bool | None:
        """Whether the service knows this task, asked up to `tries` times; None: it cannot say.

        Raises:
            TaskIdTakenError: Another task has this id.
        """
        request = TaskRequest(task_id=self._task.task_id)
        for _ in range(tries):
            try:
                known = await ask(self._connection, subjects.STATUS, request, TaskStatus)
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
                f"The id {known.task_id} belongs to another task already (a {known.kind}, {known.state}; "
                f"it differs in {', '.join(differences)}): choose another id."
            )
            raise TaskIdTakenError(message)

    async def _recording_differs(self) -> bool:
        if self._store is None or isinstance(self._recording, str):
            return False
        return await self._store.differs(self._recording, self._task.audio_file_id)


def _differences(known: Task | None, wanted: Task) -> list[str]:
    if type(known) is not type(wanted):
        return ["kind"]
    fields = [name for name in type(wanted).model_fields if getattr(known, name) != getattr(wanted, name)]
    return ["recording" if name == "audio_file_id" else name for name in fields]

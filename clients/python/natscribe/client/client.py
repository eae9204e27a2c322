"""The client: one method for each request to the service."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import TypeVar, overload

from typing_extensions import Self, Unpack

from natscribe.client.connection import OutageCallback, connect, read_settings
from natscribe.client.errors import ClientError
from natscribe.client.exchange import ask, is_json, read, request
from natscribe.client.following import Follower, follow_all, has_events
from natscribe.client.languages import language_code
from natscribe.client.live import Live
from natscribe.client.operating import dead_letters, overview
from natscribe.client.permissions import Connection
from natscribe.client.recordings import audio_file_id, choose_priority, length, new_task_id, store_of
from natscribe.client.results import DEFAULT_LIMITS, whole, written
from natscribe.client.stores import UploadCallback
from natscribe.client.submission import Submission, make
from natscribe.client.workers import workers
from natscribe.jetstream.nats_py_compat import close
from natscribe.schemas import subjects
from natscribe.schemas.dead_letters import DeadLetter
from natscribe.schemas.diarization import DiarizationTask
from natscribe.schemas.errors import ErrorCode
from natscribe.schemas.kinds import RESULT, Result, Task
from natscribe.schemas.live import LiveAudio, LiveKeywords, LiveTask
from natscribe.schemas.progress import ProgressEvent, State
from natscribe.schemas.requests import (
    Deleted,
    DeleteLettersRequest,
    LettersDeleted,
    Replayed,
    ReplayRequest,
    ResultFormat,
    ResultRequest,
    SubtitleLimits,
    TaskRequest,
    TaskStatus,
    UserRequest,
)
from natscribe.schemas.task_list import ListRequest, TaskPage
from natscribe.schemas.task_queues import QueueOverview
from natscribe.schemas.transcription import SegmentsEvent, TranscribeKeywords, TranscriptionTask
from natscribe.schemas.voices import (
    Consent,
    EnrollRequest,
    ForgetRequest,
    Forgotten,
    RenameRequest,
    Voice,
    VoicePage,
    VoicesRequest,
)
from natscribe.schemas.wire import Kind, Lane, Priority
from natscribe.schemas.workers import WorkerInfo
from natscribe.settings import Settings

__all__ = ["Client", "written"]

Deletion = TypeVar("Deletion", Deleted, LettersDeleted)


class Client:
    """Calls the service over NATS; use it as `async with Client() as client`.

    The client waits for the end of an outage. `on_outage` is called with True when NATS goes away, and with False when
    NATS is back. `on_upload` is called in another thread while a recording is uploaded, with the recording and the
    number of its bytes that were read.

    Raises:
        UnreachableError: From any method: NATS or the service does not answer.
        RequestFailedError: From any method: the service replies with an error.
        OptionError: From any method: an argument is wrong.
        SettingsError: A setting in the environment is wrong.
    """

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        on_outage: OutageCallback | None = None,
        on_upload: UploadCallback | None = None,
    ) -> None:
        self._settings = settings or read_settings()
        self._on_outage = on_outage
        self._on_upload = on_upload
        self._connected: Connection | None = None

    async def __aenter__(self) -> Self:
        self._connected = await connect(self._settings, self._on_outage)
        return self

    @property
    def _connection(self) -> Connection:
        if self._connected is None:
            message = "The client is not connected: use it as `async with Client() as client`."
            raise ClientError(message)
        return self._connected

    async def __aexit__(self, *_: object) -> None:
        await close(self._connection)

    async def create_transcription_task(  # noqa: PLR0913 -- the task's fields
        self,
        recording: Path | str,
        *,
        user_id: int | str = 0,
        task_id: str | None = None,
        diarize: bool = False,
        min_speakers: int | None = None,
        max_speakers: int | None = None,
        identify: bool = False,
        word_timestamps: bool = False,
        keep_seconds: int | None = None,
        priority: Priority | None = None,
        **options: Unpack[TranscribeKeywords],
    ) -> str:
        """Queue a transcription and return its task id.

        A `Path` is uploaded; a string is the `audio_file_id` of a stored recording. `options` are the fields of
        `TranscribeOptions`; `language` may also be a locale or a name, such as `en-US` or `English`. The default
        priority is `high` for recordings below 2 min and `low` from 30 min on, if the length is known; else `normal`. A
        second call with the same `task_id` and fields changes nothing.

        Raises:
            RecordingError: The recording cannot be read or uploaded.
            QueueFullError: The task queue is full.
            TaskIdTakenError: The task id belongs to another task.
        """
        if (language := options.get("language")) is not None:
            options["language"] = language_code(language)
        fields = await self._fields(
            recording, task_id, user_id, min_speakers=min_speakers, max_speakers=max_speakers, keep_seconds=keep_seconds
        )
        task = make(
            TranscriptionTask,
            fields | options | {"diarize": diarize, "identify": identify, "word_timestamps": word_timestamps},
        )
        return await self._submit(task, Kind.TRANSCRIPTION, recording, priority, is_new=task_id is None)

    async def create_diarization_task(  # noqa: PLR0913 -- the task's fields
        self,
        recording: Path | str,
        *,
        user_id: int | str = 0,
        task_id: str | None = None,
        min_speakers: int | None = None,
        max_speakers: int | None = None,
        identify: bool = False,
        keep_seconds: int | None = None,
        priority: Priority | None = None,
    ) -> str:
        """Queue a diarization and return its task id; see `create_transcription_task` for the rest."""
        fields = await self._fields(
            recording, task_id, user_id, min_speakers=min_speakers, max_speakers=max_speakers, keep_seconds=keep_seconds
        )
        task = make(DiarizationTask, fields | {"identify": identify})
        return await self._submit(task, Kind.DIARIZATION, recording, priority, is_new=task_id is None)

    def live(
        self,
        *,
        task_id: str | None = None,
        resume: bool = False,
        audio: LiveAudio | None = None,
        priority: Priority = Priority.NORMAL,
        **options: Unpack[LiveKeywords],
    ) -> Live:
        """Transcribe sound while people speak; use it as `async with client.live(...) as live`.

        `audio` says what the sound is: by default signed 16-bit samples, 16 kHz, one channel. `options` are the other
        fields of `LiveTask`. With `resume` the sound of the task `task_id` goes on after what is stored: `audio` is
        None or equals that of the task, and the other arguments have no effect.

        Raises:
            OptionError: A field is wrong.
            QueueFullError: From `async with`: the task queue is full.
            TaskIdTakenError: From `async with`: the task id belongs to another task, or has sound already.
        """
        if (language := options.get("language")) is not None:
            options["language"] = language_code(language)
        fields = {"task_id": task_id or new_task_id("live"), "user_id": 0, "audio": audio or LiveAudio()}
        task = make(LiveTask, fields | options)
        return Live(
            self._connection,
            self._settings,
            task.task_id if resume else task,
            audio=audio,
            priority=priority,
            is_new=task_id is None,
            wait=self.wait_for_result,
        )

    async def upload(self, recording: Path) -> str:
        """Upload a recording to AUDIO_STORE, for tasks that name it; return its `audio_file_id`.

        Raises:
            RecordingError: The recording cannot be read or uploaded.
        """
        name = await audio_file_id(self._settings, recording, new_task_id(recording))
        if (store := store_of(self._settings, self._connection, self._on_upload)) is not None:
            await store.upload(recording, name)
        return name

    async def submit(self, task: TranscriptionTask | DiarizationTask, *, priority: Priority = Priority.NORMAL) -> str:
        """Queue a task whose recording is stored, and return its task id; a second call changes nothing.

        Raises:
            QueueFullError: The task queue is full.
            TaskIdTakenError: The task id belongs to another task.
        """
        kind = Kind.TRANSCRIPTION if isinstance(task, TranscriptionTask) else Kind.DIARIZATION
        return await self._submit(task, kind, task.audio_file_id, priority, is_new=False)

    async def get_task_progress(self, task_id: str) -> TaskStatus:
        """Return the status of a task."""
        return await ask(self._connection, subjects.STATUS, make(TaskRequest, {"task_id": task_id}), TaskStatus)

    async def tasks(
        self,
        *,
        user_id: int | str | None = None,
        state: State | None = None,
        limit: int = 50,
        before: str | None = None,
    ) -> TaskPage:
        """Return the newest tasks: all, or those of a user, in a state, or both; at most 200.

        To read on, pass `more_before` of the page as `before`, until it is None.
        """
        wanted = make(ListRequest, {"user_id": user_id, "state": state, "limit": limit, "before": before})
        return await ask(self._connection, subjects.LIST, wanted, TaskPage)

    @overload
    async def get_task_result(self, task_id: str) -> Result: ...

    @overload
    async def get_task_result(
        self, task_id: str, result_format: ResultFormat, *, limits: SubtitleLimits = ...
    ) -> Result | str | bytes: ...

    async def get_task_result(
        self, task_id: str, result_format: ResultFormat = ResultFormat.JSON, *, limits: SubtitleLimits = DEFAULT_LIMITS
    ) -> Result | str | bytes:
        """Fetch the result of a task: return a `Result` for `json`, else text, or bytes for a binary format."""
        wanted = make(ResultRequest, {"task_id": task_id, "format": result_format, **limits.model_dump()})
        reply = await request(self._connection, subjects.RESULT, wanted)
        if not is_json(reply):
            return reply.data.decode() if result_format.is_text else reply.data
        message = read(RESULT, reply.data)
        result = message
        if message.object is not None:  # the result was too large for a message; the object has no names of voices
            stored = read(RESULT, await whole(self._connection, reply.data))
            result = stored.model_copy(update={"voices": message.voices})
        return result if result_format is ResultFormat.JSON else written(result, result_format, limits)

    @overload
    async def wait_for_result(self, task_id: str) -> Result: ...

    @overload
    async def wait_for_result(
        self, task_id: str, result_format: ResultFormat, *, limits: SubtitleLimits = ...
    ) -> Result | str | bytes: ...

    async def wait_for_result(
        self, task_id: str, result_format: ResultFormat = ResultFormat.JSON, *, limits: SubtitleLimits = DEFAULT_LIMITS
    ) -> Result | str | bytes:
        """Wait until a task ends, and return its result as `get_task_result` does.

        As `follow`, this waits for a task that is not known yet, perhaps for ever: `asyncio.wait_for` limits that.

        Raises:
            RequestFailedError: The task has failed or was cancelled.
        """
        async with aclosing(self.follow(task_id)) as events:
            async for _ in events:
                pass
        return await self.get_task_result(task_id, result_format, limits=limits)

    def follow(self, task_id: str) -> AsyncGenerator[ProgressEvent | SegmentsEvent]:
        """Yield all events of a task, past events first, until the task ends; wait for a task that is not known yet."""
        return Follower(self._connection, self._settings, task_id).events()

    def follow_all(self) -> AsyncGenerator[ProgressEvent]:
        """Yield the progress events of all tasks from now on. During an outage events are lost.

        Raises:
            NotAllowedError: The user may not receive these events.
        """
        return follow_all(self._connection)

    async def has_events(self, task_id: str) -> bool:
        """Whether `follow` finds events of a task already; this needs no worker."""
        return await has_events(self._connection, self._settings, task_id)

    async def cancel(self, task_id: str) -> TaskStatus:
        """Cancel a task and return the status of the task; a task that has ended stays unchanged."""
        return await ask(self._connection, subjects.CANCEL, make(TaskRequest, {"task_id": task_id}), TaskStatus)

    async def delete(self, task_id: str) -> None:
        """Delete everything of a task, including its recording."""
        await ask(self._connection, subjects.DELETE, make(TaskRequest, {"task_id": task_id}), Deleted)

    async def delete_user(self, user_id: int | str) -> int:
        """Delete all tasks of a user, including their recordings, and return the number of deleted tasks.

        Raises:
            ClientError: A request failed; some tasks may have been deleted before.
        """
        replies = self._delete_all(subjects.DELETE, make(UserRequest, {"user_id": user_id}), Deleted)
        return sum([reply.tasks async for reply in replies])

    async def enroll_voice(  # noqa: PLR0913 -- the request's fields
        self,
        task_id: str,
        speaker: str | None = None,
        *,
        name: str | None = None,
        voice: str | None = None,
        consent: Consent,
        another: bool = False,
        user_id: int | str = 0,
    ) -> Voice:
        """Say who a speaker of a completed task is: a new voice with a `name`, or one more reference of a `voice`.

        The task needs `identify`, and the speaker has to say 15 s alone; `speaker` None: the task's only one. A
        speaker who sounds like another voice of the user is an error, unless it is `another` person.
        """
        fields = {"task_id": task_id, "speaker": speaker, "name": name, "voice": voice, "another": another}
        wanted = make(EnrollRequest, fields | {"consent": consent, "user_id": user_id})
        return await ask(self._connection, subjects.ENROLL, wanted, Voice)

    async def voices(self, user_id: int | str = 0) -> AsyncIterator[Voice]:
        """Yield the voices of a user."""
        wanted = make(VoicesRequest, {"user_id": user_id})
        while True:
            page = await ask(self._connection, subjects.VOICES, wanted, VoicePage)
            for voice in page.voices:
                yield voice
            if page.more_after is None:
                return
            wanted = wanted.model_copy(update={"after": page.more_after})

    async def rename_voice(self, voice: str, name: str, *, user_id: int | str = 0) -> Voice:
        """Give a voice another name."""
        wanted = make(RenameRequest, {"user_id": user_id, "voice": voice, "name": name})
        return await ask(self._connection, subjects.RENAME, wanted, Voice)

    async def forget_voice(self, voice: str, *, user_id: int | str = 0) -> None:
        """Forget a voice: name, consent and references."""
        wanted = make(ForgetRequest, {"user_id": user_id, "voice": voice})
        await ask(self._connection, subjects.FORGET, wanted, Forgotten)

    async def replay(
        self, *, task_id: str | None = None, kind: Kind | None = None, code: ErrorCode | None = None
    ) -> int:
        """Queue the tasks of dead letters again, chosen by exactly one argument; return the number of queued tasks."""
        chosen = make(ReplayRequest, {"task_id": task_id, "kind": kind, "code": code})
        return (await ask(self._connection, subjects.REPLAY, chosen, Replayed)).replayed

    async def delete_dead_letters(
        self, *, task_id: str | None = None, kind: Kind | None = None, code: ErrorCode | None = None
    ) -> int:
        """Remove dead letters, chosen by exactly one argument; return the number of removed dead letters.

        Raises:
            ClientError: A request failed; some dead letters may have been removed before.
        """
        chosen = make(DeleteLettersRequest, {"task_id": task_id, "kind": kind, "code": code})
        replies = self._delete_all(subjects.DELETE_LETTERS, chosen, LettersDeleted)
        return sum([reply.deleted async for reply in replies])

    def dead_letters(self) -> AsyncIterator[DeadLetter]:
        """Yield the dead letters, oldest first."""
        return dead_letters(self._connection, self._settings)

    async def queue(self) -> QueueOverview:
        """Return the nine task queues, with the numbers of their waiting and running tasks, and of the dead letters."""
        return await overview(self._connection, self._settings)

    async def workers(self) -> list[WorkerInfo]:
        """Return what each worker tells of itself: its version, its model, and which servers answer it."""
        return await workers(self._connection)

    async def _delete_all(
        self, subject: str, wanted: UserRequest | DeleteLettersRequest, reply: type[Deletion]
    ) -> AsyncIterator[Deletion]:
        """Send a deletion until the service has deleted everything that was chosen, and yield the replies.

        A reply covers as much as the service can delete in time; the next request continues after that.
        """
        while True:
            done = await ask(self._connection, subject, wanted, reply)
            yield done
            if done.more_after is None:
                return
            wanted = wanted.model_copy(update={"after": done.more_after})

    async def _fields(
        self, recording: Path | str, task_id: str | None, user_id: int | str, **more: int | None
    ) -> dict[str, object]:
        """Return the fields of a new task, with an id if it has none."""
        used = task_id or new_task_id(recording)
        audio = await audio_file_id(self._settings, recording, used)
        return more | {"task_id": used, "audio_file_id": audio, "user_id": user_id}

    async def _submit(
        self, task: Task, kind: Kind, recording: Path | str, priority: Priority | None, *, is_new: bool
    ) -> str:
        seconds = await length(recording)
        store = store_of(self._settings, self._connection, self._on_upload)
        submission = Submission(self._connection, store, recording, task, seconds)
        await submission.submit(subjects.tasks(Lane(kind), priority or choose_priority(seconds)), is_new=is_new)
        return task.task_id

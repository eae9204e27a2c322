"""The client of the service: one method for each request."""

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import overload

from typing_extensions import Unpack

from natscribe.client.errors import ClientError
from natscribe.client.exchange import request_message
from natscribe.client.following import Follower, follow_all, has_events
from natscribe.client.languages import language_code
from natscribe.client.live import Live
from natscribe.client.operations import dead_letters, erased, voices, workers
from natscribe.client.quotas import delete_quota, quotas, set_quota
from natscribe.client.recordings import audio_file_id, choose_priority, new_task_id, recording_duration, upload_store
from natscribe.client.results import DEFAULT_LIMITS, download_audio, result_in
from natscribe.client.session import Session
from natscribe.client.submission import DiarizationKeywords, Submission, TranscriptionKeywords, build_message
from natscribe.schemas import subjects
from natscribe.schemas.dead_letters import DeadLetter
from natscribe.schemas.diarization import DiarizationTask
from natscribe.schemas.erased import Erased
from natscribe.schemas.errors import ErrorCode
from natscribe.schemas.kinds import Result
from natscribe.schemas.live import LiveAudio, LiveKeywords, LiveTask
from natscribe.schemas.progress import ProgressEvent, State
from natscribe.schemas.quotas import StoredQuota, UserQuota
from natscribe.schemas.redaction import Redacted, RedactRequest, Replacement
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
from natscribe.schemas.search import SEARCH, SearchFilters, SearchPage, SearchRequest
from natscribe.schemas.task_list import ListRequest, TaskPage
from natscribe.schemas.task_queues import QueueOverview, QueueRequest
from natscribe.schemas.transcription import SegmentsEvent, TranscriptionResult, TranscriptionTask
from natscribe.schemas.voices import Consent, EnrollRequest, ForgetRequest, Forgotten, RenameRequest, Voice
from natscribe.schemas.wire import Kind, Priority, TaskType
from natscribe.schemas.workers import WorkerInfo

RecordingTask = TranscriptionTask | DiarizationTask


class Client(Session):
    """Sends requests to the service over NATS; use it as `async with Client() as client`.

    During an outage of NATS the client waits and reconnects. `on_outage` is called with True when the connection is
    lost, and with False when the connection is restored. `on_upload` is called in another thread while a recording is
    uploaded, with the path of the recording and the number of bytes that have been read so far.

    Raises:
        UnreachableError: From any method: NATS or the service does not reply.
        RequestFailedError: From any method: the service replies with an error.
        OptionError: From any method: an argument is invalid.
        SettingsError: A setting in the environment is invalid.
    """

    async def create_transcription_task(
        self, recording: Path | str, *, priority: Priority | None = None, **fields: Unpack[TranscriptionKeywords]
    ) -> str:
        """Upload a recording if necessary, queue its transcription, and return the task id.

        `recording`: a `Path`, which the client uploads, or the `audio_file_id` of a stored recording. `priority`: by
        default `high` for recordings below 2 min, `low` from 30 min on, and `normal` in between or if the duration is
        unknown. `fields`: further fields of `TranscriptionTask`; by default `user_id` is 0, and the client generates
        `task_id`. `language` may also be a locale or a name, such as `en-US` or `English`. A second call with the same
        `task_id` and fields has no effect.

        Raises:
            RecordingError: The recording cannot be read or uploaded.
            QueueFullError: The task queue is full.
            StorageFullError: NATS has no room for the recording or the task.
            TaskIdTakenError: The task id belongs to another task.
        """
        if (language := fields.get("language")) is not None:
            fields["language"] = language_code(language)
        return await self._create(TranscriptionTask, recording, priority, fields)

    async def create_diarization_task(
        self, recording: Path | str, *, priority: Priority | None = None, **fields: Unpack[DiarizationKeywords]
    ) -> str:
        """Queue the diarization of a recording, and return the task id; see `create_transcription_task`."""
        return await self._create(DiarizationTask, recording, priority, fields)

    def live(
        self,
        *,
        task_id: str | None = None,
        resume: bool = False,
        audio: LiveAudio | None = None,
        priority: Priority = Priority.NORMAL,
        **options: Unpack[LiveKeywords],
    ) -> Live:
        """Return a live transcription, whose task is submitted by `async with client.live(...) as live`.

        `audio`: the format of the audio, by default signed 16-bit samples, 16 kHz, one channel. `options`: the other
        fields of `LiveTask`. `resume`: whether to continue the existing task `task_id` where its stored audio ends.
        Then `audio` must be None or the format of the existing task, and the other arguments have no effect.

        Raises:
            OptionError: An argument is invalid.
            QueueFullError: From `async with`: the task queue is full.
            TaskIdTakenError: From `async with`: the task id belongs to another task, or has audio already.
            ClientError: From `async with`: the task to be resumed is not live, its audio has ended, or has another
                format.
        """
        if (language := options.get("language")) is not None:
            options["language"] = language_code(language)
        fields = {"task_id": task_id or new_task_id("live"), "user_id": 0, "audio": audio or LiveAudio()}
        task = build_message(LiveTask, fields | options)
        task_or_id = task.task_id if resume else task
        wait, is_new = self.wait_for_result, task_id is None
        return Live(self._connection, self._settings, task_or_id, audio, priority, is_new, wait, self.voices)

    async def upload(self, recording: Path) -> str:
        """Upload a recording to AUDIO_STORE; return the `audio_file_id` by which tasks can refer to the recording.

        If AUDIO_STORE is a folder, the recording must already be in it, and is not copied.

        Raises:
            RecordingError: The recording cannot be read or uploaded.
            StorageFullError: NATS has no room for the recording.
        """
        name = await audio_file_id(self._settings, recording, new_task_id(recording))
        if (store := upload_store(self._settings, self._connection, self._on_upload)) is not None:
            await store.upload(recording, name)
        return name

    async def submit(self, task: RecordingTask, *, priority: Priority = Priority.NORMAL) -> str:
        """Queue a task whose recording is already stored, and return the task id; repeating the call has no effect.

        Raises:
            QueueFullError: The task queue is full.
            StorageFullError: NATS has no room for the task.
            TaskIdTakenError: The task id belongs to another task.
        """
        return await self._submit(task, task.audio_file_id, priority, is_new=False)

    async def get_task_progress(self, task_id: str) -> TaskStatus:
        """Return the status of a task: its state, its progress and its times."""
        return await self._request(subjects.STATUS, TaskRequest, TaskStatus, task_id=task_id)

    async def tasks(
        self,
        *,
        user_id: int | str | None = None,
        state: State | None = None,
        limit: int = 50,
        before: str | None = None,
    ) -> TaskPage:
        """Return one page of the list of tasks, the newest first.

        `user_id`: only the tasks of this user; None: of all users. `state`: only the tasks in this state; None: in any
        state. `limit`: the maximum number of tasks in the page, up to 200. `before`: None for the first page, then
        `more_before` of the previous page; if `more_before` is None, no page follows.
        """
        fields = {"user_id": user_id, "state": state, "limit": limit, "before": before}
        return await self._request(subjects.LIST, ListRequest, TaskPage, **fields)

    @overload
    async def get_task_result(self, task_id: str) -> Result: ...

    @overload
    async def get_task_result(
        self, task_id: str, result_format: ResultFormat, *, limits: SubtitleLimits = ...
    ) -> Result | str | bytes: ...

    async def get_task_result(
        self, task_id: str, result_format: ResultFormat = ResultFormat.JSON, *, limits: SubtitleLimits = DEFAULT_LIMITS
    ) -> Result | str | bytes:
        """Return the result of a task: a `Result` for `json`, bytes for a binary format, a string for other formats.

        A result that is too large for a message is downloaded from the Object Store. `limits`: for subtitles,
        the maximum characters per line, lines per cue and seconds per cue.
        """
        fields = {"task_id": task_id, "format": result_format, **limits.model_dump()}
        reply = await request_message(self._connection, subjects.RESULT, build_message(ResultRequest, fields))
        return await result_in(self._connection, reply, result_format, limits)

    async def download_redacted_audio(self, task_id: str, path: Path) -> None:
        """Write the recording of a task without personal data, as FLAC, to a file.

        Raises:
            ClientError: The task did not request it (`audio` in `redact`), or the file cannot be written.
            RequestFailedError: The task has no result.
        """
        result = await self.get_task_result(task_id)
        reference = result.redacted_audio if isinstance(result, TranscriptionResult) else None
        if reference is None:
            what = f"{task_id} has no redacted recording"
            raise ClientError(what, "submit a task with `audio` in `redact`, such as --redact pci --redact-audio beep")
        await download_audio(self._connection, reference, path)

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

        Like `follow`, the call also waits for a task that does not exist yet, and has no timeout: use
        `asyncio.wait_for` to set one.

        Raises:
            RequestFailedError: The task has failed or was cancelled.
            TaskDeletedError: The task was deleted.
        """
        async with aclosing(self.follow(task_id)) as events:
            async for _ in events:
                pass
        return await self.get_task_result(task_id, result_format, limits=limits)

    def follow(self, task_id: str) -> AsyncGenerator[ProgressEvent | SegmentsEvent]:
        """Yield all progress and segments events of a task, past events first, until the task ends.

        If the task does not exist yet, the generator waits for its first event.

        Raises:
            TaskDeletedError: The task was deleted.
        """
        return Follower(self._connection, self._settings, task_id).events()

    def follow_all(self) -> AsyncGenerator[ProgressEvent]:
        """Yield the progress events of all tasks from now on; events that are published during an outage are lost.

        Raises:
            NotAllowedError: The user may not receive the events of all tasks.
        """
        return follow_all(self._connection)

    async def has_events(self, task_id: str) -> bool:
        """Whether the progress stream has events of the task; False if the client cannot read the stream.

        The client reads the stream itself, so no worker has to run.
        """
        return await has_events(self._connection, self._settings, task_id)

    async def cancel(self, task_id: str) -> TaskStatus:
        """Cancel a task, and return its status; a task that has already ended does not change."""
        return await self._request(subjects.CANCEL, TaskRequest, TaskStatus, task_id=task_id)

    async def delete(self, task_id: str) -> None:
        """Delete all data of a task, including its recording; cancel the task if it has not ended."""
        await self._request(subjects.DELETE, TaskRequest, Deleted, task_id=task_id)

    async def delete_user(self, user_id: int | str) -> int:
        """Delete all tasks and voices of a user, including recordings, and return the number of deleted tasks.

        Raises:
            ClientError: A request failed; some tasks may already have been deleted.
        """
        replies = self._delete_all(subjects.DELETE, build_message(UserRequest, {"user_id": user_id}), Deleted)
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
        """Enrol a speaker of a completed task that had the option `identify`: later tasks then recognize this person.

        Return the voice, i.e. the enrolled person. `speaker`: the label of the speaker, who has to speak alone for 15
        s; None: the only speaker. `name`: the name of a new voice. `voice`: instead of `name`, the id of an existing
        voice, to which the speech is added as a reference. `consent`: who has consented, and when. `another`: enrol the
        speaker although an enrolled voice is similar; by default the call then fails.
        """
        fields = {"task_id": task_id, "speaker": speaker, "name": name, "voice": voice, "another": another}
        return await self._request(subjects.ENROLL, EnrollRequest, Voice, **fields, consent=consent, user_id=user_id)

    def voices(self, user_id: int | str = 0) -> AsyncIterator[Voice]:
        """Yield all voices, i.e. enrolled persons, of a user."""
        return voices(self._connection, user_id)

    async def rename_voice(self, voice: str, name: str, *, user_id: int | str = 0) -> Voice:
        """Change the name of an enrolled voice, and return the voice."""
        return await self._request(subjects.RENAME, RenameRequest, Voice, user_id=user_id, voice=voice, name=name)

    async def forget_voice(self, voice: str, *, user_id: int | str = 0) -> None:
        """Erase an enrolled voice: the person's name, consent and references (embeddings of the person's speech)."""
        await self._request(subjects.FORGET, ForgetRequest, Forgotten, user_id=user_id, voice=voice)

    async def replay(
        self, *, task_id: str | None = None, kind: Kind | None = None, code: ErrorCode | None = None
    ) -> int:
        """Queue permanently failed tasks again, from their dead letters; return how many tasks were queued.

        Exactly one argument selects the dead letters: `task_id`, `kind` (of task) or `code` (of the error).
        """
        fields = {"task_id": task_id, "kind": kind, "code": code}
        return (await self._request(subjects.REPLAY, ReplayRequest, Replayed, **fields)).replayed

    async def delete_dead_letters(
        self, *, task_id: str | None = None, kind: Kind | None = None, code: ErrorCode | None = None
    ) -> int:
        """Delete dead letters, i.e. stored messages of tasks that failed permanently; return how many were deleted.

        Exactly one argument selects the dead letters: `task_id`, `kind` (of task) or `code` (of the error).

        Raises:
            ClientError: A request failed; some dead letters may already have been deleted.
        """
        chosen = build_message(DeleteLettersRequest, {"task_id": task_id, "kind": kind, "code": code})
        replies = self._delete_all(subjects.DELETE_LETTERS, chosen, LettersDeleted)
        return sum([reply.deleted async for reply in replies])

    async def search_transcripts(
        self,
        query: str,
        *,
        user_id: int | str | None = None,
        limit: int = 20,
        after: int = 0,
        **filters: Unpack[SearchFilters],
    ) -> SearchPage:
        """Return the segments that have all words of a query, the newest result first.

        `query`: words in any form, "phrases" and beginnings of words, such as `invoice*`. `after`: `more_after` of the
        page before.

        Raises:
            NoWorkerError: `services/search` does not run.
        """
        fields = {"query": query, "user_id": user_id, "limit": limit, "after": after}
        return await self._request(SEARCH, SearchRequest, SearchPage, **fields, **filters)

    async def redact(
        self, text: str, *, entities: Sequence[str], replace: str = Replacement.LABEL, language: str | None = None
    ) -> Redacted:
        """Return a text in which personal data is replaced, with what was replaced and where.

        `entities`: types (`phone`, `card` and so on) and groups (`pci`, `contact`, `all`). `replace`: `label`,
        `numbered` or `mask`. `language`: of the text, as ISO 639-1.
        """
        redact = {"entities": list(entities), "replace": replace}
        return await self._request(
            subjects.REDACT, RedactRequest, Redacted, text=text, language=language, redact=redact
        )

    def dead_letters(self) -> AsyncIterator[DeadLetter]:
        """Yield all dead letters, i.e. task messages that failed permanently, the oldest first."""
        return dead_letters(self._connection, self._settings)

    def erased(self) -> AsyncIterator[Erased]:
        """Yield the stored events that data of tasks were erased, the oldest first: whoever has copies erases them."""
        return erased(self._connection, self._settings)

    def quotas(self) -> AsyncIterator[UserQuota]:
        """Yield the quotas of single users, i.e. of those to whom not only the settings of the service apply.

        Raises:
            NoWorkerError: No worker has ever run with this NATS.
            NotAllowedError: The user is no operator.
        """
        return quotas(self._connection)

    async def set_quota(
        self,
        user_id: int | str,
        *,
        weight: float = 1.0,
        max_running: int | None = None,
        max_waiting: int | None = None,
    ) -> None:
        """Set the quota of a user; it replaces an earlier one.

        `weight`: the user's share of the workers while others wait; others have 1. `max_running`, `max_waiting`: how
        many tasks of the user may run and wait; 0: any number; None: as the settings of the service say. For errors
        see `quotas`.
        """
        fields = {"weight": weight, "max_running": max_running, "max_waiting": max_waiting}
        user = build_message(UserRequest, {"user_id": user_id}).user_id
        await set_quota(self._connection, user, build_message(StoredQuota, fields))

    async def delete_quota(self, user_id: int | str) -> bool:
        """Delete the quota of a user, and return whether there was one; for errors see `quotas`."""
        return await delete_quota(self._connection, build_message(UserRequest, {"user_id": user_id}).user_id)

    async def queue(self) -> QueueOverview:
        """Return how many tasks wait and run in each task queue, and the number of dead letters."""
        return await self._request(subjects.TASK_QUEUES, QueueRequest, QueueOverview)

    async def workers(self) -> list[WorkerInfo]:
        """Return the version, model and health of each running worker."""
        return await workers(self._connection)

    async def _create(
        self,
        task_type: type[RecordingTask],
        recording: Path | str,
        priority: Priority | None,
        fields: DiarizationKeywords,
    ) -> str:
        is_new = fields.get("task_id") is None
        task_id = fields.get("task_id") or new_task_id(recording)
        audio = await audio_file_id(self._settings, recording, task_id)
        task = build_message(task_type, {"user_id": 0, **fields, "task_id": task_id, "audio_file_id": audio})
        return await self._submit(task, recording, priority, is_new=is_new)

    async def _submit(
        self, task: RecordingTask, recording: Path | str, priority: Priority | None, *, is_new: bool
    ) -> str:
        seconds = await recording_duration(recording)
        store = upload_store(self._settings, self._connection, self._on_upload)
        task_type = TaskType.TRANSCRIPTION if isinstance(task, TranscriptionTask) else TaskType.DIARIZATION
        submission = Submission(self._connection, store, recording, task, seconds)
        await submission.submit(subjects.tasks(task_type, priority or choose_priority(seconds)), is_new=is_new)
        return task.task_id

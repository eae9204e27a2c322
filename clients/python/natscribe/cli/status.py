"""Describes the status of a task: its state, its recording, when what happened, its options, and the next step."""

from collections.abc import Iterator
from datetime import datetime

from natscribe.cli.wording import clock, progress_text, starts_in
from natscribe.client import command
from natscribe.jetstream.streams import RESULTS_KEPT_S
from natscribe.schemas.errors import ErrorCode
from natscribe.schemas.kinds import Result, Task
from natscribe.schemas.live import Codec, LiveAudio, LiveTask
from natscribe.schemas.progress import State
from natscribe.schemas.requests import TaskStatus
from natscribe.schemas.transcription import TranscriptionResult
from natscribe.schemas.wire import Kind

_LEAST_SPOKEN_S, _LEAST_SHARE = 10.0, 0.1  # a language with less of both may be a wrong guess: it is not listed

_NAMES = {"task_id", "audio_file_id", "user_id", "audio"}  # fields of a task that are no options

_COMMANDS = {Kind.TRANSCRIPTION: "transcribe", Kind.DIARIZATION: "diarize"}
_FAULTS_OF_THE_TASK = {ErrorCode.INVALID_MESSAGE, ErrorCode.AUDIO_UNREADABLE}  # a replay would end the same


def summary(found: TaskStatus) -> str:
    """Describe a status in one line."""
    stage = f", {found.stage}" if found.stage else ""
    position = f", position {found.queue_position} in the queue" if found.queue_position else ""
    why = f": {found.error.message} ({found.error.code})" if found.error else ""
    how_far, begin = progress_text(found.progress, found.lag_seconds), starts_in(found.expected_start)
    return f"{found.task_id}: {found.kind} {found.state}{stage}, {how_far}{position}{begin}{why}"


def facts(found: TaskStatus, result: Result | None) -> list[tuple[str, str]]:
    """List facts of a task as topic and text; `result` is None if none can be read."""
    return [(topic, said) for topic, said in _facts(found, result) if said]


def _facts(found: TaskStatus, result: Result | None) -> Iterator[tuple[str, str]]:
    task, seconds = found.task, found.duration_seconds if result is None else result.duration
    yield "sound", _sound(task.audio) if isinstance(task, LiveTask) else ""
    yield "recording", task.audio_file_id if task is not None and not isinstance(task, LiveTask) else ""
    yield "length", clock(seconds) if seconds is not None else ""
    yield "language", _languages(result) if isinstance(result, TranscriptionResult) else ""
    yield "speakers", str(result.speakers or "") if result is not None else ""
    yield "user", str(task.user_id) if task is not None else ""
    yield "created", _moment(found.created_at)
    yield "started", _moment(found.started_at, since=found.created_at)
    yield "finished", _moment(found.finished_at, since=found.started_at)
    left = found.eta_seconds if found.state is State.RUNNING else None
    yield "left", f"about {clock(left)}" if left is not None and left >= 1 else ""
    yield "worker", found.worker or ""
    yield "attempt", str(found.attempt) if found.attempt > 1 else ""
    yield "options", ", ".join(_options(task)) if task is not None else ""
    yield "priority", str(found.priority)
    yield "next", next_step(found)


def _sound(audio: LiveAudio) -> str:
    return f"live, {audio.codec}, {audio.sample_rate} Hz, {audio.channels} channel{'s' * (audio.channels > 1)}"


def _moment(moment: datetime | None, *, since: datetime | None = None) -> str:
    if moment is None:
        return ""
    after = f", after {clock((moment - since).total_seconds())}" if since is not None else ""
    return f"{moment.astimezone():%Y-%m-%d %H:%M:%S}{after}"


def _languages(result: TranscriptionResult) -> str:
    least = min(_LEAST_SPOKEN_S, _LEAST_SHARE * sum(result.languages.values()))
    spoken = {code: seconds for code, seconds in result.languages.items() if seconds >= least}
    if len(spoken) < 2:  # noqa: PLR2004 -- of several, each has its time
        return result.language or ""
    return ", ".join(f"{code} {clock(seconds)}" for code, seconds in spoken.items())


def _options(task: Task) -> Iterator[str]:
    """Yield the options that differ from their defaults."""
    for name, field in type(task).model_fields.items():
        value = getattr(task, name)
        if name not in _NAMES and value != field.default:
            yield name if value is True else f"{name} {', '.join(value) if isinstance(value, tuple) else value}"


def next_step(found: TaskStatus) -> str:
    """Say what to type to go on with a task."""
    here, task_id, task = command(), found.task_id, found.task
    if not found.state.ended:
        goes_on = isinstance(task, LiveTask) and task.audio.codec is not Codec.OPUS
        resume = f" {here} live - --resume {task_id} if no sound comes," if goes_on else ""
        return f"{here} watch {task_id},{resume} or {here} cancel {task_id}"
    if found.result_available:
        return f"{here} result {task_id}"
    again = f"{here} {'live' if isinstance(task, LiveTask) else _COMMANDS[found.kind]} FILE"
    if found.error is not None and found.error.code in _FAULTS_OF_THE_TASK:
        return f"{again}, once the task or its recording is corrected"
    if found.state is State.FAILED:
        return f"{here} dead-letters replay --task-id {task_id}, once the cause is removed"
    expired = f", because results are kept for {RESULTS_KEPT_S // 86400:.0f} days"
    return f"{again}{expired if found.state is State.COMPLETED else ''}"

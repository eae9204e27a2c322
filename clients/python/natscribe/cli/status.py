"""Describes the status of a task for people: state, recording, times, options, and the next step."""

from collections.abc import Iterator
from datetime import datetime

from natscribe.cli.wording import clock, position_text, progress_text, start_text
from natscribe.client import command
from natscribe.jetstream.streams import RESULTS_TTL_S
from natscribe.schemas.kinds import Result, Task
from natscribe.schemas.live import Codec, LiveAudio, LiveTask
from natscribe.schemas.progress import State
from natscribe.schemas.requests import TaskStatus
from natscribe.schemas.transcription import TranscriptionResult
from natscribe.schemas.wire import Kind

_MIN_SPOKEN_S, _MIN_SHARE = 10.0, 0.1  # a language with less of both may be a wrong guess: it is not listed
_NO_OPTIONS = {"task_id", "audio_file_id", "user_id", "audio"}  # fields of a task that are no options
_COMMANDS = {Kind.TRANSCRIPTION: "transcribe", Kind.DIARIZATION: "diarize"}


def summary(status: TaskStatus) -> str:
    """Return a line that describes the status of a task."""
    stage = f", {status.stage}" if status.stage else ""
    why = f": {status.error.message} ({status.error.code})" if status.error else ""
    has_progress = status.progress or status.lag_seconds is not None
    progress = f", {progress_text(status)}" if has_progress else ""
    scheduled, position = start_text(status.not_before), position_text(status)
    return f"{status.task_id}: {status.kind} {status.state}{scheduled}{stage}{progress}{position}{why}"


def details(status: TaskStatus, result: Result | None) -> list[tuple[str, str]]:
    """Return a detailed description of a task as pairs of a topic and a text, such as `created` and the time.

    `result`: the result of the task; None if it has none, or the result cannot be read.
    """
    topics = (*_input(status, result), *_times(status), *_execution(status))
    return [(topic, text) for topic, text in topics if text]


def _input(status: TaskStatus, result: Result | None) -> Iterator[tuple[str, str]]:
    task, seconds = status.task, status.duration_seconds if result is None else result.duration
    if isinstance(task, LiveTask):
        yield "audio", _live_audio(task.audio)
    elif task is not None:
        yield "recording", task.audio_file_id
    yield "length", "" if seconds is None else clock(seconds)
    yield "language", _languages(result) if isinstance(result, TranscriptionResult) else ""
    yield "speakers", "" if result is None else str(result.speakers or "")
    yield "user", "" if task is None else str(task.user_id)


def _times(status: TaskStatus) -> Iterator[tuple[str, str]]:
    yield "created", _moment(status.created_at)
    yield "scheduled", _moment(status.not_before)
    yield "started", _moment(status.started_at, since=status.created_at)
    yield "finished", _moment(status.finished_at, since=status.started_at)
    if status.state is State.RUNNING and status.eta_seconds is not None and status.eta_seconds >= 1:
        yield "left", f"about {clock(status.eta_seconds)}"


def _execution(status: TaskStatus) -> Iterator[tuple[str, str]]:
    yield "worker", status.worker or ""
    yield "attempt", str(status.attempt) if status.attempt > 1 else ""
    yield "options", "" if status.task is None else ", ".join(_options(status.task))
    yield "priority", str(status.priority)
    yield "next", next_step(status)


def _live_audio(audio: LiveAudio) -> str:
    return f"live, {audio.codec}, {audio.sample_rate} Hz, {audio.channels} channel{'s' * (audio.channels > 1)}"


def _moment(moment: datetime | None, *, since: datetime | None = None) -> str:
    if moment is None:
        return ""
    after = f", after {clock((moment - since).total_seconds())}" if since is not None else ""
    return f"{moment.astimezone():%Y-%m-%d %H:%M:%S}{after}"


def _languages(result: TranscriptionResult) -> str:
    minimum = min(_MIN_SPOKEN_S, _MIN_SHARE * sum(result.languages.values()))
    spoken = {code: seconds for code, seconds in result.languages.items() if seconds >= minimum}
    if len(spoken) < 2:  # noqa: PLR2004 -- each of several has its time
        return result.language or ""
    return ", ".join(f"{code} {clock(seconds)}" for code, seconds in spoken.items())


def _options(task: Task) -> Iterator[str]:
    """Yield the options of a task that differ from their defaults, as `NAME VALUE`, or as `NAME` if it is True."""
    for name, field in type(task).model_fields.items():
        value = getattr(task, name)
        if name not in _NO_OPTIONS and value != field.default:
            yield name if value is True else f"{name} {', '.join(value) if isinstance(value, tuple) else value}"


def next_step(status: TaskStatus) -> str:
    """Return the commands that a person may want to run next, depending on the state of the task."""
    here, task_id, task = command(), status.task_id, status.task
    if not status.state.ended:
        can_resume = isinstance(task, LiveTask) and task.audio.codec is not Codec.OPUS
        resume = f" {here} live - --resume {task_id} if no audio arrives," if can_resume else ""
        return f"{here} watch {task_id},{resume} or {here} cancel {task_id}"
    if status.result_available:
        return f"{here} result {task_id}"
    again = f"{here} {'live' if isinstance(task, LiveTask) else _COMMANDS[status.kind]} FILE"
    if status.error is not None and status.error.code.is_client_error:
        return f"{again}, once the cause is removed"
    if status.state is State.FAILED:
        return f"{here} dead-letters replay --task-id {task_id}, once the cause is removed"
    expired = f", because results are stored for {RESULTS_TTL_S // 86400:.0f} days"
    return f"{again}{expired if status.state is State.COMPLETED else ''}"

"""Errors of requests, which the service and its mock reply with."""

from collections.abc import Sequence

from . import subjects
from .errors import ErrorCode, ErrorDetail
from .problems import invalid_request
from .requests import TaskStatus
from .voices import EnrollRequest


def unknown_task(task_id: str) -> ErrorDetail:
    """Return the error of a request that names an unknown task."""
    message = f"No task {task_id} is known: check the id, or publish the task first."
    return ErrorDetail(code=ErrorCode.NOT_FOUND, message=message)


def no_dead_letter(task_id: str) -> ErrorDetail:
    """Return the error of a request for the replay of a task that has no dead letter."""
    message = f"No dead letter of task {task_id} is stored: list the dead letters to see which are."
    return ErrorDetail(code=ErrorCode.NOT_FOUND, message=message)


def without_result(status: TaskStatus) -> ErrorDetail:
    """Return the error of a request for the result of a task that is not completed."""
    if status.error is not None and status.state.ended:
        return status.error
    if status.state.ended:
        message = f"Task {status.task_id} was cancelled and has no result: publish it again under a new id."
        return ErrorDetail(code=ErrorCode.NOT_FOUND, message=message)
    where = subjects.progress(status.task_id)
    message = f"Task {status.task_id} is {status.state} at {status.progress} %: wait for `completed` on {where}."
    return ErrorDetail(code=ErrorCode.NOT_FINISHED, message=message)


def similar_voice(speaker: str, voice: str) -> ErrorDetail:
    """Return the error of an enrolment of a speaker who is similar to another voice of the user."""
    message = (
        f"{speaker} is similar to the voice {voice} of the same user: enrol with this `voice` to add a reference to "
        "it, or with `another: true` if this is another person."
    )
    return ErrorDetail(code=ErrorCode.INVALID_REQUEST, message=message)


def no_embeddings(task_id: str) -> ErrorDetail:
    """Return the error of an enrolment from a task without embeddings of its speakers."""
    message = (
        f"No embeddings of task {task_id} are stored: publish a diarization of the recording, or a transcription with "
        "diarize, with `identify: true`, and enrol from that within seven days."
    )
    return ErrorDetail(code=ErrorCode.NOT_FOUND, message=message)


def no_speaker(request: EnrollRequest, speakers: Sequence[str]) -> ErrorDetail | None:
    """Return the error of an enrolment from a task with these speakers; None if the request means one of them.

    A request that names no speaker means the only one.
    """
    if request.speaker is None and len(speakers) != 1:
        return invalid_request(f"the recording has {len(speakers)} speakers: name one of them, or record one person")
    if request.speaker is None or request.speaker in speakers:
        return None
    message = f"Task {request.task_id} has no {request.speaker}: its speakers are {', '.join(speakers)}."
    return ErrorDetail(code=ErrorCode.NOT_FOUND, message=message)


def unknown_voice(voice: str) -> ErrorDetail:
    """Return the error of a request that names a voice that the user does not have."""
    message = f"The user has no voice {voice}: voices.list shows the voices of a user."
    return ErrorDetail(code=ErrorCode.NOT_FOUND, message=message)

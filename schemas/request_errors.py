"""The errors with which the service and its mock reply to requests."""

from collections.abc import Sequence

from . import subjects
from .errors import ErrorCode, ErrorDetail
from .problems import invalid_request
from .requests import TaskStatus
from .voices import EnrollRequest


def unknown_task(task_id: str) -> ErrorDetail:
    """Return the error for a request about a task that the service does not know."""
    message = f"No task {task_id} is known: check the id, or submit the task first."
    return ErrorDetail(code=ErrorCode.NOT_FOUND, message=message)


def no_dead_letter(task_id: str) -> ErrorDetail:
    """Return the error for a request to replay a task that has no dead letter."""
    message = f"No dead letter of task {task_id} is stored: list the dead letters to see which are."
    return ErrorDetail(code=ErrorCode.NOT_FOUND, message=message)


def without_result(status: TaskStatus) -> ErrorDetail:
    """Return the error for a request for the result of a task that has none; its status says why."""
    if status.error is not None and status.state.ended:
        return status.error
    if status.state.ended:
        message = f"Task {status.task_id} was cancelled and has no result: submit it again under a new id."
        return ErrorDetail(code=ErrorCode.NOT_FOUND, message=message)
    where = subjects.progress(status.task_id)
    message = f"Task {status.task_id} is {status.state} at {status.progress} %: wait for `completed` on {where}."
    return ErrorDetail(code=ErrorCode.NOT_FINISHED, message=message)


def similar_voice(speaker: str, voice: str) -> ErrorDetail:
    """Return the error for a request to enrol `speaker` as a new person, although the enrolled `voice` is similar.

    `speaker`: the label of the speaker. `voice`: the id of the voice.
    """
    message = (
        f"{speaker} is similar to the voice {voice} of the same user: enrol with this `voice` to add a reference to "
        "it, or with `another: true` if this is another person."
    )
    return ErrorDetail(code=ErrorCode.INVALID_REQUEST, message=message)


def no_embeddings(task_id: str) -> ErrorDetail:
    """Return the error for a request to enrol a speaker of the task `task_id`, which has no speaker embeddings."""
    message = (
        f"No embeddings of task {task_id} are stored: publish a diarization of the recording, or a transcription with "
        "diarize, with `identify: true`, and enrol from that within seven days."
    )
    return ErrorDetail(code=ErrorCode.NOT_FOUND, message=message)


def speaker_error(request: EnrollRequest, speakers: Sequence[str]) -> ErrorDetail | None:
    """Return an error if a request to enrol a speaker does not select a speaker of the task; else None.

    `speakers`: the labels of the task's speakers. A request need not name the speaker if the task has only one.
    """
    if request.speaker is None and len(speakers) != 1:
        return invalid_request(
            f"the recording has {len(speakers)} speakers: select one as `speaker`, or record one person"
        )
    if request.speaker is None or request.speaker in speakers:
        return None
    message = f"Task {request.task_id} has no {request.speaker}: its speakers are {', '.join(speakers)}."
    return ErrorDetail(code=ErrorCode.NOT_FOUND, message=message)


def unknown_voice(voice: str) -> ErrorDetail:
    """Return the error for a request about an enrolled voice that the user does not have."""
    message = f"The user has no voice {voice}: voices.list shows the voices of a user."
    return ErrorDetail(code=ErrorCode.NOT_FOUND, message=message)

"""Invalid task messages: what is wrong with them, and what can be saved."""

import json
import re

from pydantic import ValidationError

from app.log.entry import TASKS
from schemas.errors import ErrorCode, ErrorDetail
from schemas.problems import first_problem
from schemas.wire import TASK_ID_PATTERN, Kind

JSON = "application/json"


def reason(kind: Kind, body: bytes, content_type: str) -> ErrorDetail | None:
    """Say what is wrong with a task message, without repeating what it held; None where nothing is."""
    try:
        TASKS[kind].validate_json(body)
    except ValidationError as error:
        problem = first_problem(error)
    else:
        if content_type in {"", JSON}:
            return None
        problem = f"its content-type is not {JSON}"
    message = f"The message is no valid {kind} task ({problem}): correct it and publish it under a new id."
    return ErrorDetail(code=ErrorCode.INVALID_MESSAGE, message=message)


def task_id(body: bytes) -> str | None:
    """The task id of a message that is otherwise invalid, None where it carries no valid one."""
    try:
        found = json.loads(body)["task_id"]
    except (ValueError, LookupError, TypeError, RecursionError):
        return None
    return found if isinstance(found, str) and re.fullmatch(TASK_ID_PATTERN, found) else None

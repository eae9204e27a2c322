"""Converts a pydantic validation error into one line of advice for the sender of the invalid message."""

from collections.abc import Iterator
from difflib import get_close_matches

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from .errors import ErrorCode, ErrorDetail
from .printable import printable
from .requests import CURSOR_PATTERN, TaskRequest, UserRequest
from .task_list import LISTED_CURSOR_PATTERN
from .transcription import TERM_PATTERN
from .voices import VOICE_ID_PATTERN, VOICE_NAME_PATTERN
from .wire import LANGUAGE_PATTERN, NAME_PATTERN, SPEAKER_PATTERN, TASK_ID_PATTERN, Input

MAX_PROBLEMS = 5  # that the line describes
MAX_NAME_CHARS = 100  # characters of a field's name that the line repeats
ADVICE_BY_PATTERN = {  # for each pattern, the advice for a value that does not match the pattern
    NAME_PATTERN: "use no control characters, such as tabs",
    TASK_ID_PATTERN: "use letters, digits, - and _, at most 64",
    LANGUAGE_PATTERN: "use a code of ISO 639-1, like en",
    CURSOR_PATTERN: "use `more_after` of the last reply",
    LISTED_CURSOR_PATTERN: "use `more_before` of the last reply",
    SPEAKER_PATTERN: "use a label of the result, like SPEAKER_00",
    VOICE_ID_PATTERN: "use an id that voices.list shows",
    VOICE_NAME_PATTERN: "write letters, without control characters such as tabs",
    TERM_PATTERN: "write letters, without control characters such as tabs",
}
ADVICE_BY_FIELD = {  # fields for which pydantic reports a problem for each type; the advice replaces these reports
    "user_id": "use an integer of 64 bits, or 1 to 64 characters, no control characters"
}
ALTERNATIVES = {TaskRequest.__name__, UserRequest.__name__}  # a request may be of one of these classes
NO_JSON_OBJECT = "it is no JSON object"


def invalid_request(problem: str) -> ErrorDetail:
    """Return the error with which the service replies to an invalid request."""
    message = f"The request is invalid ({problem}): correct it and send it again."
    return ErrorDetail(code=ErrorCode.INVALID_REQUEST, message=message)


def problems_of(error: ValidationError) -> str:
    """Return a line that describes up to MAX_PROBLEMS problems of an invalid message, without quoting its values."""
    problems = _of_best_fit(error.errors(include_url=False, include_input=False))
    described = list(dict.fromkeys(_described(problem, error.title) for problem in problems))
    more = len(described) - MAX_PROBLEMS
    return "; ".join(described[:MAX_PROBLEMS]) + (f"; and {more} more" if more > 0 else "")


def _described(problem: ErrorDetails, title: str) -> str:
    location = [str(part) for part in problem["loc"] if part not in ALTERNATIVES]
    of_several_types = next((part for part in location[:-1] if part in ADVICE_BY_FIELD), None)
    if of_several_types:
        return f"{of_several_types}: {ADVICE_BY_FIELD[of_several_types]}"
    field = ".".join(location)
    advice = _advice(problem, field, {title, *map(str, problem["loc"])})
    line = f"{field[:MAX_NAME_CHARS]}: {advice}" if field else advice
    # The name of an unknown field may have any characters.
    return printable(line).encode("ascii", "backslashreplace").decode()


def _advice(problem: ErrorDetails, field: str, classes: set[str]) -> str:
    """Return what is wrong with the value of `field`, as advice to the sender of the message.

    `field`: empty if the problem concerns the whole message. `classes`: names of the classes that the message may have.
    """
    context = problem.get("ctx", {})
    match problem["type"]:
        case "missing":
            return "this field is missing, add it"
        case "extra_forbidden":
            return _no_such_field(str(problem["loc"][-1]), classes)
        case "model_type" | "model_attributes_type":
            in_python = f", in Python no {context.get('class_name', 'object')}"
            return NO_JSON_OBJECT + (in_python if field else "")
    return ADVICE_BY_PATTERN.get(str(context.get("pattern")), problem["msg"].removeprefix("Value error, "))


def _of_best_fit(problems: list[ErrorDetails]) -> list[ErrorDetails]:
    """Return only the validation problems of the message class that the invalid message fits best.

    If a request may be of several classes, pydantic reports the problems with each of them. The best fit is the
    class with the fewest missing fields.
    """
    of_classes: dict[object, list[ErrorDetails]] = {}
    for problem in problems:
        class_name = next((part for part in problem["loc"] if part in ALTERNATIVES), None)
        of_classes.setdefault(class_name, []).append(problem)
    return min(of_classes.values(), key=lambda problems: sum(problem["type"] == "missing" for problem in problems))


def _no_such_field(name: str, classes: set[str]) -> str:
    """Return advice about the unknown field `name`: to use the most similar field, or else to leave the field out.

    `classes`: names of the message classes whose fields are compared with `name`.
    """
    fields = {field for model in _inputs() if model.__name__ in classes for field in model.model_fields}
    similar = get_close_matches(name[:MAX_NAME_CHARS], fields, n=1)
    return f"there is no such field, did you mean {similar[0]}?" if similar else "there is no such field, leave it out"


def _inputs(of: type[Input] = Input) -> Iterator[type[Input]]:
    """Yield all direct and indirect subclasses of `of`, by default all messages that the service receives."""
    for model in of.__subclasses__():
        yield model
        yield from _inputs(model)

"""Turns a validation error of pydantic into one line."""

from collections.abc import Iterator
from difflib import get_close_matches

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from .errors import ErrorCode, ErrorDetail
from .requests import CURSOR_PATTERN, TaskRequest, UserRequest
from .task_list import LISTED_CURSOR_PATTERN
from .transcription import LANGUAGE_PATTERN, TERM_PATTERN
from .voices import VOICE_ID_PATTERN, VOICE_NAME_PATTERN
from .wire import NAME_PATTERN, SPEAKER_PATTERN, TASK_ID_PATTERN, Input

MOST_PROBLEMS = 5  # that the line describes
LONGEST_NAME = 100  # characters of a field's name that the line repeats
IN_WORDS = {  # for each pattern, the advice for a value that does not match the pattern
    NAME_PATTERN: "use no control characters, such as tabs",
    TASK_ID_PATTERN: "use letters, digits, - and _, at most 64",
    LANGUAGE_PATTERN: "use a code of ISO 639-1, like en",
    CURSOR_PATTERN: "use `more_after` of the last reply",
    LISTED_CURSOR_PATTERN: "use `more_before` of the last reply",
    SPEAKER_PATTERN: "use the label that the result has, like SPEAKER_00",
    VOICE_ID_PATTERN: "use the id that voices.list shows",
    VOICE_NAME_PATTERN: "write letters, without control characters such as tabs",
    TERM_PATTERN: "write letters, without control characters such as tabs",
}
OF_SEVERAL_TYPES = {  # fields for which pydantic reports a problem for each type; the advice replaces these reports
    "user_id": "use an integer of 64 bits, or 1 to 64 characters, no control characters"
}
EITHER = {TaskRequest.__name__, UserRequest.__name__}  # a request may be of one of these classes
MISSING = "missing"  # pydantic's error type for a field that the class needs and the message lacks
NO_SUCH_FIELD = "extra_forbidden"  # pydantic's error type for a field that the class does not have
NO_OBJECT = {"model_type", "model_attributes_type"}  # pydantic's error types for JSON that is not an object
NO_JSON_OBJECT = "it is no JSON object"


def invalid_request(problem: str) -> ErrorDetail:
    """Return the error of a request in which something is wrong."""
    message = f"The request is invalid ({problem}): correct it and ask again."
    return ErrorDetail(code=ErrorCode.INVALID_REQUEST, message=message)


def problems_of(error: ValidationError) -> str:
    """Describe the problems of a message, at most MOST_PROBLEMS, without quoting its values."""
    problems = _of_best_fit(error.errors(include_url=False, include_input=False))
    described = list(dict.fromkeys(_described(problem, error.title) for problem in problems))
    more = len(described) - MOST_PROBLEMS
    return "; ".join(described[:MOST_PROBLEMS]) + (f"; and {more} more" if more > 0 else "")


def _described(problem: ErrorDetails, title: str) -> str:
    location = [part for part in problem["loc"] if part not in EITHER]
    place = ".".join(str(part) for part in location)
    if problem["type"] in NO_OBJECT:
        in_python = f", in Python no {problem.get('ctx', {}).get('class_name', 'object')}"
        return f"{place}: {NO_JSON_OBJECT}{in_python}" if place else NO_JSON_OBJECT
    several = next((part for part in location[:-1] if part in OF_SEVERAL_TYPES), None)
    if several is not None:
        return f"{several}: {OF_SEVERAL_TYPES[str(several)]}"
    what = IN_WORDS.get(str(problem.get("ctx", {}).get("pattern")), problem["msg"].removeprefix("Value error, "))
    if problem["type"] == MISSING:
        what = "this field is missing, add it"
    if problem["type"] == NO_SUCH_FIELD:
        what = _no_such_field(str(location[-1]), {title, *map(str, problem["loc"])})
    found = f"{place[:LONGEST_NAME]}: {what}" if place else what
    return found.encode("ascii", "backslashreplace").decode()  # the name of an unknown field may have any characters


def _of_best_fit(problems: list[ErrorDetails]) -> list[ErrorDetails]:
    """Return the problems of the class that lacks the fewest fields, if the message may be of several classes."""
    of_classes: dict[object, list[ErrorDetails]] = {}
    for problem in problems:
        named = next((part for part in problem["loc"] if part in EITHER), None)
        of_classes.setdefault(named, []).append(problem)
    return min(of_classes.values(), key=lambda found: sum(problem["type"] == MISSING for problem in found))


def _no_such_field(name: str, classes: set[str]) -> str:
    """Return advice about an unknown field: the most similar field of the classes that the error names."""
    fields = {field for each in _inputs() if each.__name__ in classes for field in each.model_fields}
    similar = get_close_matches(name[:LONGEST_NAME], fields, n=1)
    return f"there is no such field, did you mean {similar[0]}?" if similar else "there is no such field, leave it out"


def _inputs(of: type[Input] = Input) -> Iterator[type[Input]]:
    """Yield all classes of messages that the service receives."""
    for each in of.__subclasses__():
        yield each
        yield from _inputs(each)

"""Turns a validation error of pydantic into one sentence."""

from pydantic import ValidationError

from schemas.transcription import LANGUAGE_PATTERN, TERM_PATTERN
from schemas.wire import TASK_ID_PATTERN

LONGEST_NAME = 100  # characters of a field's name that the sentence repeats
IN_WORDS = {  # for each pattern, the advice for a value that does not match the pattern
    TASK_ID_PATTERN: "use letters, digits, - and _, at most 64",
    LANGUAGE_PATTERN: "use a code of ISO 639-1, like en",
    TERM_PATTERN: "write letters, without control characters such as tabs",
}
OF_SEVERAL_TYPES = {  # fields for which pydantic reports a problem for each type; the advice replaces these reports
    "user_id": "use an integer of 64 bits, or 1 to 64 characters",
}

NO_OBJECT = {"model_type", "model_attributes_type"}  # pydantic's error types for JSON that is not an object


def first_problem(error: ValidationError) -> str:
    """Describe the first problem of a message, without quoting its values."""
    problem = error.errors(include_url=False, include_input=False)[0]
    place = ".".join(str(part) for part in problem["loc"])
    if problem["type"] in NO_OBJECT:
        return "it is no JSON object"
    field, *inside = problem["loc"] or ("",)
    if inside and field in OF_SEVERAL_TYPES:
        return f"{field}: {OF_SEVERAL_TYPES[field]}"
    what = IN_WORDS.get(str(problem.get("ctx", {}).get("pattern")), problem["msg"].removeprefix("Value error, "))
    found = f"{place[:LONGEST_NAME]}: {what}" if place else what
    return found.encode("ascii", "backslashreplace").decode()  # the name of an unknown field may have any characters

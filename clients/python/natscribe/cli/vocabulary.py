"""Reads the file of the option `--vocabulary`, which contains one term per line."""

from pathlib import Path

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from natscribe.cli.console import UsageError, require
from natscribe.schemas.problems import problems_of
from natscribe.schemas.transcription import TranscribeOptions

_MAX_CHARACTERS = 1_000_000  # a longer file is refused: it is no list of terms, or endless, like /dev/zero


def read_vocabulary(file: Path | None) -> tuple[str, ...]:
    """Return the terms in a vocabulary file, one per line; an empty tuple if `file` is None.

    Blank lines and lines that start with # are skipped.

    Raises:
        typer.BadParameter: The file cannot be read, or a line is no valid term of `TranscribeOptions`.
    """
    if file is None:
        return ()
    lines = [(number, line.strip()) for number, line in enumerate(_text(file).split("\n"), start=1)]
    terms = [(number, line) for number, line in lines if line and not line.startswith("#")]
    try:
        return TranscribeOptions(vocabulary=tuple(term for _, term in terms)).vocabulary
    except ValidationError as error:
        problem = error.errors()[0]
        index = problem["loc"][1] if len(problem["loc"]) > 1 else problem["ctx"]["max_length"]
        message = f"--vocabulary {file}, line {terms[int(index)][0]}: {_rule(problem, error)}"
        raise UsageError(message) from error


def _rule(problem: ErrorDetails, error: ValidationError) -> str:
    if problem["type"] == "string_too_long":
        return f"a term has at most {problem['ctx']['max_length']} characters"
    if problem["type"] == "too_long":
        return f"a vocabulary has at most {problem['ctx']['max_length']} terms, and this is one more"
    return problems_of(error).partition("; ")[0].partition(": ")[2]


def _text(file: Path) -> str:
    try:
        with file.open(encoding="utf-8-sig") as opened:
            text = opened.read(_MAX_CHARACTERS + 1)
    except OSError as error:
        message = f"--vocabulary {file} cannot be read: {error.strerror}"
        raise UsageError(message) from error
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        message = f"--vocabulary {file}, line {line}: this is not UTF-8, save the file as UTF-8 text"
        raise UsageError(message) from error
    rest = f"more than {_MAX_CHARACTERS} characters: name a list of terms, one per line"
    require(len(text) <= _MAX_CHARACTERS, f"--vocabulary {file} has {rest}")
    return text

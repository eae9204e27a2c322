"""Command-line options that several subcommands share, and functions that check and parse their values."""

import re
from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer
from pydantic import TypeAdapter, ValidationError
from typer.models import OptionInfo

from natscribe.cli.console import UsageError, require
from natscribe.cli.notices import RequestedOptions
from natscribe.cli.output import TURNS
from natscribe.schemas.problems import problems_of
from natscribe.schemas.redaction import AudioRedaction, Replacement, TaskRedaction
from natscribe.schemas.requests import ResultFormat, SubtitleLimits
from natscribe.schemas.task_fields import NotBefore as NotBeforeField
from natscribe.schemas.transcription import Numbers
from natscribe.schemas.wire import MAX_KEEP_S, MIN_KEEP_S

_SEVERAL_FORMATS_HELP = (
    "html is a page for a browser, which plays the recording. With --output-dir the option can be repeated."
)
User = Annotated[str, typer.Option(help="Owner of the task: an integer or any name.", metavar="ID")]
Keep = Annotated[
    int | None,
    typer.Option(
        min=MIN_KEEP_S,
        max=MAX_KEEP_S,
        metavar="SECONDS",
        help="Delete all data of the task, including its recording, this long after its end.",
    ),
]
Diarize = Annotated[bool, typer.Option("--diarize", help="Detect the speakers.")]
MinSpeakers = Annotated[int | None, typer.Option(help="Minimum number of speakers.")]
MaxSpeakers = Annotated[int | None, typer.Option(help="Maximum number of speakers.")]
Identify = Annotated[
    bool, typer.Option("--identify", help="Name the speakers whose voices are enrolled: see `voices`.")
]
WordTimestamps = Annotated[bool, typer.Option("--word-timestamps", help="Add the start and end of each word.")]
Model = Annotated[str | None, typer.Option(help="One of the models that the service offers.")]
Vocabulary = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="Names and terms that may occur, one per line; lines that start with # are comments. The bundled model "
        "misses some of them: a larger model is better at names.",
    ),
]
Prompt = Annotated[str | None, typer.Option(help="Preceding text, or text with the preferred spelling.")]
Translate = Annotated[
    bool,
    typer.Option("--translate", help="Translate into English. The bundled model does it badly: choose a larger one."),
]

NumbersOption = Annotated[
    Numbers,
    typer.Option(
        "--numbers",
        help="Numbers as the model writes them, or in digits where that is certain: words in English and Russian, "
        "single digits in all languages.",
    ),
]


ENTITIES = "separated by commas: pci, contact, all, phone, card ..."
Redact = Annotated[
    str | None,
    typer.Option(
        metavar="LIST",
        help=f"Personal data to replace in the text, {ENTITIES} The recording itself is not changed.",
    ),
]
RedactAudio = Annotated[
    AudioRedaction | None,
    typer.Option(help="What replaces it in a copy of the recording, which `result --redacted-audio` downloads."),
]
RedactReplace = Annotated[
    Replacement | None,
    typer.Option(help="What replaces it: [PHONE], [PHONE_1] or ####; label by default."),
]


def redaction(entities: str | None, replace: Replacement | None, audio: AudioRedaction | None) -> TaskRedaction | None:
    """Return what --redact, --redact-replace and --redact-audio request; None: nothing is replaced.

    Raises:
        typer.BadParameter: An entity is unknown, or --redact is missing.
    """
    if entities is None:
        require(replace is None, "--redact-replace has no effect alone: add --redact")
        require(audio is None, "--redact-audio has no effect alone: add --redact")
        return None
    fields = {"entities": [entity.strip() for entity in entities.split(",")], "replace": replace, "audio": audio}
    try:
        return TaskRedaction.model_validate({name: value for name, value in fields.items() if value})
    except ValidationError as error:
        raise UsageError(problems_of(error)) from error


def _parse_start(value: str) -> datetime | None:
    try:
        return TypeAdapter[datetime | None](NotBeforeField).validate_python(value)
    except ValidationError as error:
        raise UsageError(problems_of(error)) from error


NotBefore = Annotated[
    datetime | None,
    typer.Option(
        parser=_parse_start,
        metavar="TIME",
        help="Start at this time, not earlier: as in RFC 3339, like 2026-11-24T22:00:00+01:00, at most a year ahead.",
    ),
]


def format_option(formats: Iterable[ResultFormat], help_text: str) -> OptionInfo:
    """Return the option `--format`, whose values are `turns` (who says what when) and the values of `formats`.

    `help_text`: what follows "Format of the result" in the help of the option.
    """
    choices = [TURNS, *(result_format.value for result_format in formats)]

    def parse(value: str) -> str:
        require(value in choices, f"{value!r} is not one of {', '.join(map(repr, choices))}.")
        return value

    option: OptionInfo = typer.Option(
        "--format",
        parser=parse,
        metavar=f"<{'|'.join(choices)}>",
        help=f"Format of the result{help_text}; {_SEVERAL_FORMATS_HELP}",
        show_default=False,
        autocompletion=lambda: choices,
    )
    return option


Formats = Annotated[
    list[str] | None,
    format_option(
        ResultFormat,
        ". By default each segment is printed when it is transcribed, after the time at which it begins; with "
        "speakers, only the result: `turns` (who says what when) on a terminal, else txt, as in a folder",
    ),
]
OutputDir = Annotated[
    Path | None, typer.Option(help="Write each result into this folder when it is complete, not to standard output.")
]
MaxLineChars = Annotated[int | None, typer.Option(help="Maximum characters in a line of subtitles; 42 by default.")]
MaxLines = Annotated[int | None, typer.Option(help="Maximum lines of subtitles shown at once; 2 by default.")]
MaxCueSeconds = Annotated[float | None, typer.Option(help="Maximum seconds that a subtitle is shown; 7 by default.")]


def parse_user_id(value: str) -> int | str:
    """Parse a user id: an integer if it fits into 64 bits and has no leading zeros, or else a string."""
    is_integer = re.fullmatch(r"0|-?[1-9][0-9]{0,18}", value) and -(2**63) <= int(value) < 2**63
    return int(value) if is_integer else value


def check_speakers(
    requested: RequestedOptions, formats: Sequence[str] | None, *, diarize: bool, identify: bool
) -> None:
    """Check that no option needs --diarize if `diarize` is False.

    --identify and the bounds on the number of speakers need it, and so does the format rttm unless the channels are
    transcribed separately.

    Raises:
        typer.BadParameter: --diarize is missing.
    """
    if diarize:
        return
    require(not identify, "--identify names speakers: add --diarize")
    bounds = "--min-speakers and --max-speakers have no effect alone: add --diarize"
    require((requested.min_speakers, requested.max_speakers) == (None, None), bounds)
    has_speakers = ResultFormat.RTTM not in (formats or ()) or requested.separate_channels
    require(has_speakers, "rttm needs speakers: add --diarize, or choose another --format")


def subtitle_limits(
    formats: Sequence[str] | None, chars: int | None, lines: int | None, seconds: float | None
) -> SubtitleLimits:
    """Return the limits of subtitles that the options set: characters per line, lines per cue, and seconds per cue.

    Raises:
        typer.BadParameter: A limit is out of range, or is given although `formats` has no format of subtitles.
    """
    options = {"max_line_chars": chars, "max_lines": lines, "max_cue_seconds": seconds}
    limits = {name: value for name, value in options.items() if value is not None}
    name = next(iter(limits), "").replace("_", "-")
    has_subtitles = {ResultFormat.SRT, ResultFormat.VTT} & set(formats or ())
    require(has_subtitles or not limits, f"--{name} is for subtitles: add --format srt or --format vtt")
    try:
        return SubtitleLimits.model_validate(limits)
    except ValidationError as error:
        raise UsageError(problems_of(error)) from error

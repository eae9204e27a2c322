"""The command-line options that limit subtitles."""

from collections.abc import Sequence
from typing import Annotated

import typer
from pydantic import ValidationError

from natscribe.cli.output import Format
from natscribe.schemas.problems import problems_of
from natscribe.schemas.requests import SubtitleLimits

MaxLineChars = Annotated[
    int | None, typer.Option(help="Characters in a line of subtitles, at most; 42 by default.", show_default=False)
]
MaxLines = Annotated[
    int | None, typer.Option(help="Lines of subtitles at the same time, at most; 2 by default.", show_default=False)
]
MaxCueSeconds = Annotated[
    float | None, typer.Option(help="Seconds that a subtitle is shown, at most; 7 by default.", show_default=False)
]


def chosen(
    formats: Sequence[Format] | None, chars: int | None, lines: int | None, seconds: float | None
) -> SubtitleLimits:
    """Make the limits of subtitles from the options that were given.

    Raises:
        typer.BadParameter: A limit is out of range, or no format is one of subtitles.
    """
    options = {"max_line_chars": chars, "max_lines": lines, "max_cue_seconds": seconds}
    given = {name: value for name, value in options.items() if value is not None}
    if given and not {Format.SRT, Format.VTT} & set(formats or ()):
        name = next(iter(given)).replace("_", "-")
        message = f"--{name} is for subtitles: add --format srt or --format vtt"
        raise typer.BadParameter(message)
    try:
        return SubtitleLimits.model_validate(given)
    except ValidationError as error:
        raise typer.BadParameter(problems_of(error)) from error

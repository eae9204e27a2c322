"""`transcribe` and `diarize`: submit recordings, follow their tasks and write the results."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from pydantic import ValidationError

from natscribe.cli import users
from natscribe.cli.console import err, read_settings, run_and_exit
from natscribe.cli.folders import find_recordings
from natscribe.cli.jobs import CreateTask
from natscribe.cli.limits import MaxCueSeconds, MaxLineChars, MaxLines, chosen
from natscribe.cli.notices import RequestedOptions
from natscribe.cli.output import FOUND_FORMAT_HELP, TURNS_FORMAT_HELP, Format, OutputDir, TurnsFormat, make_output
from natscribe.cli.submission import Submission
from natscribe.cli.vocabulary import read_vocabulary
from natscribe.client import Client, OptionError
from natscribe.client.languages import language_code
from natscribe.schemas.problems import problems_of
from natscribe.schemas.requests import SubtitleLimits
from natscribe.schemas.transcription import Channels, TranscribeKeywords, TranscribeOptions
from natscribe.schemas.wire import LEAST_KEPT_S, MOST_KEPT_S, Priority

Files = Annotated[
    list[str],
    typer.Argument(
        metavar="FILE...",
        help="Recordings, in any format that ffmpeg reads, folders of them, or patterns like 'calls/*.mp3'; hidden "
        "files are left out.",
    ),
]
Stored = Annotated[bool, typer.Option(help="FILE is the audio_file_id of a recording that is stored already.")]
TaskIdOption = Annotated[str | None, typer.Option(help="Your own task id; for one FILE only.")]
User = Annotated[str, typer.Option(help="Owner of the task: an integer or any name.", metavar="ID")]
Keep = Annotated[
    int | None,
    typer.Option(
        min=LEAST_KEPT_S,
        max=MOST_KEPT_S,
        metavar="SECONDS",
        help="Everything of the task, its recording too, is erased this long after its end.",
        show_default=False,
    ),
]
Fewest = Annotated[int | None, typer.Option(help="Smallest possible number of speakers.")]
Most = Annotated[int | None, typer.Option(help="Largest possible number of speakers.")]
PriorityOption = Annotated[
    Priority | None, typer.Option(help="Default: high for short recordings, low for long ones.", show_default=False)
]
Formats = Annotated[list[Format] | None, typer.Option("--format", help=FOUND_FORMAT_HELP, show_default=False)]
Json = Annotated[
    bool,
    typer.Option(
        "--json",
        help="One JSON object a line: the task's ProgressEvent and SegmentsEvent messages, then its result "
        "(with --output-dir in a file); with --no-wait only its id.",
    ),
]
Identify = Annotated[bool, typer.Option("--identify", help="Name the speakers whose voices are known: see `voices`.")]
Wait = Annotated[bool, typer.Option("--wait/--no-wait", help="Follow the tasks, or only print their ids.")]


Model = Annotated[str | None, typer.Option(help="One of the models that the service offers.")]
Languages = Annotated[
    list[str] | None,
    typer.Option(
        help="The spoken language, as en, en-US or English: once for all, or once for each FILE, in their order. A "
        "wrong one may give an invented translation. By default the language of each part of the speech is detected.",
        show_default=False,
    ),
]
Vocabulary = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="Names and terms that may be said, one a line; lines that start with # are comments. The bundled model "
        "misses some of them: a larger model is better at names.",
    ),
]
Prompt = Annotated[str | None, typer.Option(help="What was said before, or text in the wanted spelling.")]
Translate = Annotated[
    bool,
    typer.Option(
        "--translate", help="Write the text in English. The bundled model does it badly: choose a larger one."
    ),
]
ChannelsOption = Annotated[
    Channels,
    typer.Option(
        help="Mix the channels, or transcribe each on its own, as one speaker; auto: each on its own if they carry "
        "different speech, as the sides of a telephone call do, and no more than two --min-speakers are wanted."
    ),
]


def transcribe(  # noqa: PLR0913 -- the task's fields
    files: Files,
    *,
    model: Model = None,
    language: Languages = None,
    vocabulary: Vocabulary = None,
    prompt: Prompt = None,
    translate: Translate = False,
    channels: ChannelsOption = Channels.AUTO,
    diarize: Annotated[bool, typer.Option("--diarize", help="Find the speakers.")] = False,
    min_speakers: Fewest = None,
    max_speakers: Most = None,
    identify: Identify = False,
    word_timestamps: Annotated[bool, typer.Option("--word-timestamps", help="Give each word its time.")] = False,
    user_id: User = "0",
    keep_seconds: Keep = None,
    task_id: TaskIdOption = None,
    priority: PriorityOption = None,
    stored: Stored = False,
    result_format: Formats = None,
    max_line_chars: MaxLineChars = None,
    max_lines: MaxLines = None,
    max_cue_seconds: MaxCueSeconds = None,
    output_dir: OutputDir = None,
    as_json: Json = False,
    wait: Wait = True,
) -> None:
    """Turn recordings into text. The service keeps each recording for AUDIO_TTL (30 days) after the end of its task."""
    check_speakers(min_speakers, max_speakers, result_format, channels, diarize=diarize, identify=identify)
    terms = () if vocabulary is None else read_vocabulary(vocabulary)
    options = TranscribeKeywords(model=model, vocabulary=terms, prompt=prompt, translate=translate, channels=channels)
    task = partial(
        Client.create_transcription_task, user_id=users.parse_user_id(user_id), task_id=task_id, priority=priority
    )
    speakers = partial(task, diarize=diarize, identify=identify, min_speakers=min_speakers, max_speakers=max_speakers)
    with_text = word_timestamps or Format.HTML in (result_format or ())  # the page lights the word that is spoken
    create = partial(speakers, keep_seconds=keep_seconds, word_timestamps=with_text)
    creates = [partial(create, **each) for each in _with_languages(options, files, language or [])]
    limits = chosen(result_format, max_line_chars, max_lines, max_cue_seconds)
    output = make_output(result_format, output_dir, limits, as_json=as_json, wait=wait)
    separate = channels is Channels.SEPARATE
    is_final = not (diarize or separate)  # else the result has speakers
    wanted = RequestedOptions(min_speakers, max_speakers, separate)
    submission = Submission(output, as_json=as_json, wait=wait, is_text_final=is_final, wanted=wanted)
    _submit(files, creates, task_id, submission, stored=stored)


def check_speakers(  # noqa: PLR0913 -- the options of several commands
    fewest: int | None,
    most: int | None,
    formats: Sequence[Format] | None,
    channels: Channels,
    *,
    diarize: bool,
    identify: bool,
) -> None:
    """Raise typer.BadParameter if --diarize is not given, and another option needs it."""
    if diarize:
        return
    if identify:
        message = "--identify names speakers: add --diarize"
        raise typer.BadParameter(message)
    if (fewest, most) != (None, None):
        message = "--min-speakers and --max-speakers have no effect alone: add --diarize"
        raise typer.BadParameter(message)
    if Format.RTTM in (formats or ()) and channels is not Channels.SEPARATE:
        message = "rttm needs speakers: add --diarize, or choose another --format"
        raise typer.BadParameter(message)


def _with_languages(options: TranscribeKeywords, files: list[str], languages: list[str]) -> list[TranscribeKeywords]:
    """Return the options of each FILE, and check them before anything is uploaded."""
    try:
        codes = [None if each is None else language_code(each) for each in _for_each(files, languages)]
        found: list[TranscribeKeywords] = [{**options, "language": code} for code in codes]
        for each in found:
            TranscribeOptions.model_validate(each)
    except ValidationError as error:
        raise typer.BadParameter(problems_of(error)) from error
    except OptionError as error:
        raise typer.BadParameter(str(error)) from error
    return found


def _for_each(files: list[str], languages: list[str]) -> list[str | None]:
    """Return the language of each FILE, None where the service is to detect the language."""
    if len(languages) == len(files):
        return list(languages)
    if len(languages) > 1:
        given = f"--language is given {len(languages)} times, and FILE {len(files)} times"
        message = f"{given}: give the language once for all, or once for each FILE"
        raise typer.BadParameter(message)
    return [languages[0] if languages else None] * len(files)


def diarize(  # noqa: PLR0913 -- the task's fields
    files: Files,
    *,
    min_speakers: Fewest = None,
    max_speakers: Most = None,
    identify: Identify = False,
    user_id: User = "0",
    keep_seconds: Keep = None,
    task_id: TaskIdOption = None,
    priority: PriorityOption = None,
    stored: Stored = False,
    result_format: Annotated[
        list[TurnsFormat] | None, typer.Option("--format", help=TURNS_FORMAT_HELP, show_default=False)
    ] = None,
    output_dir: OutputDir = None,
    as_json: Json = False,
    wait: Wait = True,
) -> None:
    """Find out who speaks when. The service keeps each recording for AUDIO_TTL (30 days) after the end of its task."""
    create = partial(
        Client.create_diarization_task,
        user_id=users.parse_user_id(user_id),
        task_id=task_id,
        min_speakers=min_speakers,
        max_speakers=max_speakers,
        identify=identify,
        keep_seconds=keep_seconds,
        priority=priority,
    )
    formats = [Format(each.value) for each in result_format or ()]
    output = make_output(formats, output_dir, SubtitleLimits(), as_json=as_json, wait=wait)
    submission = Submission(output, as_json=as_json, wait=wait, wanted=RequestedOptions(min_speakers, max_speakers))
    _submit(files, [create] * len(files), task_id, submission, stored=stored)


def _submit(
    files: list[str], creates: Sequence[CreateTask], task_id: str | None, submission: Submission, *, stored: bool
) -> NoReturn:
    """Submit the recordings of `files`, and exit; `creates` has for each file the function that makes its tasks."""

    async def work() -> int:
        return await submission.run(_tasks(files, creates, task_id, stored=stored))

    run_and_exit(work())


def _tasks(
    files: list[str], creates: Sequence[CreateTask], task_id: str | None, *, stored: bool
) -> list[tuple[Path | str, CreateTask]]:
    """Find the recordings, each once, and check them before anything is uploaded."""
    tasks: dict[Path | str, tuple[Path | str, CreateTask]] = {}
    refused: list[str] = []
    repeated = 0
    most_bytes = read_settings().audio_max_bytes
    for file, create in zip(files, creates, strict=True):
        try:
            for recording in find_recordings(file, most_bytes, stored=stored):
                same = recording.resolve() if isinstance(recording, Path) else recording
                repeated += same in tasks
                tasks.setdefault(same, (recording, create))
        except typer.BadParameter as error:
            refused.append(error.message)
    if task_id is not None and len(tasks) + len(refused) > 1:
        message = "--task-id names one task, but there are several files"
        raise typer.BadParameter(message)
    if refused:
        raise typer.BadParameter("\n".join(refused))
    if repeated:
        err.print(f"Named more than once: {repeated} of the recordings. Each is processed once.")
    return list(tasks.values())

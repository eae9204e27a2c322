"""The subcommands `transcribe` and `diarize`: submit recordings, follow their tasks and write the results."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from natscribe.cli import options
from natscribe.cli.console import UsageError, err, read_settings, require, run_and_exit
from natscribe.cli.folders import find_recordings
from natscribe.cli.notices import RequestedOptions
from natscribe.cli.output import make_output
from natscribe.cli.submission import CreateTask, Submission
from natscribe.cli.vocabulary import read_vocabulary
from natscribe.client import Client, OptionError
from natscribe.client.languages import language_code
from natscribe.client.results import DEFAULT_LIMITS
from natscribe.client.submission import build_message
from natscribe.schemas.requests import ResultFormat
from natscribe.schemas.transcription import Channels, Numbers, TranscribeKeywords, TranscribeOptions
from natscribe.schemas.wire import Priority

Files = Annotated[
    list[str],
    typer.Argument(
        metavar="FILE...",
        help="Recordings in any format that ffmpeg reads, folders of them, or patterns such as 'calls/*.mp3'; hidden "
        "files are skipped.",
    ),
]
Stored = Annotated[bool, typer.Option(help="FILE is the audio_file_id of a recording that is stored already.")]
TaskIdOption = Annotated[str | None, typer.Option(help="Your own task id; for one FILE only.")]
PriorityOption = Annotated[Priority | None, typer.Option(help="Default: high for short recordings, low for long ones.")]
Json = Annotated[
    bool,
    typer.Option(
        "--json",
        help="One JSON object per line: the task's ProgressEvent and SegmentsEvent messages, then its result "
        "(with --output-dir in a file); with --no-wait only its id.",
    ),
]
Wait = Annotated[bool, typer.Option("--wait/--no-wait", help="Follow the tasks, or only print their ids.")]
Languages = Annotated[
    list[str] | None,
    typer.Option(
        help="The spoken language, as en, en-US or English: once for all, or once for each FILE, in their order. A "
        "wrong one may yield an invented translation. By default the language of each part of the speech is detected."
    ),
]
ChannelsOption = Annotated[
    Channels,
    typer.Option(
        help="Mix the channels, or transcribe each separately, as one speaker; auto: separately if they carry "
        "different speech, as the sides of a telephone call do, and --min-speakers is at most two."
    ),
]
DiarizationFormats = Annotated[
    list[str] | None,
    options.format_option(
        (result_format for result_format in ResultFormat if not result_format.needs_text),
        ": by default `turns` (who speaks when, one line each) on a terminal, and elsewhere rttm, its machine-readable "
        "form",
    ),
]


def transcribe(  # noqa: PLR0913 -- the task's fields
    files: Files,
    *,
    model: options.Model = None,
    language: Languages = None,
    vocabulary: options.Vocabulary = None,
    prompt: options.Prompt = None,
    translate: options.Translate = False,
    channels: ChannelsOption = Channels.AUTO,
    numbers: options.NumbersOption = Numbers.AS_IS,
    redact: options.Redact = None,
    redact_replace: options.RedactReplace = None,
    redact_audio: options.RedactAudio = None,
    diarize: options.Diarize = False,
    min_speakers: options.MinSpeakers = None,
    max_speakers: options.MaxSpeakers = None,
    identify: options.Identify = False,
    word_timestamps: options.WordTimestamps = False,
    user_id: options.User = "0",
    keep_seconds: options.Keep = None,
    not_before: options.NotBefore = None,
    task_id: TaskIdOption = None,
    priority: PriorityOption = None,
    stored: Stored = False,
    result_format: options.Formats = None,
    max_line_chars: options.MaxLineChars = None,
    max_lines: options.MaxLines = None,
    max_cue_seconds: options.MaxCueSeconds = None,
    output_dir: options.OutputDir = None,
    as_json: Json = False,
    wait: Wait = True,
) -> None:
    """Transcribe recordings. The service stores each recording for AUDIO_TTL (30 days) after the end of its task."""
    is_separate = channels is Channels.SEPARATE
    requested = RequestedOptions(min_speakers, max_speakers, is_separate)
    options.check_speakers(requested, result_format, diarize=diarize, identify=identify)
    terms = read_vocabulary(vocabulary)
    keywords = TranscribeKeywords(
        model=model,
        vocabulary=terms,
        prompt=prompt,
        translate=translate,
        channels=channels,
        numbers=numbers,
        redact=options.redaction(redact, redact_replace, redact_audio),
    )
    owner = options.parse_user_id(user_id)
    task = partial(Client.create_transcription_task, user_id=owner, task_id=task_id, priority=priority)
    speakers = partial(task, diarize=diarize, identify=identify, min_speakers=min_speakers, max_speakers=max_speakers)
    with_words = word_timestamps or ResultFormat.HTML in (result_format or ())  # the page highlights words
    create = partial(speakers, keep_seconds=keep_seconds, not_before=not_before, word_timestamps=with_words)
    creates = [partial(create, **task_options) for task_options in _with_languages(keywords, files, language or [])]
    limits = options.subtitle_limits(result_format, max_line_chars, max_lines, max_cue_seconds)
    output = make_output(result_format, output_dir, limits, as_json=as_json, wait=wait)
    is_text_final = not (diarize or is_separate)  # else the result has speakers
    submission = Submission(output, as_json, wait, is_text_final, requested, files, model)
    run_and_exit(submission.run(_tasks(files, creates, task_id, stored=stored)))


def diarize(  # noqa: PLR0913 -- the task's fields
    files: Files,
    *,
    min_speakers: options.MinSpeakers = None,
    max_speakers: options.MaxSpeakers = None,
    identify: options.Identify = False,
    user_id: options.User = "0",
    keep_seconds: options.Keep = None,
    not_before: options.NotBefore = None,
    task_id: TaskIdOption = None,
    priority: PriorityOption = None,
    stored: Stored = False,
    result_format: DiarizationFormats = None,
    output_dir: options.OutputDir = None,
    as_json: Json = False,
    wait: Wait = True,
) -> None:
    """Detect who speaks when. The service stores each recording for AUDIO_TTL (30 days) after the end of its task."""
    owner = options.parse_user_id(user_id)
    task = partial(Client.create_diarization_task, user_id=owner, task_id=task_id, priority=priority)
    speakers = partial(task, identify=identify, min_speakers=min_speakers, max_speakers=max_speakers)
    creates = [partial(speakers, keep_seconds=keep_seconds, not_before=not_before)] * len(files)
    output = make_output(result_format, output_dir, DEFAULT_LIMITS, as_json=as_json, wait=wait)
    requested = RequestedOptions(min_speakers, max_speakers)
    submission = Submission(output, as_json, wait, requested=requested, files=files)
    run_and_exit(submission.run(_tasks(files, creates, task_id, stored=stored)))


def _with_languages(keywords: TranscribeKeywords, files: list[str], languages: list[str]) -> list[TranscribeKeywords]:
    """Return the transcription options for each FILE argument: those in `keywords`, and the language of this FILE.

    Raises:
        typer.BadParameter: An option is invalid, or the number of languages does not fit the number of FILEs.
    """
    try:
        codes = [language and language_code(language) for language in _language_of_each(files, languages)]
        task_options: list[TranscribeKeywords] = [{**keywords, "language": code} for code in codes]
        for fields in task_options:
            build_message(TranscribeOptions, fields)
    except OptionError as error:
        raise UsageError(str(error)) from error
    return task_options


def _language_of_each(files: list[str], languages: list[str]) -> Sequence[str | None]:
    """Return the language of each FILE argument; None: the service detects the language.

    Raises:
        typer.BadParameter: There are several languages, but not one for each FILE.
    """
    if len(languages) == len(files):
        return languages
    counts = f"--language is given {len(languages)} times, and FILE {len(files)} times"
    require(len(languages) < 2, f"{counts}: give the language once for all, or once for each FILE")  # noqa: PLR2004
    return [languages[0] if languages else None] * len(files)


def _tasks(
    files: list[str], creates: Sequence[CreateTask], task_id: str | None, *, stored: bool
) -> list[tuple[Path | str, CreateTask]]:
    """Find the recordings to which the FILE arguments refer; return each once, with the function that creates its task.

    `files`: the FILE arguments, i.e. files, folders and patterns or, if `stored` is set, names of recordings in
    AUDIO_STORE. `creates`: as many functions as FILE arguments, one for all recordings of each. Recordings are returned
    as paths or, if `stored` is set, as names (`str`).

    Raises:
        typer.BadParameter: One of `files` refers to no recording, or `task_id` is given for several recordings.
    """
    tasks: dict[Path | str, tuple[Path | str, CreateTask]] = {}
    problems: list[str] = []
    repeated = 0
    max_bytes = read_settings().audio_max_bytes
    for file, create in zip(files, creates, strict=True):
        try:
            for recording in find_recordings(file, max_bytes, stored=stored):
                key = recording.resolve() if isinstance(recording, Path) else recording
                repeated += key in tasks
                tasks.setdefault(key, (recording, create))
        except typer.BadParameter as error:
            problems.append(error.message)
    is_one = len(tasks) + len(problems) == 1
    require(task_id is None or is_one, "--task-id names one task, but there are several files")
    require(not problems, "\n".join(problems))
    if repeated:
        err.print(f"Named more than once: {repeated} of the recordings. Each is processed once.")
    return list(tasks.values())

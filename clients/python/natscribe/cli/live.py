"""The subcommand `live`: transcribes live audio."""

from functools import partial
from typing import Annotated

import typer

from natscribe.cli import options
from natscribe.cli.audio_input import STANDARD_INPUT
from natscribe.cli.console import out, require, run_and_exit
from natscribe.cli.folders import URL
from natscribe.cli.live_session import AudioSource, LiveSession
from natscribe.cli.live_text import choose_live_display
from natscribe.cli.notices import RequestedOptions
from natscribe.cli.output import make_output
from natscribe.cli.vocabulary import read_vocabulary
from natscribe.client import Client
from natscribe.client.results import DEFAULT_LIMITS
from natscribe.schemas.live import IDLE_S, MAX_LIVE_CHANNELS, MAX_SAMPLE_RATE_HZ, MIN_SAMPLE_RATE_HZ, Codec
from natscribe.schemas.requests import ResultFormat
from natscribe.schemas.transcription import Channels, Numbers
from natscribe.schemas.wire import Priority

Source = Annotated[
    str,
    typer.Argument(
        metavar="FILE|URL|-",
        help="- for audio from standard input; or a recording, which is played in real time: WAV and Opus unchanged, "
        "anything else mixed to one channel; or the URL of a radio, a camera or a recording (http, https, rtsp). To "
        "decode them, PyAV has to be installed here.",
    ),
]
CodecOption = Annotated[Codec, typer.Option("--codec", help="Codec of standard input.")]
Rate = Annotated[
    int | None,
    typer.Option(
        "--rate",
        min=MIN_SAMPLE_RATE_HZ,
        max=MAX_SAMPLE_RATE_HZ,
        help="Sample rate of standard input in Hz: 16000 by default, 8000 for mulaw and alaw, 48000 for opus.",
    ),
]
_DEFAULT_RATE_HZ = {Codec.MULAW: 8000, Codec.ALAW: 8000, Codec.OPUS: 48_000}
Count = Annotated[int, typer.Option("--channels", min=1, max=MAX_LIVE_CHANNELS, help="Channels of standard input.")]
Mix = Annotated[bool, typer.Option("--mix", help="Mix two channels. By default each is transcribed separately.")]
Speed = Annotated[float, typer.Option("--speed", min=0.1, max=100, help="Play a recording this many times as fast.")]
Idle = Annotated[int, typer.Option("--idle-seconds", help="The task ends after this many seconds without audio.")]
KeepAudio = Annotated[bool, typer.Option("--keep-audio", help="Store the audio as a recording named as the task.")]
Language = Annotated[
    str | None, typer.Option(help="The spoken language, as en, en-US or English. By default it is detected.")
]
Diarize = Annotated[
    bool, typer.Option("--diarize", help="Detect the speakers while people speak, and again at the end.")
]
TaskIdOption = Annotated[str | None, typer.Option("--task-id", help="Your own task id.")]
Resume = Annotated[
    str | None,
    typer.Option(
        "--resume",
        metavar="TASK_ID",
        help="Continue the audio of a task after what is stored, for example after this command was killed. The audio "
        "must have the same --codec, --rate and --channels; the task keeps its other options, and all of its text is "
        "shown. The audio must arrive within --idle-seconds. Not for a FILE or opus.",
    ),
]
PriorityOption = Annotated[Priority, typer.Option("--priority", help="Which tasks are served first.")]
Json = Annotated[
    bool,
    typer.Option(
        "--json",
        help="One JSON object per line: the task's ProgressEvent, SegmentsEvent, SpeakersEvent and Partial messages, "
        "then its result.",
    ),
]


def live(  # noqa: PLR0913 -- the task's fields
    source: Source,
    *,
    codec: CodecOption = Codec.PCM_S16LE,
    rate: Rate = None,
    channels: Count = 1,
    speed: Speed = 1.0,
    model: options.Model = None,
    language: Language = None,
    vocabulary: options.Vocabulary = None,
    prompt: options.Prompt = None,
    translate: options.Translate = False,
    mix: Mix = False,
    numbers: options.NumbersOption = Numbers.AS_IS,
    redact: options.Redact = None,
    redact_replace: options.RedactReplace = None,
    redact_audio: options.RedactAudio = None,
    diarize: Diarize = False,
    min_speakers: options.MinSpeakers = None,
    max_speakers: options.MaxSpeakers = None,
    identify: options.Identify = False,
    word_timestamps: options.WordTimestamps = False,
    user_id: options.User = "0",
    keep_seconds: options.Keep = None,
    keep_audio: KeepAudio = False,
    idle_seconds: Idle = IDLE_S,
    task_id: TaskIdOption = None,
    resume: Resume = None,
    priority: PriorityOption = Priority.NORMAL,
    result_format: options.Formats = None,
    output_dir: options.OutputDir = None,
    as_json: Json = False,
) -> None:
    """Transcribe live audio.

    Standard input has raw audio, without the header of a file: signed 16-bit samples, little-endian, 16 kHz, one
    channel. --codec, --rate and --channels select other formats.

    A microphone: arecord -f S16_LE -r 16000 -c 1 -t raw | natscribe live -

    What ffmpeg reads: ffmpeg -i INPUT -f s16le -ar 16000 -ac 1 - | natscribe live -

    Enter, pressed in a terminal, requests the text of the audio so far, without waiting for a pause. (`ffmpeg` needs
    -nostdin, or it reads the key.)

    Ctrl-C ends the audio, and the rest of the text follows; a second Ctrl-C cancels the task.
    """
    _check_resume(resume, source, task_id, codec)
    requested = RequestedOptions(min_speakers, max_speakers)
    options.check_speakers(requested, result_format, diarize=diarize, identify=identify)
    output = make_output(result_format, output_dir, DEFAULT_LIMITS, as_json=as_json)
    start = partial(
        Client.live,
        task_id=resume or task_id,
        resume=resume is not None,
        priority=priority,
        user_id=options.parse_user_id(user_id),
        idle_seconds=idle_seconds,
        keep_seconds=keep_seconds,
        keep_audio=keep_audio,
        diarize=diarize,
        min_speakers=min_speakers,
        max_speakers=max_speakers,
        identify=identify,
        word_timestamps=word_timestamps or ResultFormat.HTML in (result_format or ()),
        model=model,
        language=language,
        vocabulary=read_vocabulary(vocabulary),
        prompt=prompt,
        translate=translate,
        channels=Channels.MIX if mix else Channels.AUTO,
        numbers=numbers,
        redact=options.redaction(redact, redact_replace, redact_audio),
    )
    has_result = bool(output.formats) or diarize  # which is printed, and should be all that a program reads
    prints_text = output.folder is not None or out.is_terminal or not has_result
    stdin_format = {"codec": codec, "sample_rate": rate or _DEFAULT_RATE_HZ.get(codec, 16_000), "channels": channels}
    choose_display = partial(choose_live_display, as_json=as_json, prints_text=prints_text, diarize=diarize)

    async def work() -> int:
        audio = await AudioSource.open(source, stdin_format, speed)
        submit = partial(start, audio=audio.format)
        return await LiveSession(audio, submit, output, requested, choose_display).run()

    run_and_exit(work())


def _check_resume(resume: str | None, source: str, task_id: str | None, codec: Codec) -> None:
    """Check that the other arguments allow the option --resume, if it is given.

    Raises:
        typer.BadParameter: Another argument contradicts --resume.
    """
    if resume is None:
        return
    is_live = source == STANDARD_INPUT or URL.match(source)
    require(is_live, "--resume continues with live audio: a file would start from its beginning")
    require(codec is not Codec.OPUS, "--resume cannot continue opus, which is a file: start another live task")
    require(task_id is None, "--resume has the id of the task already: leave out --task-id")

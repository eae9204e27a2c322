"""The command `live`: transcribes sound while people speak."""

from functools import partial
from typing import Annotated

import typer

from natscribe.cli import users
from natscribe.cli.audio_input import STANDARD_INPUT
from natscribe.cli.console import out, run_and_exit
from natscribe.cli.folders import URL
from natscribe.cli.live_session import AudioSource, LiveSession
from natscribe.cli.notices import RequestedOptions
from natscribe.cli.output import Format, OutputDir, make_output
from natscribe.cli.submit import (
    Fewest,
    Formats,
    Identify,
    Keep,
    Model,
    Most,
    Prompt,
    Translate,
    User,
    Vocabulary,
    check_speakers,
)
from natscribe.cli.vocabulary import read_vocabulary
from natscribe.client import Client
from natscribe.client.results import DEFAULT_LIMITS
from natscribe.schemas.live import (
    IDLE_S,
    LEAST_RATE_HZ,
    MOST_LIVE_CHANNELS,
    MOST_RATE_HZ,
    Codec,
    LiveKeywords,
)
from natscribe.schemas.transcription import Channels
from natscribe.schemas.wire import Priority

Source = Annotated[
    str,
    typer.Argument(
        metavar="FILE|URL|-",
        help="- for sound from standard input; or a recording, which is played as fast as it was spoken: WAV and Opus "
        "as they are, anything else mixed to one channel, if ffmpeg or PyAV is installed here; or a url of a radio, a "
        "camera or a recording (http, https, rtsp), if PyAV is.",
    ),
]
CodecOption = Annotated[Codec, typer.Option("--codec", help="What standard input has.")]
Rate = Annotated[
    int | None,
    typer.Option(
        "--rate",
        min=LEAST_RATE_HZ,
        max=MOST_RATE_HZ,
        help="Samples a second of standard input: 16000 by default, 8000 for mulaw and alaw, 48000 for opus.",
        show_default=False,
    ),
]
_USUAL_RATE_HZ = {Codec.MULAW: 8000, Codec.ALAW: 8000, Codec.OPUS: 48_000}
Count = Annotated[int, typer.Option("--channels", min=1, max=MOST_LIVE_CHANNELS, help="Channels of standard input.")]
Mix = Annotated[bool, typer.Option("--mix", help="Mix two channels. By default each is transcribed on its own.")]
Speed = Annotated[float, typer.Option("--speed", min=0.1, max=100, help="Play a recording so many times as fast.")]
Idle = Annotated[int, typer.Option("--idle-seconds", help="The task ends after so many seconds without sound.")]
KeepAudio = Annotated[bool, typer.Option("--keep-audio", help="Store the sound as a recording, named as the task.")]
Language = Annotated[
    str | None,
    typer.Option(help="The spoken language, as en, en-US or English. By default it is detected.", show_default=False),
]
OwnId = Annotated[str | None, typer.Option("--task-id", help="Your own task id.", show_default=False)]
Resume = Annotated[
    str | None,
    typer.Option(
        "--resume",
        metavar="TASK_ID",
        help="Go on with the sound of a task behind what is stored, as after this command was killed. The sound has to "
        "be as before (--codec, --rate, --channels); the task has its other options already, and all of its text is "
        "shown. It must come within --idle-seconds. Not for a FILE, nor opus.",
        show_default=False,
    ),
]
Urgency = Annotated[Priority, typer.Option("--priority", help="Which tasks are served first.")]
Json = Annotated[
    bool,
    typer.Option(
        "--json",
        help="One JSON object a line: the task's ProgressEvent, SegmentsEvent and Partial messages, then its result.",
    ),
]


def live(  # noqa: PLR0913 -- the task's fields
    source: Source,
    *,
    codec: CodecOption = Codec.PCM_S16LE,
    rate: Rate = None,
    channels: Count = 1,
    speed: Speed = 1.0,
    model: Model = None,
    language: Language = None,
    vocabulary: Vocabulary = None,
    prompt: Prompt = None,
    translate: Translate = False,
    mix: Mix = False,
    diarize: Annotated[bool, typer.Option("--diarize", help="Find the speakers, at the end.")] = False,
    min_speakers: Fewest = None,
    max_speakers: Most = None,
    identify: Identify = False,
    word_timestamps: Annotated[bool, typer.Option("--word-timestamps", help="Give each word its time.")] = False,
    user_id: User = "0",
    keep_seconds: Keep = None,
    keep_audio: KeepAudio = False,
    idle_seconds: Idle = IDLE_S,
    task_id: OwnId = None,
    resume: Resume = None,
    priority: Urgency = Priority.NORMAL,
    result_format: Formats = None,
    output_dir: OutputDir = None,
    as_json: Json = False,
) -> None:
    """Turn speech into text while people speak.

    Standard input has sound alone, without the header of a file: signed 16-bit samples, little-endian, 16 kHz, one
    channel. --codec, --rate and --channels say what else it has.

    A microphone: arecord -f S16_LE -r 16000 -c 1 -t raw | natscribe live -

    What ffmpeg reads: ffmpeg -i INPUT -f s16le -ar 16000 -ac 1 - | natscribe live -

    Ctrl-C ends the sound, and the rest of the text follows; a second Ctrl-C cancels the task.
    """
    _check_resume(resume, source, task_id, codec)
    check_speakers(min_speakers, max_speakers, result_format, Channels.AUTO, diarize=diarize, identify=identify)
    output = make_output(result_format, output_dir, DEFAULT_LIMITS, as_json=as_json)
    options = LiveKeywords(
        user_id=users.parse_user_id(user_id),
        idle_seconds=idle_seconds,
        keep_seconds=keep_seconds,
        keep_audio=keep_audio,
        diarize=diarize,
        min_speakers=min_speakers,
        max_speakers=max_speakers,
        identify=identify,
        word_timestamps=word_timestamps or Format.HTML in (result_format or ()),
        model=model,
        language=language,
        vocabulary=() if vocabulary is None else read_vocabulary(vocabulary),
        prompt=prompt,
        translate=translate,
        channels=Channels.MIX if mix else Channels.AUTO,
    )

    async def work() -> int:
        given = {"codec": codec, "sample_rate": rate or _USUAL_RATE_HZ.get(codec, 16_000), "channels": channels}
        sound = await AudioSource.of(source, given, speed)
        wanted = RequestedOptions(min_speakers, max_speakers)
        has_result = bool(output.formats) or diarize  # which is printed, and should be all that a program reads
        prints_text = output.folder is not None or out.is_terminal or not has_result
        begin = partial(
            Client.live,
            audio=sound.audio,
            task_id=resume or task_id,
            resume=resume is not None,
            priority=priority,
            **options,
        )
        return await LiveSession(sound, begin, output, wanted, as_json=as_json, prints_text=prints_text).run()

    run_and_exit(work())


def _check_resume(resume: str | None, source: str, task_id: str | None, codec: Codec) -> None:
    """Check that the other arguments allow --resume."""
    if resume is None:
        return
    if source != STANDARD_INPUT and not URL.match(source):
        message = "--resume goes on with sound that comes now: a file would begin again"
        raise typer.BadParameter(message)
    if codec is Codec.OPUS:
        message = "--resume cannot go on with opus, which is a file: begin another live task"
        raise typer.BadParameter(message)
    if task_id is not None:
        message = "--resume has the id of the task already: leave out --task-id"
        raise typer.BadParameter(message)

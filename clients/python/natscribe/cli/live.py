"""The command `live`: transcribes sound while people speak."""

import asyncio
import signal
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from natscribe.cli import url_sound, users
from natscribe.cli.console import WARNING, err, find_servers, open_client, out, run_and_exit
from natscribe.cli.display import Display
from natscribe.cli.folders import URL
from natscribe.cli.follow import follow
from natscribe.cli.live_text import choose
from natscribe.cli.notices import Wanted, notices
from natscribe.cli.results import Format, Output, OutputDir, output_of
from natscribe.cli.sound import STANDARD_INPUT, SoundFile, check_input, from_input
from natscribe.cli.submit import (
    Fewest,
    Formats,
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
from natscribe.cli.wording import has_speakers
from natscribe.client import Client
from natscribe.client.live import Live
from natscribe.client.results import DEFAULT_LIMITS
from natscribe.client.submission import make
from natscribe.schemas.live import (
    IDLE_S,
    LEAST_RATE_HZ,
    MOST_LIVE_CHANNELS,
    MOST_RATE_HZ,
    Codec,
    LiveAudio,
    LiveKeywords,
)
from natscribe.schemas.transcription import Channels, TranscriptionResult
from natscribe.schemas.wire import Priority
from natscribe.settings import without_login

_END_AFTER_S = 2.0  # how long the end of a task may take to be seen after it has refused sound

Source = Annotated[
    str,
    typer.Argument(
        metavar="FILE|URL|-",
        help="- for sound from standard input; or a recording, which is played as fast as it was spoken: WAV, or Opus "
        "in Ogg or WebM; or a url of a radio, a camera or a recording (http, https, rtsp), if PyAV is installed here.",
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
        help="Go on with the sound of a task behind what is stored, as after this command was killed. The task has its "
        "options already, and all of its text is shown. It must come within --idle-seconds. Not for a FILE, nor opus.",
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
    _check_resume(resume, source, task_id)
    check_speakers(min_speakers, max_speakers, result_format, Channels.AUTO, diarize=diarize)
    output = output_of(result_format, output_dir, DEFAULT_LIMITS, as_json=as_json)
    options = LiveKeywords(
        user_id=users.user_id(user_id),
        idle_seconds=idle_seconds,
        keep_seconds=keep_seconds,
        keep_audio=keep_audio,
        diarize=diarize,
        min_speakers=min_speakers,
        max_speakers=max_speakers,
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
        sound = await _Sound.of(source, given, speed)
        wanted = Wanted(min_speakers, max_speakers)
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
        return await _Run(sound, begin, output, wanted, as_json=as_json, prints_text=prints_text).run()

    run_and_exit(work())


def _check_resume(resume: str | None, source: str, task_id: str | None) -> None:
    """Check that the sound of a task can go on.

    Raises:
        typer.BadParameter: It cannot.
    """
    if resume is None:
        return
    if source != STANDARD_INPUT and not URL.match(source):
        message = "--resume goes on with sound that comes now: a file would begin again"
        raise typer.BadParameter(message)
    if task_id is not None:
        message = "--resume has the id of the task already: leave out --task-id"
        raise typer.BadParameter(message)


@dataclass(frozen=True)
class _Sound:
    """Sound, and the name for it."""

    name: str
    audio: LiveAudio
    chunks: AsyncIterator[bytes]
    path: Path | None = None

    @classmethod
    async def of(cls, source: str, given: dict[str, object], speed: float) -> "_Sound":
        if source == STANDARD_INPUT:
            check_input()
            return cls("standard input", make(LiveAudio, given), from_input())
        if URL.match(source):
            return cls(without_login(source), url_sound.AUDIO, await url_sound.from_url(source, speed))
        file = SoundFile(source, find_servers().audio_max_bytes)
        return cls(file.path.name, file.audio, file.chunks(speed), file.path)


@dataclass
class _Run:
    """One run of the command."""

    sound: _Sound
    begin: Callable[[Client], Live]
    output: Output
    wanted: Wanted
    as_json: bool
    prints_text: bool  # as it is found

    async def run(self) -> int:
        """Send the sound, show its text, and write the result; return the exit code."""
        async with open_client() as client, self.begin(client) as live:
            err.print(f"{self.sound.name} is task {live.task_id}")
            try:
                with choose(as_json=self.as_json, prints_text=self.prints_text) as shown:
                    is_completed = await self._listen(client, live, shown)
            except asyncio.CancelledError:
                await client.cancel(live.task_id)
                err.print(f"{live.task_id} is cancelled.")
                raise
            if is_completed:
                self._write(await live.result(), live.task_id, shown)
        return 0 if is_completed else 1

    async def _listen(self, client: Client, live: Live, shown: Display) -> bool:
        """Send the sound and show events, until the task has ended; return whether it was completed.

        Raises:
            ClientError: The sound could not be sent.
        """
        speaking = asyncio.create_task(self._speak(live))
        listening = asyncio.create_task(follow(client, shown, live.task_id, self.sound.name, events=live.events()))
        _end_sound_first(speaking)
        shown.tell("listening, Ctrl-C ends the sound")
        try:
            await asyncio.wait([speaking, listening], return_when=asyncio.FIRST_COMPLETED)
            if not listening.done():
                shown.tell("waiting for the rest of the text, Ctrl-C cancels the task")
                await self._end(live, speaking, listening)
            return await listening
        finally:
            for each in (speaking, listening):
                each.cancel()
            await asyncio.wait([speaking, listening])

    async def _speak(self, live: Live) -> None:
        async for chunk in self.sound.chunks:
            await live.send(chunk)

    async def _end(self, live: Live, speaking: "asyncio.Task[None]", listening: "asyncio.Task[bool]") -> None:
        error = None if speaking.cancelled() else speaking.exception()
        if error is None:
            await live.end()
            return
        await asyncio.wait([listening], timeout=_END_AFTER_S)  # a task that has ended refuses sound, and tells why
        if not listening.done():
            raise error

    def _write(self, result: TranscriptionResult, task_id: str, shown: Display) -> None:
        """Write the result, unless it would only repeat the text that was shown."""
        path, name = self.sound.path, self.sound.path.stem if self.sound.path else task_id
        if self.output.folder is not None:
            err.print(f"wrote {self.output.write(name, result, path)}")
        elif self.output.formats or has_speakers(result) or not shown.found:
            if shown.found:
                shown.text.print()
            self.output.show(out, result, label=self.sound.name, heading=False, recording=path)
        for notice in notices(self.sound.name, result, self.wanted):
            err.print(notice, style=WARNING)


def _end_sound_first(speaking: "asyncio.Task[None]") -> None:
    """Let the first Ctrl-C end the sound, and the next one the command."""
    loop, work = asyncio.get_running_loop(), asyncio.current_task()

    def interrupted() -> None:
        if not speaking.done():
            speaking.cancel()
        elif work is not None:
            work.cancel()

    loop.add_signal_handler(signal.SIGINT, interrupted)

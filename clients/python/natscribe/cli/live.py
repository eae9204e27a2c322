"""The command `live`: transcribes sound while people speak."""

import asyncio
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from natscribe.cli import users
from natscribe.cli.console import WARNING, err, find_servers, open_client, out, run_and_exit
from natscribe.cli.limits import MaxCueSeconds, MaxLineChars, MaxLines
from natscribe.cli.limits import chosen as chosen_limits
from natscribe.cli.live_text import LiveText, choose
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
    TaskIdOption,
    Translate,
    User,
    Vocabulary,
    check_speakers,
)
from natscribe.cli.vocabulary import read_vocabulary
from natscribe.cli.wording import has_speakers
from natscribe.client import Client
from natscribe.client.live import Live
from natscribe.client.submission import make
from natscribe.schemas.live import IDLE_S, LEAST_RATE_HZ, MOST_LIVE_CHANNELS, MOST_RATE_HZ, Codec, LiveAudio
from natscribe.schemas.progress import ProgressEvent, State
from natscribe.schemas.transcription import Channels, TranscriptionResult
from natscribe.schemas.wire import Priority

_END_AFTER_S = 2.0  # how long the end of a task may take to be seen after it has refused sound

Source = Annotated[
    str,
    typer.Argument(
        metavar="FILE|-",
        help="- for sound from standard input; or a recording, which is played as fast as it was spoken: WAV, or Opus "
        "in Ogg or WebM.",
    ),
]
CodecOption = Annotated[Codec, typer.Option("--codec", help="What standard input has.")]
Rate = Annotated[
    int, typer.Option("--rate", min=LEAST_RATE_HZ, max=MOST_RATE_HZ, help="Samples a second of standard input.")
]
Count = Annotated[int, typer.Option("--channels", min=1, max=MOST_LIVE_CHANNELS, help="Channels of standard input.")]
Mix = Annotated[bool, typer.Option("--mix", help="Mix two channels. By default each is transcribed on its own.")]
Speed = Annotated[float, typer.Option("--speed", min=0.1, max=100, help="Play a FILE so many times as fast.")]
Idle = Annotated[int, typer.Option("--idle-seconds", help="The task ends after so many seconds without sound.")]
KeepAudio = Annotated[bool, typer.Option("--keep-audio", help="Store the sound as a recording, named as the task.")]
Language = Annotated[
    str | None,
    typer.Option(help="The spoken language, as en, en-US or English. By default it is detected.", show_default=False),
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
    rate: Rate = 16_000,
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
    task_id: TaskIdOption = None,
    priority: Urgency = Priority.NORMAL,
    result_format: Formats = None,
    max_line_chars: MaxLineChars = None,
    max_lines: MaxLines = None,
    max_cue_seconds: MaxCueSeconds = None,
    output_dir: OutputDir = None,
    as_json: Json = False,
) -> None:
    """Turn speech into text while people speak.

    For a microphone: arecord -f S16_LE -r 16000 -c 1 -t raw | natscribe live -

    Ctrl-C ends the sound, and the rest of the text follows; a second Ctrl-C cancels the task.
    """
    check_speakers(min_speakers, max_speakers, result_format, Channels.AUTO, diarize=diarize)
    limits = chosen_limits(result_format, max_line_chars, max_lines, max_cue_seconds)
    output = output_of(result_format, output_dir, limits, as_json=as_json)
    terms = () if vocabulary is None else read_vocabulary(vocabulary)
    owner, with_words = users.user_id(user_id), word_timestamps or Format.HTML in (result_format or ())

    def begin(client: Client, audio: LiveAudio) -> Live:
        return client.live(
            audio=audio,
            task_id=task_id,
            user_id=owner,
            idle_seconds=idle_seconds,
            keep_audio=keep_audio,
            keep_seconds=keep_seconds,
            diarize=diarize,
            min_speakers=min_speakers,
            max_speakers=max_speakers,
            word_timestamps=with_words,
            priority=priority,
            model=model,
            language=language,
            vocabulary=terms,
            prompt=prompt,
            translate=translate,
            channels=Channels.MIX if mix else Channels.AUTO,
        )

    async def work() -> int:
        given = {"codec": codec, "sample_rate": rate, "channels": channels}
        sound = _Sound.of(source, given, speed)
        wanted = Wanted(min_speakers, max_speakers)
        return await _Run(sound, begin, output, wanted, as_json=as_json).run()

    run_and_exit(work())


@dataclass(frozen=True)
class _Sound:
    """Sound, and the name for it."""

    name: str
    audio: LiveAudio
    chunks: AsyncIterator[bytes]
    path: Path | None = None

    @classmethod
    def of(cls, source: str, given: dict[str, object], speed: float) -> "_Sound":
        if source == STANDARD_INPUT:
            check_input()
            return cls("standard input", make(LiveAudio, given), from_input())
        file = SoundFile(source, find_servers().audio_max_bytes)
        return cls(file.path.name, file.audio, file.chunks(speed), file.path)


@dataclass
class _Run:
    """One run of the command."""

    sound: _Sound
    begin: Callable[[Client, LiveAudio], Live]
    output: Output
    wanted: Wanted
    as_json: bool

    async def run(self) -> int:
        """Send the sound, show its text, and write the result; return the exit code."""
        has_file = self.output.folder is not None
        prints_text = has_file or not self.output.formats or out.is_terminal
        async with open_client() as client:
            try:
                async with self.begin(client, self.sound.audio) as live:
                    err.print(f"{self.sound.name} is task {live.task_id}")
                    with choose(as_json=self.as_json, prints_text=prints_text) as shown:
                        state = await self._listen(live, shown)
            except asyncio.CancelledError:
                await client.cancel(live.task_id)
                err.print(f"{live.task_id} is cancelled.")
                raise
            if state is not State.COMPLETED:
                return 1
            self._write(await live.result(), live.task_id, shown)
        return 0

    async def _listen(self, live: Live, shown: LiveText) -> State | None:
        """Send the sound and show events, until the task has ended; return its last state.

        Raises:
            ClientError: The sound could not be sent.
        """
        speaking = asyncio.create_task(self._speak(live))
        listening = asyncio.create_task(_show(live, shown))
        _end_sound_first(speaking)
        shown.tell("listening, Ctrl-C ends the sound")
        try:
            await asyncio.wait([speaking, listening], return_when=asyncio.FIRST_COMPLETED)
            if not listening.done():
                await self._end(live, speaking, listening)
                shown.tell("waiting for the rest of the text, Ctrl-C cancels the task")
            return await listening
        finally:
            for each in (speaking, listening):
                each.cancel()
            await asyncio.wait([speaking, listening])

    async def _speak(self, live: Live) -> None:
        async for chunk in self.sound.chunks:
            await live.send(chunk)

    async def _end(self, live: Live, speaking: "asyncio.Task[None]", listening: "asyncio.Task[State | None]") -> None:
        error = None if speaking.cancelled() else speaking.exception()
        if error is None:
            await live.end()
            return
        await asyncio.wait([listening], timeout=_END_AFTER_S)  # a task that has ended refuses sound, and tells why
        if not listening.done():
            raise error

    def _write(self, result: TranscriptionResult, task_id: str, shown: LiveText) -> None:
        """Write the result, unless it would only repeat the text that was shown."""
        path, name = self.sound.path, self.sound.path.stem if self.sound.path else task_id
        if self.output.folder is not None:
            err.print(f"wrote {self.output.write(name, result, path)}")
        elif self.output.formats or has_speakers(result) or not shown.found:
            self.output.show(out, result, label=self.sound.name, heading=False, recording=path)
        for notice in notices(self.sound.name, result, self.wanted):
            err.print(notice, style=WARNING)


async def _show(live: Live, shown: LiveText) -> State | None:
    state = None
    async with aclosing(live.events()) as events:
        async for event in events:
            shown.show(event)
            state = event.state if isinstance(event, ProgressEvent) else state
    return state


def _end_sound_first(speaking: "asyncio.Task[None]") -> None:
    """Let the first Ctrl-C end the sound, and the next one the command."""
    loop, work = asyncio.get_running_loop(), asyncio.current_task()

    def interrupted() -> None:
        if not speaking.done():
            speaking.cancel()
        elif work is not None:
            work.cancel()

    loop.add_signal_handler(signal.SIGINT, interrupted)

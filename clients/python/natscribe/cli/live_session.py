"""Runs the command `live`: sends sound and shows its text; the first Ctrl-C ends the sound."""

import asyncio
import signal
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

from natscribe.cli import decoding, url_audio
from natscribe.cli.audio_input import (
    STANDARD_INPUT,
    AudioFile,
    OtherFormatError,
    check_input,
    existing_file,
    from_input,
)
from natscribe.cli.console import WARNING, err, open_client, out, read_settings
from natscribe.cli.display import Display
from natscribe.cli.folders import URL
from natscribe.cli.follow import follow
from natscribe.cli.live_text import choose_live_display
from natscribe.cli.notices import RequestedOptions, notices
from natscribe.cli.output import Output
from natscribe.cli.wording import has_speakers
from natscribe.client import Client, ClientError, command
from natscribe.client.live import Live
from natscribe.client.submission import make
from natscribe.schemas.live import LiveAudio
from natscribe.schemas.transcription import TranscriptionResult
from natscribe.settings import without_login

_CANCELLED_WITHIN_S = 3.0
_END_AFTER_S = 2.0  # how long the end of a task may take to be seen after it has refused sound


@dataclass(frozen=True)
class AudioSource:
    """The sound of a live task, and its name for people."""

    name: str
    audio: LiveAudio
    chunks: AsyncIterator[bytes]
    path: Path | None = None

    @classmethod
    async def of(cls, source: str, given: dict[str, object], speed: float) -> "AudioSource":
        """Open the sound that `source` names; `given` has the fields of `LiveAudio` for standard input.

        Raises:
            typer.BadParameter: There is no such file, or no library here decodes it.
            ClientError: The source cannot be read, or has no sound.
        """
        if source == STANDARD_INPUT:
            check_input()
            audio = make(LiveAudio, given)
            return cls("standard input", audio, await from_input(audio.codec))
        if URL.match(source):
            return cls(without_login(source), decoding.AUDIO, await url_audio.from_url(source, speed))
        path = existing_file(source, read_settings().audio_max_bytes)
        try:
            file = AudioFile(path)
        except OtherFormatError:
            return cls(path.name, decoding.AUDIO, await decoding.from_file(path, speed), path)
        return cls(path.name, file.audio, file.chunks(speed), path)


@dataclass
class LiveSession:
    """Sends the sound of one live task, shows its text, and writes its result."""

    sound: AudioSource
    begin: Callable[[Client], Live]
    output: Output
    wanted: RequestedOptions
    as_json: bool
    prints_text: bool  # as it is found
    sent: int = 0  # bytes of sound

    async def run(self) -> int:
        """Send the sound, show its text, and write the result; return the exit code.

        Raises:
            ClientError: There was no sound, it could not be sent, or the task cannot go on.
        """
        async with open_client() as client, self.begin(client) as live:
            err.print(f"{self.sound.name} is task {live.task_id}")
            try:
                with choose_live_display(as_json=self.as_json, prints_text=self.prints_text) as shown:
                    is_completed = await self._listen(client, live, shown)
            except asyncio.CancelledError:
                await _cancel(client, live.task_id)
                raise
            if is_completed:
                result = await live.result()
                if not result.duration:
                    raise self._no_sound()
                self._write(result, live.task_id, shown)
        return 0 if is_completed else 1

    async def _listen(self, client: Client, live: Live, shown: Display) -> bool:
        """Send the sound and show events, until the task has ended; return whether it was completed."""
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
            self.sent += len(chunk)

    def _no_sound(self) -> ClientError:
        """Make the error for a live task that has ended without sound."""
        is_file = self.sound.path is not None
        hint = "whether a player plays it" if is_file else "whether the program before `|` says why it has stopped"
        return ClientError(f"{self.sound.name} has no sound, only {self.sent} bytes: check {hint}.")

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


async def _cancel(client: Client, task_id: str) -> None:
    """Cancel the task, or say how to do it later if NATS does not answer soon."""
    cancelling = asyncio.ensure_future(client.cancel(task_id))
    try:
        await asyncio.wait([cancelling], timeout=_CANCELLED_WITHIN_S)
        if cancelling.done() and cancelling.exception() is None:
            err.print(f"{task_id} is cancelled.")
            return
    finally:
        cancelling.cancel()
    later = f"{task_id} is not cancelled, because NATS does not answer: `{command()} cancel {task_id}` does it later."
    err.print(later, style=WARNING)


def _end_sound_first(speaking: "asyncio.Task[None]") -> None:
    """Let the first Ctrl-C end the sound, and the next one the command."""
    loop, work = asyncio.get_running_loop(), asyncio.current_task()

    def interrupted() -> None:
        if not speaking.done():
            speaking.cancel()
        elif work is not None:
            work.cancel()

    loop.add_signal_handler(signal.SIGINT, interrupted)

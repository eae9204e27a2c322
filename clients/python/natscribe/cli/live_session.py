"""Runs the subcommand `live`: sends audio and shows its text; the first Ctrl-C ends the audio."""

import asyncio
import signal
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

from natscribe.cli import decoding
from natscribe.cli.audio_input import STANDARD_INPUT, AudioFile, OtherFormatError, check_input, from_input
from natscribe.cli.console import WARNING, err, open_client, out, read_settings
from natscribe.cli.display import Display
from natscribe.cli.enter_key import on_enter
from natscribe.cli.folders import URL, existing_file
from natscribe.cli.follow import follow
from natscribe.cli.notices import RequestedOptions, notices
from natscribe.cli.output import Output
from natscribe.cli.wording import has_speakers
from natscribe.client import Client, ClientError, command
from natscribe.client.live import Live
from natscribe.client.submission import build_message
from natscribe.schemas.live import LiveAudio
from natscribe.schemas.transcription import TranscriptionResult
from natscribe.settings import without_login

_CANCEL_TIMEOUT_S = 3.0
_END_TIMEOUT_S = 2.0  # an ended task refuses audio; its last event arrives within this time


@dataclass(frozen=True)
class AudioSource:
    """Where the audio of a live task comes from: its format, and an iterator over its chunks.

    `name`: the name of the source in messages. `path`: the file; None if the source is not a file.
    """

    name: str
    format: LiveAudio
    chunks: AsyncIterator[bytes]
    path: Path | None = None

    @classmethod
    async def open(cls, source: str, stdin_format: dict[str, object], speed: float) -> "AudioSource":
        """Open the source of audio that the argument `source` names: a file, a URL, or `-` for standard input.

        `stdin_format`: the format of standard input, as the fields of `LiveAudio`. `speed`: how many seconds of a file
        are sent per second.

        Raises:
            typer.BadParameter: The file is missing, empty or too large, standard input is a terminal, or the source has
                to be decoded, and PyAV is not installed for this.
            ClientError: The source cannot be read, or has no audio.
        """
        if source == STANDARD_INPUT:
            check_input()
            audio = build_message(LiveAudio, stdin_format)
            return cls("standard input", audio, await from_input(audio.codec))
        if URL.match(source):
            return cls(without_login(source), decoding.AUDIO, await decoding.from_url(source, speed))
        path = existing_file(source, read_settings().audio_max_bytes)
        try:
            file = AudioFile(path)
        except OtherFormatError:
            return cls(path.name, decoding.AUDIO, await decoding.from_file(path, speed), path)
        return cls(path.name, file.audio, file.chunks(speed), path)


@dataclass
class LiveSession:
    """Sends the audio of one live task, shows the text while it is transcribed, and writes the result.

    `start`: returns the live transcription for a client. `requested`: the options about which warnings are printed if
    the result does not fulfil them. `choose_display`: returns the display for a live transcription.
    """

    source: AudioSource
    start: Callable[[Client], Live]
    output: Output
    requested: RequestedOptions
    choose_display: Callable[[Live], Display]
    sent_bytes: int = 0

    async def run(self) -> int:
        """Run the session, and return the exit code: 0 if the task was completed, or 1.

        Raises:
            ClientError: The source has no audio, the audio could not be sent, or the task cannot be resumed.
        """
        async with open_client() as client, self.start(client) as live:
            err.print(f"{self.source.name} is task {live.task_id}")
            try:
                with self.choose_display(live) as display:
                    is_completed = await self._follow(client, live, display)
            except asyncio.CancelledError:
                await _cancel(client, live.task_id)
                raise
            if is_completed:
                result = await live.result()
                if not result.duration:
                    raise self._no_audio()
                self._write(result, live.task_id, display)
        return 0 if is_completed else 1

    async def _follow(self, client: Client, live: Live, display: Display) -> bool:
        """Send the audio and show the task's events until the task ends; return whether it was completed."""
        sending = asyncio.create_task(self._send(live))
        following = asyncio.create_task(follow(client, display, live.task_id, self.source.name, events=live.events()))
        requests: list[asyncio.Task[None]] = []
        _handle_ctrl_c(sending)
        try:
            with on_enter(lambda: requests.append(asyncio.create_task(live.finalize()))) as has_terminal:
                enter = "Enter requests its text at once, " if has_terminal else ""
                display.message(f"sending the audio, {enter}Ctrl-C ends it")
                await asyncio.wait([sending, following], return_when=asyncio.FIRST_COMPLETED)
            if not following.done():
                display.message("waiting for the rest of the text, Ctrl-C cancels the task")
                await self._end(live, sending, following)
            return await following
        finally:
            for task in (running := [sending, following, *requests]):
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)  # the events say why a request has failed

    async def _send(self, live: Live) -> None:
        async for chunk in self.source.chunks:
            await live.send(chunk)
            self.sent_bytes += len(chunk)

    def _no_audio(self) -> ClientError:
        """Return the error for a live task whose source has ended without any audio."""
        is_file = self.source.path is not None
        hint = "whether a player plays it" if is_file else "whether the program before `|` says why it has stopped"
        return ClientError(f"{self.source.name} has no audio, only {self.sent_bytes} bytes", f"check {hint}")

    async def _end(self, live: Live, sending: "asyncio.Task[None]", following: "asyncio.Task[bool]") -> None:
        error = None if sending.cancelled() else sending.exception()
        if error is None:
            await live.end()
            return
        await asyncio.wait([following], timeout=_END_TIMEOUT_S)  # an ended task refuses audio, and its event says why
        if not following.done():
            raise error

    def _write(self, result: TranscriptionResult, task_id: str, display: Display) -> None:
        """Write the result to a file, or print it unless its text was already shown; then print warnings about it."""
        path, name = self.source.path, self.source.path.stem if self.source.path else task_id
        if self.output.folder is not None:
            err.print(f"wrote {self.output.write(name, result, path)}")
        elif self.output.formats or has_speakers(result) or not display.shown_segments:
            if display.shown_segments:
                display.text.print()
            self.output.show(out, result, label=self.source.name, heading=False, recording=path)
        for notice in notices(self.source.name, result, self.requested):
            err.print(notice, style=WARNING)


async def _cancel(client: Client, task_id: str) -> None:
    """Cancel a live task; if NATS does not reply within _CANCEL_TIMEOUT_S, print how to cancel the task later."""
    cancelling = asyncio.ensure_future(client.cancel(task_id))
    try:
        await asyncio.wait([cancelling], timeout=_CANCEL_TIMEOUT_S)
        if cancelling.done() and cancelling.exception() is None:
            err.print(f"{task_id} is cancelled.")
            return
    finally:
        cancelling.cancel()
    later = f"{task_id} is not cancelled, because NATS does not reply: `{command()} cancel {task_id}` does it later."
    err.print(later, style=WARNING)


def _handle_ctrl_c(sending: "asyncio.Task[None]") -> None:
    """Make the first Ctrl-C end only the audio; after the end of the audio, Ctrl-C cancels the calling asyncio task.

    `sending`: the asyncio task that sends the audio, which the first Ctrl-C cancels.
    """
    loop, work = asyncio.get_running_loop(), asyncio.current_task()

    def interrupted() -> None:
        if not sending.done():
            sending.cancel()
        elif work is not None:
            work.cancel()

    loop.add_signal_handler(signal.SIGINT, interrupted)

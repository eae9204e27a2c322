"""`natscribe live` as people use it, in pipes and in a terminal; the mock plays the service."""

import asyncio
import fcntl
import json
import os
import pty
import re
import signal
import struct
import termios
import wave
from asyncio.subprocess import PIPE, Process
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from nats.js import JetStreamContext
from natscribe.cli.exit_codes import INTERRUPTED
from natscribe.client import Client
from natscribe.mock import Mock
from natscribe.schemas.progress import State

from app.settings import Settings
from tests.faults import passing_on
from tests.integration.seen_by_clients import is_in_state
from tests.terminal import Terminal
from tests.unit.engines.opus_files import hum, recorded
from tests.waiting import eventually

pytestmark = pytest.mark.timeout(300)  # each test starts processes

NINE_SECONDS = bytes(9 * 32_000)
TEXT = ["[0:00] Good morning.", "[0:04] Good morning.", "[0:08] Good"]
CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\r")
GREY = "\x1b[38;5;245m"


class Shell(Terminal):
    """Runs `natscribe live` in a folder of its own."""

    async def start(self, *arguments: str, **streams: int) -> Process:
        return await super().start("live", *arguments, **{"stdin": PIPE} | streams)

    async def run(self, *arguments: str, stdin: bytes | None = NINE_SECONDS) -> tuple[int, str, str]:
        return await super().run(*arguments, stdin=stdin)

    async def speak(self, js: JetStreamContext, audio: bytes, *arguments: str) -> Process:
        """Start the command, and wait until NATS has stored all of this audio."""
        process = await self.start("-", *arguments)
        assert process.stdin is not None
        process.stdin.write(audio)
        await eventually(lambda: _are_stored(js, len(audio)))
        return process

    def write_wav(self, name: str, samples: bytes, rate: int = 16_000) -> None:
        with wave.open(str(self.folder / name), "wb") as file:
            file.setparams((1, 2, rate, 0, "NONE", ""))
            file.writeframes(samples)


@pytest.fixture
def shell(tmp_path: Path, settings: Settings, mock: Mock) -> Shell:
    return Shell(tmp_path, settings, TERM="xterm-256color")


async def test_a_pipe_has_the_text_and_nothing_else(shell: Shell) -> None:
    # When audio comes from a pipe, and the text goes to one
    code, out, err = await shell.run("-", "--task-id", "t1")
    # Then each segment is a line, and the rest is elsewhere
    assert (code, out.splitlines()) == (0, TEXT)
    assert "standard input is task t1" in err
    assert err.index("sending the audio") < err.index("queued") < err.index("transcribing")
    assert err.splitlines()[-1] == "completed"


async def test_a_pipe_may_have_the_messages_or_the_result_instead(shell: Shell) -> None:
    # When messages are requested, then there are partial results during live audio, and the result is the last
    process = await shell.start("-", "--json", "--codec", "alaw", "--channels", "2")
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(bytes(2 * 16_000))
    messages: list[dict[str, object]] = []
    while not messages or "stable" not in messages[-1]:
        messages.append(json.loads(await process.stdout.readline()))
    out, _ = await process.communicate(bytes(7 * 16_000))
    messages += [json.loads(line) for line in out.splitlines()]
    assert {"lag_seconds", "segments"} <= {name for message in messages for name in message}
    assert (messages[-1]["source"], messages[-1]["duration"]) == ("live", 9)
    # When a format is wanted, or speakers, then only the result is printed
    _, subtitles, _ = await shell.run("-", "--format", "srt")
    _, speakers, _ = await shell.run("-", "--diarize")
    assert subtitles.startswith("1\n00:00:00,000 --> 00:00:02,400\nGood morning.\n")
    assert speakers.splitlines() == ["SPEAKER_00: Good morning.", "SPEAKER_01: Good morning.", "SPEAKER_00: Good"]


async def test_a_file_is_played_and_its_result_written(shell: Shell) -> None:
    # Given a recording
    shell.write_wav("call.wav", NINE_SECONDS)
    # When it is played nine times as fast, into a folder
    began = asyncio.get_running_loop().time()
    code, out, err = await shell.run("call.wav", "--speed", "9", "--output-dir", "texts", "--format", "txt")
    # Then that takes a second at least, the text is printed as it is transcribed, and written
    assert asyncio.get_running_loop().time() - began >= 1
    assert (code, out.splitlines()) == (0, TEXT)
    assert "wrote texts/call.txt" in err
    assert (shell.folder / "texts/call.txt").read_text() == "Good morning.\nGood morning.\nGood\n"
    # When it is a file that has to be decoded
    (shell.folder / "call.mp3").write_bytes(recorded("mp3", hum(9), codec="libmp3lame"))
    code, out, err = await shell.run("call.mp3", "--speed", "9")
    # Then its text comes in the same way
    assert (code, out.splitlines()) == (0, TEXT)
    assert "call.mp3 is task" in err


async def test_a_file_in_a_pipe_is_refused_before_there_is_a_task(shell: Shell, client: Client) -> None:
    # When a pipe has a file with a header
    code, out, err = await shell.run("-", stdin=recorded("mp3", hum(1), codec="libmp3lame"))
    # Then the error says how to play it, and no task is left behind
    assert (code, out) == (1, "")
    assert err.startswith("Standard input is a file: `natscribe live FILE` plays files")
    assert (await client.tasks()).tasks == []


async def test_audio_without_a_sample_is_an_error(shell: Shell) -> None:
    # When nothing comes from a pipe
    code, out, err = await shell.run("-", stdin=b"")
    # Then the error says so, and where to read on
    assert (code, out) == (1, "")
    assert "standard input has no audio, only 0 bytes: check whether the program before `|` says why" in err
    # When a file has a header and no audio, then they do, too, and no result is written
    shell.write_wav("call.wav", b"")
    code, _, err = await shell.run("call.wav", "--output-dir", "texts")
    assert code == 1
    assert "call.wav has no audio, only 0 bytes: check whether a player plays it." in err
    assert list((shell.folder / "texts").iterdir()) == []


async def test_the_audio_of_a_url_is_transcribed(shell: Shell) -> None:
    # Given a recording on a web server
    shell.write_wav("call.wav", bytes(9 * 88_200), 44_100)
    handler = partial(SimpleHTTPRequestHandler, directory=shell.folder)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        asyncio.get_running_loop().run_in_executor(None, server.serve_forever)
        address = f"127.0.0.1:{server.server_port}"
        # When it is played, nine times as fast
        code, out, err = await shell.run(f"http://user:secret@{address}/call.wav", "--speed", "9", "--task-id", "t1")
        # Then its text comes as that of a file, and the login is not shown
        assert (code, out.splitlines()) == (0, TEXT)
        assert f"http://{address}/call.wav is task t1" in err
        # And an address without audio is reported before there is a task
        code, _, err = await shell.run(f"http://{address}/nothing.wav", "--task-id", "t2")
        assert (code, "cannot be read" in err, "is task" in err) == (1, True, False)
        server.shutdown()


async def test_a_failure_is_reported_once(shell: Shell) -> None:
    # When the task fails
    code, out, err = await shell.run("-", "--task-id", "error-audio_too_large-1")
    # Then that is reported, after the text so far
    assert (code, out.splitlines()) == (1, TEXT[:1])
    assert err.count("audio_too_large)") == 1


async def test_ctrl_c_ends_the_audio_and_then_the_task(shell: Shell, client: Client, js: JetStreamContext) -> None:
    # Given live audio
    process = await shell.speak(js, NINE_SECONDS, "--task-id", "t1")
    # When Ctrl-C is pressed
    process.send_signal(signal.SIGINT)
    # Then the rest of the text comes
    out, _ = await process.communicate()
    assert (process.returncode, out.decode().splitlines()) == (0, TEXT)
    # Given a task that ends only after more audio than there is
    process = await shell.start("-", "--task-id", "slow-1")
    await _printed(process, "sending the audio, Ctrl-C ends it")
    # When Ctrl-C is pressed twice
    process.send_signal(signal.SIGINT)
    await _printed(process, "waiting for the rest")
    process.send_signal(signal.SIGINT)
    # Then the task is cancelled
    _, err = await process.communicate()
    assert process.returncode == INTERRUPTED
    assert "slow-1 is cancelled." in err.decode()
    assert await is_in_state(client, "slow-1", State.CANCELLED)


async def test_how_to_cancel_later_is_reported_during_an_outage_of_nats(
    tmp_path: Path, settings: Settings, mock: Mock
) -> None:
    # Given a command that waits for the rest of the text, and has a way to NATS of its own
    async with passing_on(settings.nats_url) as nats_url:
        own = settings.model_copy(update={"nats_url": nats_url})
        process = await Shell(tmp_path, own).start("-", "--task-id", "slow-1")
        await _printed(process, "sending the audio, Ctrl-C ends it")
        process.send_signal(signal.SIGINT)
        await _printed(process, "waiting for the rest")
    # When NATS is unavailable, and Ctrl-C is pressed again
    await _printed(process, "NATS is unavailable")
    process.send_signal(signal.SIGINT)
    # Then the command ends, and says what is left to do
    _, err = await process.communicate()
    assert process.returncode == INTERRUPTED
    assert "slow-1 is not cancelled" in err.decode()
    assert " cancel slow-1` does it later." in err.decode()


async def test_a_task_is_resumed_after_its_command_was_killed(shell: Shell, js: JetStreamContext) -> None:
    # Given a command that is killed in the middle of the audio
    process = await shell.speak(js, NINE_SECONDS[: 5 * 32_000], "--task-id", "t1")
    process.kill()
    await process.wait()
    # When it is started again as it was, then the error has the next command
    code, _, err = await shell.run("-", "--task-id", "t1")
    assert (code, "resume the task with `natscribe live - --resume t1`" in err) == (1, True)
    # And audio with another rate is refused, without ending the audio of the task
    code, _, err = await shell.run("-", "--resume", "t1", "--rate", "8000")
    assert (code, err.partition(": ")[0]) == (1, "The audio of t1 has codec pcm_s16le, rate 16000, channels 1")
    # When another one continues with the rest
    code, out, _ = await shell.run("-", "--resume", "t1", stdin=NINE_SECONDS[5 * 32_000 :])
    # Then it shows the text of all the audio
    assert (code, out.splitlines()) == (0, TEXT)


async def _printed(process: Process, words: str) -> None:
    """Wait until the command says this on standard error."""
    assert process.stderr is not None
    async for line in process.stderr:
        if words in line.decode():
            return
    message = f"ended without {words!r}"
    raise AssertionError(message)


async def _are_stored(js: JetStreamContext, count: int) -> bool:
    state = (await js.stream_info("transcription_live")).state
    stored = [await js.get_msg("transcription_live", number) for number in range(1, state.messages + 1)]
    return sum(len(frame.data or b"") for frame in stored) >= count


async def test_a_terminal_shows_partial_results_in_grey(shell: Shell) -> None:
    # Given a terminal of 80 columns
    screen, inside = pty.openpty()
    fcntl.ioctl(inside, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    process = await shell.start("-", stdout=inside, stderr=inside)
    os.close(inside)
    shown: list[bytes] = []
    reading = asyncio.create_task(asyncio.to_thread(_read_all, screen, shown))
    assert process.stdin is not None
    # When a word is spoken, then it is grey; and stable when the next one follows
    for half_seconds, words in ((2, f"[0:00] {GREY}Good"), (3, f"Good{GREY} morning.")):
        process.stdin.write(bytes(16_000 * half_seconds))
        await eventually(partial(_is_shown, shown, words), within=120)
    # And when Enter is pressed, then the text so far is final
    os.write(screen, b"\n")
    await eventually(partial(_is_shown, shown, "[0:00] Good morning.\r\n"), within=120)
    # When the rest is spoken
    process.stdin.write(NINE_SECONDS[5 * 16_000 :])
    process.stdin.close()
    assert await process.wait() == 0
    await reading
    written = b"".join(shown).decode()
    # And in the end each segment is there once
    lines = [line.rpartition("\x1b[2K")[2] for line in written.split("\n")]
    firm = [CONTROL.sub("", line) for line in lines if GREY not in line]
    assert [line for line in firm if line.startswith("[")] == TEXT
    # And is not below itself in grey
    assert all(f"{text}\r\n{text[:11]}" not in written for text in TEXT)


async def _is_shown(shown: list[bytes], words: str) -> bool:
    return words.encode() in b"".join(shown)


def _read_all(screen: int, shown: list[bytes]) -> None:
    try:
        while chunk := os.read(screen, 65_536):
            shown.append(chunk)
    except OSError:  # Linux says so when the command has ended
        pass
    finally:
        os.close(screen)

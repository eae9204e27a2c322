"""The command as people see it: in a terminal."""

import asyncio
import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest

from app.main import Worker

COMMAND = (sys.executable, "-c", "from natscribe.cli import main; main()")
CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\r")
COLOUR = re.compile(r"\x1b\[(?!0m|1m)[0-9;]+m")


class Terminal:
    """Runs commands in a terminal of 24 lines and 80 columns."""

    def __init__(self, nats_url: str, folder: Path) -> None:
        self._nats_url = nats_url
        self._folder = folder

    async def run(self, *arguments: str, **environment: str) -> tuple[int, str]:
        """Run a command; return its exit code, and everything that it writes."""
        return await asyncio.to_thread(self._run, arguments, environment)

    def _run(self, arguments: tuple[str, ...], environment: dict[str, str]) -> tuple[int, str]:
        screen, inside = pty.openpty()
        fcntl.ioctl(inside, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        given = {"NATS_URL": self._nats_url, "AUDIO_STORE": self._folder.as_uri(), "TERM": "xterm-256color"}
        kept = {name: value for name, value in os.environ.items() if name not in {"NO_COLOR", "COLUMNS", "LINES"}}
        process = subprocess.Popen(
            (*COMMAND, *arguments),
            cwd=self._folder,
            env=kept | given | environment,
            stdin=inside,
            stdout=inside,
            stderr=inside,
            start_new_session=True,
        )
        os.close(inside)
        written = b""
        try:
            while found := os.read(screen, 65536):
                written += found
        except OSError:  # Linux says so when the command has ended
            pass
        finally:
            os.close(screen)
        return process.wait(), written.decode()


def lines_of(written: str) -> list[str]:
    """The lines that a terminal shows, and those that were shown for a while."""
    kept = (line.rpartition("\x1b[2K")[2] for line in written.split("\n"))  # what is before was erased
    return [CONTROL.sub("", line).rstrip() for line in kept]


@pytest.fixture
def terminal(worker: Worker, tmp_path: Path) -> Terminal:
    return Terminal(worker.settings.nats_url, tmp_path)


async def test_a_text_with_speakers_is_printed_once(terminal: Terminal, task_id: str) -> None:
    # Given a terminal that cannot move its cursor
    # When one recording is transcribed with speakers
    code, written = await terminal.run(
        "transcribe", "--stored", "--diarize", "meeting.flac", "--task-id", task_id, TERM="dumb"
    )
    # Then the result says who says what, and no other line has the text
    assert code == 0
    assert [line for line in written.split("\r\n") if line.endswith(("one", "two"))] == [
        f"   0:{start:02}  SPEAKER_{start // 5 % 2:02}  {'two' if start % 2 else 'one'}" for start in range(0, 30, 5)
    ]


async def test_a_terminal_without_colours_has_none(terminal: Terminal, task_id: str) -> None:
    # When one recording is transcribed with speakers
    code, written = await terminal.run(
        "transcribe", "--stored", "--diarize", "meeting.flac", "--task-id", task_id, NO_COLOR="1"
    )
    # Then the turns are there, above the bar
    lines = lines_of(written)
    assert code == 0
    assert lines.count("   0:25  SPEAKER_01  two") == 1
    assert "completed" in lines[-2]
    assert COLOUR.search(written) is None


@pytest.mark.parametrize("options", [["--channels", "separate"], ["--format", "txt"], ["--format", "srt"]])
async def test_a_text_in_another_form_is_printed_once(terminal: Terminal, task_id: str, options: list[str]) -> None:
    # When a result has another form than the text that is found
    code, written = await terminal.run(
        "transcribe", "--stored", "meeting.flac", "--task-id", task_id, *options, TERM="dumb"
    )
    # Then only the result is printed
    assert code == 0
    assert len(re.findall(r"\btwo\b", written)) == 3


async def test_text_that_was_shown_is_not_shown_again(terminal: Terminal, task_id: str) -> None:
    # Given a terminal that cannot move its cursor
    # When one recording is transcribed
    code, written = await terminal.run("transcribe", "--stored", "meeting.flac", "--task-id", task_id, TERM="dumb")
    # Then its text is there once, in plain lines
    assert code == 0
    assert "\x1b" not in written
    assert [line for line in written.split("\r\n") if "one two" in line] == [
        f"[0:{start:02}] one two" for start in (0, 10, 20)
    ]


async def test_many_recordings_leave_a_line_of_all(terminal: Terminal, worker: Worker, tmp_path: Path) -> None:
    # Given more recordings than a terminal shows, one of which is not there
    names = [f"meeting-{number}.flac" for number in range(10)]
    for name in names[1:]:
        (Path(worker.settings.audio_store.removeprefix("file://")) / name).write_bytes(
            b"the scripted engine does not read it"
        )
    # When they are transcribed into a folder
    code, written = await terminal.run("transcribe", "--stored", *names, "--output-dir", "found")
    # Then each result is told when it is written, and the last lines count them
    lines = lines_of(written)
    assert code == 1
    assert len(list((tmp_path / "found").iterdir())) == 9
    assert len([line for line in lines if line.startswith("wrote found/meeting-")]) == 9
    assert lines[-3].startswith("all 10 files")
    assert lines[-3].endswith("100% 9 done, 1 failed")
    assert lines[-2] == "1 of 10 failed: meeting-0.flac"

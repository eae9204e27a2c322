"""The command as people see it: in a terminal."""

import re
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from app.main import Worker
from tests.terminal import run_on_screen

CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\r")
Transcribed = Callable[..., Awaitable[str]]
COLOUR = re.compile(r"\x1b\[(?!0m|1m)[0-9;]+m")


class Terminal:
    """Runs commands in a terminal of 24 lines and 80 columns."""

    def __init__(self, nats_url: str, folder: Path) -> None:
        self._nats_url = nats_url
        self._folder = folder

    async def run(self, *arguments: str, **environment: str) -> tuple[int, str]:
        """Run a command; return its exit code, and everything that it writes."""
        settings = {"NATS_URL": self._nats_url, "AUDIO_STORE": self._folder.as_uri(), "TERM": "xterm-256color"}
        return await run_on_screen(self._folder, *arguments, env=settings | environment)


def lines_of(written: str) -> list[str]:
    """The lines that a terminal shows, and those that were shown for a while."""
    last_states = (line.rpartition("\x1b[2K")[2] for line in written.split("\n"))  # what is before was erased
    return [CONTROL.sub("", line).rstrip() for line in last_states]


@pytest.fixture
def terminal(worker: Worker, tmp_path: Path) -> Terminal:
    return Terminal(worker.settings.nats_url, tmp_path)


@pytest.fixture
def transcribed(terminal: Terminal, task_id: str) -> Transcribed:
    """Transcribe a recording with these options and this environment; return what the terminal gets."""

    async def transcribed(*options: str, **environment: str) -> str:
        code, written = await terminal.run(
            "transcribe", "--stored", "meeting.flac", "--task-id", task_id, *options, **environment
        )
        assert code == 0
        return written

    return transcribed


@pytest.mark.parametrize(
    ("options", "lines"),
    [
        pytest.param([], [f"[0:{start:02}] one two" for start in (0, 10, 20)], id="as it is transcribed"),
        pytest.param(
            ["--diarize"],
            [f"   0:{at:02}  SPEAKER_{at // 5 % 2:02}  {'two' if at % 2 else 'one'}" for at in range(0, 30, 5)],
            id="of the result with speakers",
        ),
    ],
)
async def test_a_terminal_without_a_cursor_gets_plain_lines_once(
    transcribed: Transcribed, options: list[str], lines: list[str]
) -> None:
    written = await transcribed(*options, TERM="dumb")
    assert "\x1b" not in written
    assert [line for line in written.split("\r\n") if line.endswith(("one", "two"))] == lines


@pytest.mark.parametrize("options", [["--channels", "separate"], ["--format", "txt"], ["--format", "srt"]])
async def test_a_result_in_another_form_is_printed_alone(transcribed: Transcribed, options: list[str]) -> None:
    assert len(re.findall(r"\btwo\b", await transcribed(*options, TERM="dumb"))) == 3


async def test_a_terminal_without_colours_has_none(transcribed: Transcribed) -> None:
    written = await transcribed("--diarize", NO_COLOR="1")
    # The turns are above the bar
    lines = lines_of(written)
    assert lines.count("   0:25  SPEAKER_01  two") == 1
    assert "completed" in lines[-2]
    assert COLOUR.search(written) is None


async def test_many_recordings_leave_a_line_of_all(terminal: Terminal, worker: Worker, tmp_path: Path) -> None:
    # Given more recordings than a terminal shows, one of which is not there
    names = [f"meeting-{number}.flac" for number in range(10)]
    for name in names[1:]:
        (Path(worker.settings.audio_store.removeprefix("file://")) / name).write_bytes(
            b"the scripted engine does not read it"
        )
    # When they are transcribed into a folder
    code, written = await terminal.run("transcribe", "--stored", *names, "--output-dir", "found")
    # Then each result is reported when it is written, and the last lines count them
    lines = lines_of(written)
    assert code == 1
    assert len(list((tmp_path / "found").iterdir())) == 9
    assert len([line for line in lines if line.startswith("wrote found/meeting-")]) == 9
    assert lines[-3].startswith("all 10 files")
    assert lines[-3].endswith("100% 9 done, 1 failed")
    assert lines[-2] == "1 of 10 failed: meeting-0.flac"

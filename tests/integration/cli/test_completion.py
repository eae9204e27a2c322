"""Completion in the shells that are installed."""

import os
import pty
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from tests.terminal import install_command

WITHIN_S = 60.0
COMPLETED = "natscribe transcribe --channels separate"


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """An environment in which the shell finds the command by its name, and no settings of a user."""
    path = f"{install_command(tmp_path).parent}:{os.environ['PATH']}"
    return {"PATH": path, "HOME": str(tmp_path), "TERM": "dumb", "LANG": "C.UTF-8"}


class Shell:
    """A shell in a terminal that the test types into."""

    def __init__(self, words: list[str], environment: dict[str, str]) -> None:
        self._screen, inside = pty.openpty()
        self._process = subprocess.Popen(
            words, env=environment, stdin=inside, stdout=inside, stderr=inside, start_new_session=True
        )
        os.close(inside)
        os.set_blocking(self._screen, False)
        self._shown = ""

    def types(self, keys: str, *, until: str) -> None:
        """Type keys, and wait until the screen shows `until`."""
        self._shown = ""
        os.write(self._screen, keys.encode())
        deadline = time.monotonic() + WITHIN_S
        while until not in self._shown:
            assert time.monotonic() < deadline, self._shown
            try:
                self._shown += os.read(self._screen, 4096).decode(errors="ignore")
            except BlockingIOError:
                time.sleep(0.01)

    def leave(self) -> None:
        """End the shell."""
        self._process.kill()
        self._process.wait()
        os.close(self._screen)


@pytest.mark.parametrize(
    ("words", "setup"),
    [
        (["bash", "--norc", "--noprofile", "-i"], ""),
        (["zsh", "-f", "-i"], "autoload -Uz compinit; compinit -u -D; "),
    ],
    ids=["bash", "zsh"],
)
def test_a_shell_completes_commands_options_and_values(
    words: list[str], setup: str, environment: dict[str, str]
) -> None:
    if shutil.which(words[0]) is None:
        pytest.skip(f"{words[0]} is not installed")
    # Given a shell that has read the completion of the command
    shell = Shell(words, environment)
    try:
        shell.types(f'{setup}eval "$(natscribe --show-completion)"; echo re""ady\n', until="ready")
        # When Tab is pressed after the beginnings of words
        shell.types("natscribe transc\t", until="transcribe ")
        shell.types("--chan\t", until="--channels ")
        shell.types("sep\t", until="separate ")
        # Then the words are completed
        shell.types("\x01echo \n", until=f"\n{COMPLETED}")
    finally:
        shell.leave()


def test_fish_completes_commands_options_and_values(environment: dict[str, str]) -> None:
    if (fish := shutil.which("fish")) is None:
        pytest.skip("fish is not installed")
    # Given a fish that has read the completion of the command
    typed = ("natscribe transc", "natscribe transcribe --chan", "natscribe transcribe --channels sep")
    commands = ["natscribe --show-completion | source", *(f"complete -C '{words}'" for words in typed)]
    # When it completes the beginnings of words
    completed = subprocess.run(
        [fish, "--no-config", "-c", "; ".join(commands)], env=environment, capture_output=True, text=True, check=True
    )
    # Then it offers the words
    assert [line.split("\t")[0] for line in completed.stdout.splitlines()] == ["transcribe", "--channels", "separate"]

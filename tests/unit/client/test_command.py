"""The name of the command, for messages that say what to type."""

from pathlib import Path

import pytest
from natscribe.client.command import command, command_in_another_terminal


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The command in a virtual environment, whose parent is the working folder."""
    path = tmp_path / "my work" / ".venv" / "bin" / "natscribe"
    path.parent.mkdir(parents=True)
    path.touch(mode=0o755)
    monkeypatch.chdir(tmp_path / "my work")
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    monkeypatch.delenv("VIRTUAL_ENV", raising=False)
    return path


def names() -> tuple[str, str]:
    return command_in_another_terminal(in_this_folder=True), command_in_another_terminal(in_this_folder=False)


@pytest.mark.parametrize("called", [".venv/bin/natscribe", "./.venv/bin/natscribe", "../my work/.venv/bin/natscribe"])
def test_a_command_that_is_not_in_the_path_is_called_by_its_path(
    installed: Path, monkeypatch: pytest.MonkeyPatch, called: str
) -> None:
    monkeypatch.setattr("sys.argv", [called])
    assert names() == (".venv/bin/natscribe", f"'{installed}'")


def test_another_terminal_has_no_activated_environment(installed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a terminal in which the environment is activated
    monkeypatch.setattr("sys.argv", [str(installed)])
    monkeypatch.setenv("PATH", f"{installed.parent}:/usr/bin")
    monkeypatch.setenv("VIRTUAL_ENV", str(installed.parents[1]))
    # Then the name suffices there, but not in another terminal
    assert command() == "natscribe"
    assert names() == (".venv/bin/natscribe", f"'{installed}'")


def test_a_command_in_the_path_of_every_terminal_has_its_name(installed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", [str(installed)])
    monkeypatch.setenv("PATH", f"{installed.parent}:/usr/bin")
    assert names() == ("natscribe", "natscribe")


def test_a_program_of_another_name_reports_the_default_name(installed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["program.py"])
    assert names() == ("natscribe", "natscribe")

"""Folders as arguments."""

from pathlib import Path

import pytest
import typer
from natscribe.cli.folders import recordings_of


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of files as people have them."""
    for name in (
        *("b.m4a", "a.WAV", "a 10.opus", "calls/monday.mp3", "calls/.draft.mp3", ".trash/old.mp3", ".hidden.wav"),
        *("notes.txt", "calls/cover.jpg", "README"),
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def test_the_recordings_in_a_folder_are_found_by_name(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # Given a folder with recordings in it and below it, other files and hidden ones
    # When its recordings are looked for
    found = recordings_of(folder)
    # Then they come by name
    assert [str(path.relative_to(folder)) for path in found] == ["a 10.opus", "a.WAV", "b.m4a", "calls/monday.mp3"]
    # And what is left out is said in one line, without the hidden
    assert capsys.readouterr().err == (
        f"{folder}: left out, because their names are not those of recordings: README, calls/cover.jpg, notes.txt\n"
    )


def test_of_many_other_files_a_few_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(8):
        (tmp_path / f"{number}.txt").touch()
    (tmp_path / "a.flac").touch()
    recordings_of(tmp_path)
    assert capsys.readouterr().err.endswith(": 0.txt, 1.txt, 2.txt, 3.txt, 4.txt and 3 more\n")


def test_a_folder_without_recordings_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(typer.BadParameter, match=f"no recording in {tmp_path}"):
        recordings_of(tmp_path)


@pytest.mark.parametrize("name", ["b.m4a", "notes.txt", "missing.wav"])
def test_a_file_that_is_named_is_taken_as_it_is(folder: Path, name: str) -> None:
    assert recordings_of(folder / name) == [folder / name]


def test_a_link_to_the_folder_itself_ends(folder: Path) -> None:
    (folder / "calls/again").symlink_to(folder)
    assert len(recordings_of(folder)) == 4


def test_a_folder_that_cannot_be_read_is_an_error(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a subfolder that is somebody else's
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied", "calls")

    monkeypatch.setattr("os.scandir", refuse)
    # When the recordings are looked for, then none is left out silently
    with pytest.raises(typer.BadParameter, match="the folder calls cannot be read: Permission denied"):
        recordings_of(folder)

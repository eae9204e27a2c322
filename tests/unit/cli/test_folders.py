"""Recordings that arguments name: files, folders and patterns."""

from pathlib import Path

import pytest
import typer
from natscribe.cli.folders import find_recordings

MOST = 10**9  # bytes of a recording


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with recordings, other files and hidden files."""
    for name in (
        *("b.m4a", "a.WAV", "a 10.opus", "calls/monday.mp3", "calls/.draft.mp3", ".trash/old.mp3", ".hidden.wav"),
        *("notes.txt", "calls/cover.jpg", "README"),
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def test_the_recordings_in_a_folder_are_sorted_by_name(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recordings = find_recordings(str(folder), MOST)
    assert [str(Path(path).relative_to(folder)) for path in recordings] == [
        "a 10.opus",
        "a.WAV",
        "b.m4a",
        "calls/monday.mp3",
    ]
    # And the skipped files are listed in one line, without the hidden ones
    assert capsys.readouterr().err == (
        f"{folder}: skipped files without the suffix of a recording: README, calls/cover.jpg, notes.txt\n"
    )


def test_a_few_of_many_skipped_files_are_listed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(8):
        (tmp_path / f"{number}.txt").touch()
    (tmp_path / "a.flac").touch()
    find_recordings(str(tmp_path), MOST)
    assert capsys.readouterr().err.endswith(": 0.txt, 1.txt, 2.txt, 3.txt, 4.txt and 3 more\n")


def test_a_name_may_start_with_a_tilde(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("~call.wav").write_bytes(b"audio")
    # When it is named, then no home folder of a user `call.wav` is searched for
    assert find_recordings("~call.wav", MOST) == [Path("~call.wav")]


@pytest.mark.parametrize("name", ["call.wav", "notes.txt", "call [1].wav", ".hidden.wav"])
def test_a_named_file_needs_no_suffix_and_may_be_hidden(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"audio")
    assert find_recordings(str(tmp_path / name), MOST) == [tmp_path / name]


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("missing.wav", "There is no file .*missing.wav"),
        ("empty.wav", "empty.wav is empty"),
        ("/dev/zero", "save it as a file first"),
        ("long.wav", "long.wav has 101 bytes, and AUDIO_MAX_BYTES is 100: compress it"),
        ("https://example.com/a.mp3", "is a URL, and FILE is a file on this computer: download it first"),
        ("file:///tmp/a.mp3", "name the file by its path"),
    ],
)
def test_an_argument_that_cannot_be_a_recording_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, why: str
) -> None:
    # Given an empty file, and one that is larger than the service allows
    monkeypatch.chdir(tmp_path)
    Path("empty.wav").touch()
    Path("long.wav").write_bytes(b"." * 101)
    with pytest.raises(typer.BadParameter, match=why):
        find_recordings(name, 100)


def test_a_stored_recording_is_named_without_an_address() -> None:
    assert find_recordings("2026/*.wav", MOST, stored=True) == ["2026/*.wav"]
    with pytest.raises(typer.BadParameter, match="without the address"):
        find_recordings("https://example.com/a.mp3", MOST, stored=True)


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*.m4a", ["b.m4a"]),
        ("c*/*", ["calls/monday.mp3"]),
        ("**/*.mp3", ["calls/monday.mp3"]),
        ("[ab]*", ["a 10.opus", "a.WAV", "b.m4a"]),
    ],
)
def test_a_pattern_names_the_recordings_that_match(
    folder: Path, monkeypatch: pytest.MonkeyPatch, pattern: str, expected: list[str]
) -> None:
    monkeypatch.chdir(folder)
    assert [str(path) for path in find_recordings(pattern, MOST)] == expected


@pytest.mark.parametrize(
    ("argument", "why"),
    [("*.txt", r"no recording matches \*.txt: check the pattern"), (".trash", "no recording in .trash")],
)
def test_an_argument_without_recordings_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch, argument: str, why: str
) -> None:
    monkeypatch.chdir(folder)
    (folder / ".trash/old.mp3").unlink()
    with pytest.raises(typer.BadParameter, match=why):
        find_recordings(argument, MOST)


def test_a_link_to_its_own_folder_is_not_followed(folder: Path) -> None:
    (folder / "calls/again").symlink_to(folder)
    assert len(find_recordings(str(folder), MOST)) == 4


def test_a_folder_that_cannot_be_read_is_an_error(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied", "calls")

    monkeypatch.setattr("os.scandir", refuse)
    # Then no recording is skipped silently
    with pytest.raises(typer.BadParameter, match="the folder calls cannot be read: Permission denied"):
        find_recordings(str(folder), MOST)

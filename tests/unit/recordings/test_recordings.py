"""Recordings in a folder, what a name may be, and temporary files."""

import errno
import os
import subprocess
from collections.abc import AsyncIterator
from hashlib import sha256
from pathlib import Path

import pytest
from natscribe.schemas.errors import ErrorCode
from structlog.testing import capture_logs

from app.runtime.errors import PermanentError, TransientError
from app.runtime.temporary import is_disk_full, remove_stale_files, report_full_disk, temporary_file
from app.storage.recordings.folder import Folder
from app.storage.recordings.recording import check_size, is_valid_name, not_found, save


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    root = tmp_path / "recordings"
    root.mkdir()
    (root / "a.flac").write_bytes(b"12345")
    (root / "empty.flac").write_bytes(b"")
    (root / "large.flac").write_bytes(b"123456")
    (root / "below").mkdir()
    (root / "below/b.flac").write_bytes(b"b")
    (tmp_path / "outside.flac").write_bytes(b"1")
    (root / "link.flac").symlink_to(tmp_path / "outside.flac")
    (root / "linked").symlink_to(tmp_path)
    os.mkfifo(root / "pipe")
    return Folder(root, max_bytes=5)


@pytest.mark.parametrize("name", ["a.flac", "below/b.flac", "below/../a.flac"])
async def test_a_recording_of_a_folder_is_read_where_it_is(folder: Folder, name: str) -> None:
    async with folder.fetch(name) as recording:
        assert recording.sha256 == sha256(recording.path.read_bytes()).hexdigest()
        await recording.check()
    await folder.delete(name)
    assert recording.path.exists()


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("missing.flac", ErrorCode.AUDIO_NOT_FOUND),
        ("below", ErrorCode.AUDIO_NOT_FOUND),
        ("link.flac", ErrorCode.AUDIO_NOT_FOUND),
        ("linked/outside.flac", ErrorCode.AUDIO_NOT_FOUND),
        ("pipe", ErrorCode.AUDIO_NOT_FOUND),
        (".", ErrorCode.AUDIO_NOT_FOUND),
        ("../outside.flac", ErrorCode.AUDIO_NOT_FOUND),
        ("below/../../outside.flac", ErrorCode.AUDIO_NOT_FOUND),
        ("a\0b", ErrorCode.AUDIO_NOT_FOUND),
        ("empty.flac", ErrorCode.AUDIO_UNREADABLE),
        ("large.flac", ErrorCode.AUDIO_TOO_LARGE),
    ],
)
async def test_a_name_outside_of_the_folder_is_no_recording(
    folder: Folder, tmp_path: Path, name: str, code: ErrorCode
) -> None:
    with pytest.raises(PermanentError) as refused:
        await folder.fetch(name).__aenter__()
    assert refused.value.detail.code is code
    assert str(tmp_path) not in refused.value.detail.message


async def test_an_absolute_name_is_no_recording(folder: Folder, tmp_path: Path) -> None:
    with pytest.raises(PermanentError):
        await folder.fetch(str(tmp_path / "recordings/a.flac")).__aenter__()


async def test_a_missing_folder_is_a_transient_error_for_the_operator(tmp_path: Path) -> None:
    with pytest.raises(TransientError, match=r"folder of recordings is missing.*AUDIO_STORE"):
        await Folder(tmp_path / "missing", max_bytes=5).fetch("a.flac").__aenter__()


async def test_a_changed_recording_is_detected(folder: Folder, tmp_path: Path) -> None:
    path = tmp_path / "recordings/a.flac"
    async with folder.fetch("a.flac") as recording:
        # Given that the same content is written again, then it is the same
        os.utime(path, ns=(0, 0))
        await recording.check()
        # When something else is stored, or nothing, then the error of the task says so
        path.write_bytes(b"54321")
        with pytest.raises(PermanentError, match="replaced"):
            await recording.check()
        path.unlink()
        with pytest.raises(TransientError, match="disappeared"):
            await recording.check()


@pytest.mark.parametrize(
    ("name", "below"),
    [
        ("a.flac", True),
        ("calls/2026/a b.flac", True),
        ("é" * 450, True),
        ("é" * 450 + "a", False),
        ("", False),
        ("/a", False),
        ("a/", False),
        ("a//b", False),
        ("./a", False),
        (".", False),
        ("..", False),
        ("a/\nb", False),
        ("a/../b", False),
        ("...", True),
        ("a\\b", False),
        ("a\x00", False),
        ("a\x7f", False),
        ("a\x9f", False),
        ("a\xa0", True),
        ("\ud800", False),
    ],
)
def test_a_name_stays_below_its_prefix(name: str, below: bool) -> None:
    assert is_valid_name(name) is below


@pytest.mark.parametrize(
    ("size", "code"),
    [(0, ErrorCode.AUDIO_UNREADABLE), (1, None), (5, None), (6, ErrorCode.AUDIO_TOO_LARGE)],
)
async def test_a_recording_has_a_size(tmp_path: Path, size: int, code: ErrorCode | None) -> None:
    # Given a recording that comes byte by byte
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(size):
            yield b"x"

    path = tmp_path / "saved"
    with path.open("wb") as file:
        # When it is saved, then it is whole, or refused
        if code is None:
            check_size(size, 5)
            assert await save(chunks(), file, 5) == sha256(b"x" * size).hexdigest()
            assert path.read_bytes() == b"x" * size
        else:
            with pytest.raises(PermanentError) as refused:
                await save(chunks(), file, 5)
            assert refused.value.detail.code is code


def test_a_long_name_is_cut_in_the_error() -> None:
    with pytest.raises(PermanentError) as refused:
        not_found("x" * 300, "upload it")
    assert len(refused.value.detail.message) < 300


@pytest.mark.parametrize(
    ("error", "full"),
    [
        (OSError(errno.ENOSPC, ""), True),
        (OSError(errno.EDQUOT, ""), True),
        (OSError(errno.EACCES, ""), False),
        (ValueError(), False),
    ],
)
def test_a_full_disk_differs_from_other_errors(error: Exception, full: bool) -> None:
    assert is_disk_full(error) is full
    with pytest.raises(TransientError if full else type(error)), report_full_disk(7):
        raise error


@pytest.mark.usefixtures("scratch")
async def test_a_temporary_file_that_cannot_be_removed_fails_nothing() -> None:
    # Given a file that cannot be removed when it is done with: something else has its name
    with capture_logs() as logs:
        async with temporary_file(7) as path:
            path.unlink()
            path.mkdir()
    # Then the work continues, and the log says which file is left
    assert [(line["event"], line["file"]) for line in logs] == [("temporary_file_left", path.name)]


async def test_a_temporary_file_is_private_and_removed(scratch: Path) -> None:
    async with temporary_file(7) as path:
        assert path.parent == scratch
        assert path.stat().st_mode & 0o777 == 0o600
    assert not path.exists()


def test_only_files_of_ended_processes_are_removed(scratch: Path) -> None:
    # Given files of this process, of one that has ended, of none, and of a number that no process can have
    ended = subprocess.Popen(["true"])  # noqa: S607
    ended.wait()
    mine = scratch / f"natscribe-{os.getpid()}-x"
    others = [scratch / "natscribe-none-x", scratch / "other-1-x"]
    gone = [scratch / f"natscribe-{ended.pid}-x", scratch / f"natscribe-{2**32}-x", scratch / f"natscribe-{2**70}-x"]
    for path in (mine, *others, *gone):
        path.write_bytes(b"")
    folder = scratch / f"natscribe-{ended.pid}-metrics"
    folder.mkdir()
    (folder / "gauge.db").write_bytes(b"")
    # When the folder is swept, then only those of the dead go
    remove_stale_files()
    assert sorted(scratch.iterdir()) == sorted([mine, *others])


def test_files_of_another_user_stop_no_start(scratch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given what dead workers have left, some of it another user's, which may not be removed
    ended = subprocess.Popen(["true"])  # noqa: S607
    ended.wait()
    anothers, ours = (scratch / f"natscribe-{ended.pid}-{name}" for name in ("anothers", "ours"))
    for path in (anothers, ours):
        path.touch()
    unlink = Path.unlink

    def in_a_sticky_folder(path: Path, *, missing_ok: bool = False) -> None:
        if path == anothers:
            raise PermissionError(errno.EPERM, "Operation not permitted", str(path))
        unlink(path, missing_ok=missing_ok)

    monkeypatch.setattr(Path, "unlink", in_a_sticky_folder)
    # When the next worker starts
    remove_stale_files()
    # Then it does, and the rest is gone
    assert list(scratch.iterdir()) == [anothers]

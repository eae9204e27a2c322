"""The kinds of recordings with which transcription is measured."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks import kinds
from benchmarks.kinds import REPOSITORY, RecordingKind, kinds_in
from tests.truth.recordings import RATE, channels_of, read


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> dict[str, RecordingKind]:
    kinds = kinds_in(REPOSITORY, tmp_path_factory.mktemp("channels"))
    return {kind.name.partition(",")[0]: kind for kind in kinds}


def test_every_kind_is_represented(repository: dict[str, RecordingKind]) -> None:
    prompts = {f"prompts-{language}" for language in ("en", "es", "fr", "it", "ru")}
    others = {"dictation-en", "dictation-ru", "languages", "short-en", "short-ru", "two-channels", "calls"}
    assert repository.keys() == prompts | others


def test_every_recording_has_audio_and_words(repository: dict[str, RecordingKind]) -> None:
    for kind in repository.values():
        assert all(recording.seconds > 2 for recording in kind.recordings)
        assert all(len(recording.words.split()) >= 3 for recording in kind.recordings)


def test_the_bare_engine_detects_the_language_of_each_window_of_several(repository: dict[str, RecordingKind]) -> None:
    assert [name for name, kind in repository.items() if kind.bare_options] == ["languages"]
    assert repository["languages"].words[0].startswith("Please")


def test_the_bare_engine_is_given_each_channel_as_a_file(repository: dict[str, RecordingKind]) -> None:
    # Given the recording of two channels
    kind = repository["two-channels"]
    left, right = (read(recording.path) for recording in kind.recordings)
    # Then the files are as long, differ, and have words of their own
    assert len(left) == len(right) == round(kind.recordings[0].seconds * RATE)
    assert np.any(left != right)
    assert kind.recordings[0].words.startswith("Please hold")
    assert kind.recordings[1].words.startswith("Нажмите 5")


def test_calls_have_a_message_of_each_language_at_the_same_time(repository: dict[str, RecordingKind]) -> None:
    # Given the calls that are made of the messages
    kind = repository["calls"]
    sides = list(zip(kind.recordings[::2], kind.recordings[1::2], strict=True))
    # Then each is a file of two channels, English and Russian, of one length
    assert len(sides) == len(kind.calls) > 1
    for call, (left, right) in zip(kind.calls, sides, strict=True):
        assert [len(channel) for channel in channels_of(call)] == [len(read(side.path)) for side in (left, right)]
        assert left.words.isascii()
        assert not right.words.isascii()
    # And not all are the same
    assert len({right.words for _, right in sides}) > 1


def test_another_folder_can_be_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(kinds.NAMED_BY, str(tmp_path))
    assert kinds.folder() == tmp_path


def test_without_a_larger_set_the_repositorys_own_is_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(kinds.NAMED_BY, raising=False)
    monkeypatch.setattr(kinds, "BESIDE", tmp_path / "missing")
    assert kinds.folder() == REPOSITORY

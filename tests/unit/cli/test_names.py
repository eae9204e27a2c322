"""Names of recordings on the screen, and of the files of their results."""

from pathlib import Path

import pytest
from natscribe.cli.names import recording_name, result_file_names, unique_file_names, unique_labels, unique_task_names


@pytest.mark.parametrize(
    ("recordings", "labels"),
    [
        (["x/a.wav", "y/b.wav"], ["a.wav", "b.wav"]),
        (["x/a.wav", "y/a.wav"], ["x/a.wav", "y/a.wav"]),
        (["a.wav", "a.wav", "a.wav"], ["a.wav", "a.wav (2)", "a.wav (3)"]),
        (["a.wav", "a.wav", "a.wav (2)"], ["a.wav", "a.wav (2)", "a.wav (2) (2)"]),
        (["x/a.wav", "y/A.WAV"], ["x/a.wav", "y/A.WAV"]),
    ],
)
def test_labels_are_unique(recordings: list[str], labels: list[str]) -> None:
    assert unique_labels(list(recordings)) == labels


@pytest.mark.parametrize(
    ("recordings", "names"),
    [
        (["../x/a.wav", "x/a.wav"], ["up-x-a.wav", "x-a.wav"]),
        (["x/a.wav", "y/a.wav", "x-a.wav"], ["x-a.wav", "y-a.wav", "x-a.wav (2)"]),
        (["/x/y/a.wav", "x/y/a.wav"], ["x-y-a.wav", "x-y-a.wav (2)"]),
        (["-a.wav", "a.wav"], ["a.wav", "a.wav (2)"]),
    ],
)
def test_file_names_are_unique_and_not_hidden(recordings: list[str], names: list[str]) -> None:
    assert unique_file_names(unique_labels(list(recordings))) == names


@pytest.mark.parametrize(
    ("recording", "name"),
    [
        ("calls/a.wav", "a.wav"),
        ("t1-a.wav", "a.wav"),
        (".hidden.wav", "hidden.wav"),
        ("/", "t1"),
        ("t1-", "t1"),
        ("x/..", "up"),
        ("a" * 300, "t1"),
    ],
)
def test_a_stored_recording_has_its_file_name_or_the_task_id(recording: str, name: str) -> None:
    assert recording_name(recording, "t1") == name


@pytest.mark.parametrize(
    ("recordings", "names"),
    [
        ({"t1": "a.wav", "t2": "b.wav"}, ["a.wav", "b.wav"]),
        ({"t1": "a.wav", "t2": "a.wav"}, ["a.wav", "t2"]),
        ({"t1": "a.wav", "t2": "A.wav"}, ["a.wav", "t2"]),
        ({"x": "y", "y": "y"}, ["y", "y (2)"]),
        ({"x": "y", "y": "x"}, ["y", "x"]),
        ({"t1": "t3", "t2": "a", "t3": "a"}, ["t3", "a", "t3 (2)"]),
    ],
)
def test_names_of_tasks_are_unique(recordings: dict[str, str], names: list[str]) -> None:
    assert unique_task_names(recordings) == names


@pytest.mark.parametrize(
    ("recordings", "names"),
    [
        (["talk.mp3", "call.flac"], ["talk", "call"]),
        (["talk.mp3", "talk.flac", "call.flac"], ["talk.mp3", "talk.flac", "call"]),
        (["Talk.mp3", "tALK.flac"], ["Talk.mp3", "tALK.flac"]),
        (["\u00e9.mp3", "e\u0301.flac"], ["\u00e9.mp3", "e\u0301.flac"]),
        (["a.wav", "a.wav (2)"], ["a", "a (2)"]),
        (["a.wav (2)", "a (2).wav"], ["a.wav (2)", "a (2).wav"]),
        (["talk.mp3", "talk.flac", "talk.flac.wav"], ["talk.mp3", "talk.flac", "talk.flac.wav"]),
        (["talk.mp3", "talk"], ["talk.mp3", "talk"]),
        (["version 1.2", "a.b.WAV", "task-1"], ["version 1.2", "a.b", "task-1"]),
        (["wav", ".wav"], ["wav", ".wav"]),
    ],
)
def test_a_result_has_the_name_of_its_recording_without_the_suffix_unless_ambiguous(
    recordings: list[str], names: list[str]
) -> None:
    assert result_file_names(recordings, None) == names


def test_a_result_replaces_an_earlier_one_whose_name_has_the_suffix(tmp_path: Path) -> None:
    # Given a folder with the results of two recordings of one name, and of another recording
    for name in ("talk.mp3.srt", "talk.flac.srt", "call.srt", "call.flac"):
        (tmp_path / name).touch()
    # When one of the two and the other recording are transcribed again, then each replaces its own result
    assert result_file_names(["talk.flac", "call.flac"], tmp_path) == ["talk.flac", "call"]
    assert result_file_names(["talk.flac"], tmp_path / "not made yet") == ["talk"]

"""How recordings and the files of their results are called."""

import pytest
from natscribe.cli.names import file_names, labels_of, name_of
from natscribe.schemas.examples import TURNS


@pytest.mark.parametrize(
    ("recordings", "labels"),
    [
        (["x/a.wav", "y/b.wav"], ["a.wav", "b.wav"]),
        (["x/a.wav", "y/a.wav"], ["x/a.wav", "y/a.wav"]),
        (["a.wav", "a.wav", "a.wav"], ["a.wav", "a.wav (2)", "a.wav (3)"]),
        (["a.wav", "a.wav", "a.wav (2)"], ["a.wav", "a.wav (2)", "a.wav (2) (2)"]),
    ],
)
def test_each_task_has_a_name_of_its_own_on_the_screen(recordings: list[str], labels: list[str]) -> None:
    assert labels_of(list(recordings)) == labels


@pytest.mark.parametrize(
    ("recordings", "names"),
    [
        (["../x/a.wav", "x/a.wav"], ["up-x-a.wav", "x-a.wav"]),
        (["x/a.wav", "y/a.wav", "x-a.wav"], ["x-a.wav", "y-a.wav", "x-a.wav (2)"]),
        (["/x/y/a.wav", "x/y/a.wav"], ["x-y-a.wav", "x-y-a.wav (2)"]),
        (["-a.wav", "a.wav"], ["a.wav", "a.wav (2)"]),
    ],
)
def test_each_result_has_a_file_of_its_own_that_is_seen(recordings: list[str], names: list[str]) -> None:
    assert file_names(labels_of(list(recordings))) == names


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
def test_a_result_that_is_fetched_later_has_the_name_of_its_recording(recording: str, name: str) -> None:
    # Given the result of a recording
    result = TURNS.model_copy(update={"task_id": "t1", "audio_file_id": recording})
    # Then its file has the name of the recording, if a file can have that name
    assert name_of(result) == name

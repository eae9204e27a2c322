"""`natscribe voices` as people use it; the mock plays the service."""

import json
import re
from pathlib import Path

import pytest

from tests.integration.mock.conftest import Run


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    path = tmp_path / "anna.flac"
    path.write_bytes(b"not looked at")
    return path


async def test_a_voice_is_enrolled_renamed_and_forgotten(run: Run, recording: Path) -> None:
    # Given a call
    code, call, err = await run("transcribe", "--diarize", "--identify", "--no-wait", str(recording))
    assert code == 0, err
    await run("watch", call.strip())
    # When one of its speakers is enrolled, and another recording is transcribed
    who = ("--task-id", call.strip(), "--speaker", "SPEAKER_00", "--name", "Anna", "--consent-by", "Anna Berg")
    code, enrolled, err = await run("voices", "enroll", *who)
    assert code == 0, err
    verb, voice, name = enrolled.split()
    assert (verb, name) == ("enrolled:", "Anna")
    # Then the command says that the call keeps its labels, and what to do next
    assert f"{call.strip()} keeps its labels. " in err
    assert "transcribe --diarize --identify FILE` names Anna from now on." in err
    _, text, _ = await run("transcribe", "--diarize", "--identify", "--format", "txt", str(recording))
    # Then the text names her
    assert text.startswith("Anna: Good morning.\nSPEAKER_01: ")
    # And she is not enrolled twice unnoticed
    code, _, err = await run("voices", "enroll", *who)
    assert (code, f"sounds like Anna: --voice {voice} in place of --name" in err, "--another" in err) == (
        1,
        True,
        True,
    )
    # And gets one more reference by her name
    _, enrolled_again, err = await run("voices", "enroll", *who[:4], "--voice", "Anna", "--consent-by", "Anna Berg")
    assert enrolled_again == enrolled, err
    # But a person of another recording is, although the mock calls the first speaker of each SPEAKER_00
    _, other, _ = await run("transcribe", "--diarize", "--identify", "--no-wait", str(recording))
    await run("watch", other.strip())
    whom = ("--task-id", other.strip(), "--speaker", "SPEAKER_00", "--name", "Boris", "--consent-by", "Boris Orlov")
    code, boris, err = await run("voices", "enroll", *whom)
    assert (code, boris.endswith(" Boris\n")) == (0, True), err
    assert (await run("voices", "forget", boris.split()[1]))[0] == 0
    # Unless one insists
    code, twin, _ = await run("voices", "enroll", *who, "--another")
    assert (code, (await run("voices", "forget", twin.split()[1]))[0]) == (0, 0)
    # And she is listed, renamed and forgotten
    _, listed, _ = await run("voices", "list", "--json")
    assert json.loads(listed)["consent"]["by"] == "Anna Berg"
    assert (await run("voices", "rename", voice, "Anna"))[1] == f"renamed: {voice} Anna\n"
    assert (await run("voices", "rename", "Anna", "Anna Berg"))[1] == f"renamed: {voice} Anna Berg\n"
    assert "Anna Berg" in (await run("voices", "list"))[1]
    assert (await run("voices", "forget", "Anna Berg"))[1] == f"forgotten: {voice}\n"
    assert "no voices" in (await run("voices", "list"))[2]


async def test_an_unknown_voice_speaker_or_task_is_reported(run: Run) -> None:
    code, _, err = await run("voices", "forget", "0" * 32)
    assert (code, err) == (1, f"No voice is called {'0' * 32}: `natscribe voices list` shows the ids.\n")
    anna = ("--name", "Anna", "--consent-by", "Anna")
    code, _, err = await run("voices", "enroll", "--task-id", "t1", "--speaker", "Anna", *anna)
    assert (code, "label of the result, like SPEAKER_00" in " ".join(err.split())) == (2, True)
    code, _, err = await run("voices", "enroll", "--task-id", "voices", *anna)
    assert (code, "User 0 has no task voices: " in err, "list` shows the tasks" in err) == (1, True, True)


async def test_the_task_of_another_user_needs_this_user(run: Run, recording: Path) -> None:
    # Given a call of user 8
    _, call, _ = await run("diarize", "--identify", "--user-id", "8", "--no-wait", str(recording))
    await run("watch", call.strip())
    # When a speaker is enrolled without this user, then the error names the option, with which it works
    enroll = (
        "voices",
        "enroll",
        "--task-id",
        call.strip(),
        "--speaker",
        "SPEAKER_00",
        "--name",
        "A",
        "--consent-by",
        "A",
    )
    code, _, err = await run(*enroll)
    assert (code, "select its owner by --user-id" in " ".join(err.split())) == (1, True), err
    assert (await run(*enroll, "--user-id", "8"))[0] == 0


async def test_a_recording_of_one_person_is_enough(run: Run, recording: Path) -> None:
    # When a person is enrolled from a file, then the command prints its progress
    anna = ("--name", "Anna", "--consent-by", "Anna")
    code, _, err = await run("voices", "enroll", str(recording), *anna)
    assert (code, "anna.flac is task anna-" in err, "100 %, completed" in err) == (1, True, True), err
    # And how to select a speaker, because the mock has two in this file
    assert re.search(
        r"^The recording has .* --task-id anna-\S+ --speaker SPEAKER_00, or record one", err, re.MULTILINE
    ), err
    # And a error of a wrong speaker does not mention other tasks
    _, call, _ = await run("diarize", "--identify", "--no-wait", str(recording))
    await run("watch", call.strip())
    code, _, err = await run("voices", "enroll", "--task-id", call.strip(), "--speaker", "SPEAKER_07", *anna)
    assert (code, "has no SPEAKER_07" in err, "list` shows the tasks" in err) == (1, True, False), err

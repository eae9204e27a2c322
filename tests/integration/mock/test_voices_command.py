"""`natscribe voices` as people use it; the mock plays the service."""

import asyncio
import json
import os
import re
import sys
from pathlib import Path

import pytest
from natscribe.mock import Mock

from tests.servers import Servers

COMMAND = (sys.executable, "-c", "from natscribe.cli import main; main()")


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    path = tmp_path / "anna.flac"
    path.write_bytes(b"not looked at")
    return path


async def run(servers: Servers, *arguments: str) -> tuple[int, str, str]:
    """The exit code of the command, what it prints, and what it says beside."""
    environment = os.environ | {"NATS_URL": servers.nats_url, "AUDIO_STORE": "nats://audio", "COLUMNS": "200"}
    process = await asyncio.create_subprocess_exec(
        *COMMAND, *arguments, env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, err = await process.communicate()
    return process.returncode or 0, out.decode(), err.decode()


async def test_a_voice_is_enrolled_renamed_and_forgotten(servers: Servers, mock: Mock, recording: Path) -> None:
    # Given a call
    code, call, err = await run(servers, "transcribe", "--diarize", "--identify", "--no-wait", str(recording))
    assert code == 0, err
    await run(servers, "watch", call.strip())
    # When one of its speakers is enrolled, and another recording is transcribed
    who = ("--task-id", call.strip(), "--speaker", "SPEAKER_00", "--name", "Anna", "--consent-by", "Anna Berg")
    code, enrolled, err = await run(servers, "voices", "enroll", *who)
    assert code == 0, err
    verb, voice, name = enrolled.split()
    assert (verb, name) == ("enrolled:", "Anna")
    # Then the command says that the call keeps its labels, and what to do next
    assert f"{call.strip()} keeps its labels. " in err
    assert "transcribe --diarize --identify FILE` names Anna from now on." in err
    _, text, _ = await run(servers, "transcribe", "--diarize", "--identify", "--format", "txt", str(recording))
    # Then the text names her
    assert text.startswith("Anna: Good morning.\nSPEAKER_01: ")
    # And she is not enrolled twice unnoticed
    code, _, err = await run(servers, "voices", "enroll", *who)
    assert (code, f"sounds like Anna: --voice {voice} in place of --name" in err, "--another" in err) == (
        1,
        True,
        True,
    )
    # And gets one more reference by her name
    _, enrolled_again, err = await run(
        servers, "voices", "enroll", *who[:4], "--voice", "Anna", "--consent-by", "Anna Berg"
    )
    assert enrolled_again == enrolled, err
    # But a person of another recording is, although the mock calls the first speaker of each SPEAKER_00
    _, other, _ = await run(servers, "transcribe", "--diarize", "--identify", "--no-wait", str(recording))
    await run(servers, "watch", other.strip())
    whom = ("--task-id", other.strip(), "--speaker", "SPEAKER_00", "--name", "Boris", "--consent-by", "Boris Orlov")
    code, boris, err = await run(servers, "voices", "enroll", *whom)
    assert (code, boris.endswith(" Boris\n")) == (0, True), err
    assert (await run(servers, "voices", "forget", boris.split()[1]))[0] == 0
    # Unless one insists
    code, twin, _ = await run(servers, "voices", "enroll", *who, "--another")
    assert (code, (await run(servers, "voices", "forget", twin.split()[1]))[0]) == (0, 0)
    # And she is listed, renamed and forgotten
    _, listed, _ = await run(servers, "voices", "list", "--json")
    assert json.loads(listed)["consent"]["by"] == "Anna Berg"
    assert (await run(servers, "voices", "rename", voice, "Anna"))[1] == f"renamed: {voice} Anna\n"
    assert (await run(servers, "voices", "rename", "Anna", "Anna Berg"))[1] == f"renamed: {voice} Anna Berg\n"
    assert "Anna Berg" in (await run(servers, "voices", "list"))[1]
    assert (await run(servers, "voices", "forget", "Anna Berg"))[1] == f"forgotten: {voice}\n"
    assert "no voices" in (await run(servers, "voices", "list"))[2]


async def test_missing_options_are_reported(servers: Servers, mock: Mock, recording: Path) -> None:
    code, _, err = await run(servers, "voices", "enroll", "--name", "Anna", "--consent-by", "Anna")
    assert (code, "either FILE or --task-id" in err) == (2, True)
    code, _, err = await run(servers, "voices", "enroll", "--consent-by", "Anna", str(recording))  # and uploads nothing
    assert (code, "either --name" in err, "%" in err) == (2, True, False)
    code, _, err = await run(servers, "voices", "enroll", "--name", "Anna", "--task-id", "t1")
    assert (code, "--consent-by" in err) == (2, True)
    code, _, err = await run(servers, "voices", "forget", "0" * 32)
    assert (code, err) == (1, f"No voice is called {'0' * 32}: `natscribe voices list` shows the ids.\n")
    anna = ("--name", "Anna", "--consent-by", "Anna")
    code, _, err = await run(servers, "voices", "enroll", "--task-id", "t1", "--speaker", "Anna", *anna)
    assert (code, "label of the result, like SPEAKER_00" in " ".join(err.split())) == (2, True)
    code, _, err = await run(servers, "voices", "enroll", "--task-id", "voices", *anna)
    assert (code, "No task voices is known" in err, "list` shows the tasks" in err) == (1, True, True)
    for command in ("transcribe", "live"):
        code, _, err = await run(servers, command, "--identify", str(recording))
        assert (command, code, "add --diarize" in err) == (command, 2, True)


async def test_a_recording_of_one_person_is_enough(servers: Servers, mock: Mock, recording: Path) -> None:
    # When a person is enrolled from a file, then the command prints its progress
    anna = ("--name", "Anna", "--consent-by", "Anna")
    code, _, err = await run(servers, "voices", "enroll", str(recording), *anna)
    assert (code, "anna.flac is task anna-" in err, "100 %, completed" in err) == (1, True, True), err
    # And how to select a speaker, because the mock has two in this file
    assert re.search(
        r"^The recording has .* --task-id anna-\S+ --speaker SPEAKER_00, or record one", err, re.MULTILINE
    ), err
    # And a error of a wrong speaker does not mention other tasks
    _, call, _ = await run(servers, "diarize", "--identify", "--no-wait", str(recording))
    await run(servers, "watch", call.strip())
    code, _, err = await run(servers, "voices", "enroll", "--task-id", call.strip(), "--speaker", "SPEAKER_07", *anna)
    assert (code, "has no SPEAKER_07" in err, "list` shows the tasks" in err) == (1, True, False), err

"""Text that comes from messages and file names commands no terminal."""

import json
import re
from pathlib import Path

import pytest
from natscribe.client import Client
from natscribe.mock import log, requests, task
from natscribe.schemas import examples
from natscribe.schemas.workers import Problem

from app.settings import Settings
from tests.integration.conftest import Publisher
from tests.integration.mock.conftest import Run
from tests.terminal import run_on_screen

HOSTILE = "\x1b]0;owned\x07\x1b]52;c;bw==\x07\x1b[2J\x1b[3;7r\x1bPq\x1b\\\x9b3;7r\x9d0;owned\x9c\u202e"
OBEYED = re.compile("\x1b[^\\[]|\x1b\\[(2J|3;7r)|[\x07\x80-\x9f\u202e]")  # what a terminal would obey
FILE = "call\x1b]0;owned\x07\x1b[2J\x1b[3;7r.flac"
pytestmark = [pytest.mark.timeout(300), pytest.mark.foreign]  # a process for each command


@pytest.fixture(autouse=True)
def _hostile_service(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every free text of the service be hostile."""
    for module in (task, log, requests):
        monkeypatch.setattr(module, "MOCK_WORKER", f"w{HOSTILE}")
    problem = Problem(what=f"{HOSTILE}!", next_step=HOSTILE)
    texts = {"engine": HOSTILE, "version": HOSTILE, "problems": [problem]}
    info = examples.WORKER_INFO.model_copy(update=texts)
    monkeypatch.setattr(requests, "WORKER_INFO", info)
    segment = {"text": f"said{HOSTILE}", "words": None, "speaker": f"S{HOSTILE}"}
    monkeypatch.setattr(examples, "SEGMENT", examples.SEGMENT.model_copy(update=segment))


@pytest.fixture
async def tasks(client: Client, publisher: Publisher, meeting: str) -> None:
    """A completed task, and one whose message has a hostile field."""
    await client.create_transcription_task(meeting, task_id="done", prompt=f"p{HOSTILE}", diarize=True)
    await client.wait_for_result("done")
    message = {"task_id": "failed", "audio_file_id": meeting, "user_id": 1, HOSTILE: 1}
    await publisher.js.publish("tasks.transcription.normal", json.dumps(message).encode())
    async for _ in client.follow("failed"):
        pass


FOR_PEOPLE = "status done, status failed, watch done, watch failed, cancel failed, result failed, result none!, list"
MORE = "queue, dead-letters list, doctor, transcribe FILE, transcribe FILE other.wav, transcribe none!, live FILE, top"
FOR_PROGRAMS = "result done, result done --format srt, status failed --json, dead-letters list --json"


@pytest.mark.usefixtures("mock", "tasks")
@pytest.mark.parametrize("command", [*FOR_PEOPLE.split(", "), *MORE.split(", "), *FOR_PROGRAMS.split(", ")])
async def test_no_control_character_of_a_text_reaches_a_terminal(
    command: str, run: Run, settings: Settings, tmp_path: Path
) -> None:
    # Given a service and a recording with hostile texts
    for name in (FILE, "other.wav"):
        (tmp_path / name).write_bytes(b"not decoded")
    arguments = [word.replace("FILE", FILE).replace("!", HOSTILE) for word in command.split()]
    # When a command shows them in a pipe, where programs get texts as they are, and on a terminal
    _, out, err = await run(*arguments)
    shown = ("" if command in FOR_PROGRAMS else out) + err
    if command != "top":  # it ends only without a terminal
        servers = {"NATS_URL": settings.nats_url, "AUDIO_STORE": settings.audio_store, "TERM": "xterm-256color"}
        shown += (await run_on_screen(tmp_path, *arguments, env=servers))[1]
    # Then it shows them without anything that a terminal would obey
    assert shown
    assert OBEYED.findall(shown) == []


@pytest.mark.usefixtures("mock", "tasks")
async def test_a_program_and_a_file_get_a_text_as_it_is(run: Run, tmp_path: Path) -> None:
    # When a result is written into a pipe and into a file
    _, srt, _ = await run("result", "done", "--format", "srt")
    _, as_json, _ = await run("result", "done", "--format", "json")
    await run("result", "done", "--format", "srt", "--output-dir", "out")
    # Then both have the text of the model unchanged
    assert json.loads(as_json)["segments"][0]["text"] == f"said{HOSTILE}"
    (written,) = (tmp_path / "out").iterdir()
    assert written.read_bytes().decode().rstrip("\n") == srt.rstrip("\n")
    assert "\x1b]52;c" in srt

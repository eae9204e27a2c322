"""A new format of results is one module and one member of `ResultFormat`, even if the format is binary."""

import asyncio
import shutil
import sys
from asyncio.subprocess import PIPE
from pathlib import Path

import natscribe
import pytest

from tests.integration.conftest import Publisher
from tests.programs import line_with, output, started
from tests.servers import Servers
from tests.terminal import COMMAND

MODULE = """
def write(result, options):
    return b"\\xff\\x00" + result.text.encode()
"""
MEMBER = '\n    BITS = "bits", "The text in bits", "application/x-bits", True'
LAST_MEMBER = '"text/html"'
CONTENT = b"\xff\x00" + b"Good morning. Good morning. Good morning."
DOCUMENTED = """
from app.document.messages import MESSAGES
print(*(node["payload"] for node in (each.node for each in MESSAGES) if node["contentType"] == "application/x-bits"))
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, servers: Servers) -> Path:
    """A copy of the package with a new format."""
    copy = tmp_path / "package" / "natscribe"
    shutil.copytree(Path(natscribe.__file__).parent, copy, ignore=shutil.ignore_patterns("__pycache__"))
    (copy / "formats/bits.py").write_text(MODULE)
    requests = copy / "schemas/requests.py"
    requests.write_text(requests.read_text().replace(LAST_MEMBER, LAST_MEMBER + MEMBER))
    monkeypatch.setenv("PYTHONPATH", str(copy.parent))
    monkeypatch.setenv("NATS_URL", servers.nats_url)
    return copy


@pytest.mark.usefixtures("package")
async def test_a_binary_format_is_a_module_and_a_member(servers: Servers, publisher: Publisher, tmp_path: Path) -> None:
    recording = tmp_path / "call.flac"
    recording.write_bytes(b"not decoded")
    command = (*COMMAND, "transcribe", "--task-id", "t1", "--format", "bits", "--output-dir", str(tmp_path))
    # Given a task whose result the command writes in the format
    async with started(servers.nats_url, *COMMAND, "mock", "--seconds", "0") as mock:
        await line_with(mock, "until Ctrl-C")
        assert "call.bits" in await output(servers.nats_url, *command, str(recording))
        # When a client requests the result, and the command prints it
        reply = await publisher.nc.request("tasks.result", b'{"task_id": "t1", "format": "bits"}')
        program = await asyncio.create_subprocess_exec(*COMMAND, "result", "t1", "--format", "bits", stdout=PIPE)
        printed, _ = await program.communicate()
    # Then each has the bytes that the module has written
    assert (tmp_path / "call.bits").read_bytes() == CONTENT
    assert (reply.data, (reply.headers or {})["content-type"]) == (CONTENT, "application/x-bits")
    assert printed == CONTENT
    # And the AsyncAPI document describes the reply
    described = await output(servers.nats_url, sys.executable, "-c", DOCUMENTED, cwd=Path.cwd())
    assert "'format': 'binary'" in described

"""docs/acceptance.md does what it says: its commands are run, and print what one should see."""

import asyncio
import os
import re
import sys
from asyncio.subprocess import PIPE, STDOUT
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from app.command.embedded import free_port, is_free
from tests.programs import line_with
from tests.watchdog import RUN

ROOT = Path(__file__).parents[2]
DOCUMENT = (ROOT / "docs/acceptance.md").read_text(encoding="utf-8")
ANYTHING = "…"
SPOKEN = "He was not an ill-disposed young man"  # another processor may transcribe one of these words differently
MOST_WORDS = 0.75
WITHIN = 300  # seconds
KERNEL = ("CT2_", "MKL_", "ONEDNN_", "OPENBLAS_")  # begin the variables of `make test-kernel`


def blocks() -> list[tuple[str, str]]:
    """Commands, and what they should print."""
    code_blocks = re.findall(r"```(sh|text)\n(.*?)```", DOCUMENT, re.DOTALL)
    steps: list[tuple[str, str]] = []
    for language, text in code_blocks:
        steps = [*steps, (text, "")] if language == "sh" else [*steps[:-1], (steps[-1][0], text)]
    return steps


class _Terminal:
    """Commands in a terminal of their own; all that they started ends with it."""

    def __init__(self, folder: Path, commands: str) -> None:
        self._folder, self._commands = folder, commands

    async def __aenter__(self) -> asyncio.subprocess.Process:
        inherited = {"HOME", "PATH", "LANG", "XDG_CACHE_HOME", "SSL_CERT_FILE", RUN}
        environment = {
            name: value for name, value in os.environ.items() if name in inherited or name.startswith(KERNEL)
        }
        self.process = await asyncio.create_subprocess_exec(
            "bash",
            "-c",
            self._commands,
            cwd=self._folder,
            env=environment | {"COLUMNS": "200", "PYTHONUNBUFFERED": "1"},
            stdout=PIPE,
            stderr=STDOUT,
            start_new_session=True,
        )
        return self.process

    async def __aexit__(self, *_: object) -> None:
        if self.process.returncode is None:
            os.killpg(self.process.pid, 15)
        await asyncio.wait_for(self.process.communicate(), 30)


@pytest.fixture
async def checkout(tmp_path: Path) -> AsyncIterator[dict[str, str]]:
    """A folder like a checkout that has been set up, where `natscribe up` runs in another terminal; its ports."""
    for name in ("app", "handlers", "schemas", "examples"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / ".venv").symlink_to(sys.prefix)
    ports = {port: port if is_free(int(port)) else str(free_port()) for port in ("8000", "8002")}
    async with _Terminal(tmp_path, _with_ports(blocks()[0][0], ports)) as up:
        await line_with(up, "service_ready")
        draining = asyncio.create_task(_drain(up))  # a full pipe would stop the service
        yield ports
        draining.cancel()


@pytest.mark.timeout(400)
async def test_the_document_is_true(checkout: dict[str, str], tmp_path: Path) -> None:
    # Given the document's commands, pasted one after the other
    steps = blocks()[1:]
    assert len(steps) >= 7
    script = "".join(
        f"echo '@@{number}'\n{_with_ports(commands, checkout)}" for number, (commands, _) in enumerate(steps)
    )
    async with _Terminal(tmp_path, script) as pasted:
        printed = (await asyncio.wait_for(pasted.communicate(), WITHIN))[0].decode()
    # Then each prints what one should see
    outputs = re.split(r"^@@\d+\n", printed, flags=re.MULTILINE)[1:]
    assert len(outputs) == len(steps)
    for (commands, expected), output in zip(steps, outputs, strict=True):
        unseen = [line for line in expected.splitlines() if not _is_in(line, output)]
        assert unseen == [], f"{commands}\n{output}"
    # And the second worker's log has what it did
    log = (tmp_path / "second_worker.log").read_text(encoding="utf-8")
    ends = [line for line in log.splitlines() if "task_delivery_ended" in line]
    assert ends
    assert all(name in ends[0] for name in ("task_id", "task_name", "execution_time"))


@pytest.mark.parametrize("path", sorted(set(re.findall(r"`((?:app|handlers|tests)/[\w/.]+)`", DOCUMENT))))
def test_what_the_checklist_names_is_there(path: str) -> None:
    assert (ROOT / path).exists()


def _is_in(expected: str, output: str) -> bool:
    if SPOKEN in expected:
        words = re.findall(r"\w+", SPOKEN.lower())
        printed = set(re.findall(r"\w+", output.lower()))
        return sum(word in printed for word in words) >= MOST_WORDS * len(words)
    pattern = ".*".join(map(re.escape, expected.split(ANYTHING)))
    return re.search(f"^{pattern}$", output, re.MULTILINE) is not None


def _with_ports(commands: str, ports: dict[str, str]) -> str:
    return re.sub(r"\b800[01]\b", lambda match: ports[match.group()], commands)


async def _drain(process: asyncio.subprocess.Process) -> None:
    while process.stdout is not None and await process.stdout.read(65536):
        pass

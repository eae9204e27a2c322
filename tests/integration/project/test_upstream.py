"""Reports to FastStream's maintainers are true: each program prints what `docs/upstream.md` says."""

import asyncio
import re
import sys
from pathlib import Path

import pytest
from nats.aio.client import Client

from tests.servers import Servers

PAGE = (Path(__file__).parents[3] / "docs/upstream.md").read_text(encoding="utf-8")
DRAFT = re.compile(
    r"^## (?P<title>.+?)$.+?```python\n(?P<program>.+?)```\n\n```text\n(?P<printed>.+?)```", re.MULTILINE | re.DOTALL
)
DRAFTS = [pytest.param(draft["program"], draft["printed"], id=draft["title"]) for draft in DRAFT.finditer(PAGE)]
ANYWHERE = "nats://localhost:4222"


@pytest.mark.parametrize(("program", "printed"), DRAFTS)
async def test_a_program_prints_the_output_of_its_report(
    servers: Servers, nc: Client, tmp_path: Path, program: str, printed: str
) -> None:
    # Given a program of the page, and a NATS without streams
    file = tmp_path / "program.py"
    file.write_text(program.replace(ANYWHERE, servers.nats_url), encoding="utf-8")
    # When it runs
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(sys.executable, str(file), stdout=pipe, stderr=pipe)
    out, err = await process.communicate()
    # Then it prints what the page says; FastStream's log may be between
    assert process.returncode == 0, err.decode()
    assert set(printed.splitlines()) <= set(out.decode().splitlines())


def test_every_report_is_run() -> None:
    assert len(DRAFTS) == PAGE.count("\n## ")

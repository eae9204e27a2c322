"""A test that never ends, for `test_killed_run.py`: its file is named so that only that test runs it."""

import asyncio
import os
from pathlib import Path

from tests.e2e.conftest import running, servers


async def test_a_service_runs_without_end(tmp_path: Path) -> None:
    async with servers(tmp_path) as settings, running(settings, tmp_path / "service.log", "--workers", "2"):
        Path(os.environ["SERVICE_RUNS"]).touch()
        await asyncio.Event().wait()

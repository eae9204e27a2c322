"""Nothing that tests have started outlives them."""

import asyncio
import os
import signal
import sys
from pathlib import Path

import psutil
import pytest

from tests.e2e.conftest import ROOT, alive
from tests.waiting import eventually

STARTS_WITHIN = 120.0  # seconds: a test run and a service


@pytest.mark.timeout(2 * STARTS_WITHIN)
async def test_services_end_with_a_killed_test_run(tmp_path: Path) -> None:
    # Given a test run with a worker of pytest-xdist, whose test has started a service with servers and engines
    runs = tmp_path / "runs"
    command = (sys.executable, "-m", "pytest", "-n", "1", f"--basetemp={tmp_path / 'inner'}", "tests/e2e/endless.py")
    environment = os.environ | {"SERVICE_RUNS": str(runs)}
    runner = await asyncio.create_subprocess_exec(
        *command, cwd=ROOT, env=environment, stdout=asyncio.subprocess.DEVNULL, start_new_session=True
    )
    await eventually(lambda: runs.exists() or runner.returncode is not None, within=STARTS_WITHIN)
    started = psutil.Process(runner.pid).children(recursive=True)
    commands = [" ".join(process.cmdline()) for process in started]
    for program in ("nats-server", "valkey-server", "faststream run", "app.engines.process.child_main"):
        assert any(program in command for command in commands), program
    # And a server that would not notice a signal
    next(process for process in started if process.name() == "valkey-server").suspend()
    # When the run and its worker are killed, so that neither can clean up
    os.killpg(runner.pid, signal.SIGKILL)
    await runner.wait()
    # Then all of it ends
    await eventually(lambda: not alive(started))

"""No password is in a log line, a metric or the list of processes."""

import psutil
import pytest

from app.settings import Settings
from tests.access.servers import USERS, password
from tests.fakes.engine import FakeEngine
from tests.workers import working


async def test_no_password_is_in_a_log_line_a_metric_or_the_list_of_processes(
    settings: Settings,
    engine: FakeEngine,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    # Given a worker that has logged in to both of its servers
    async with working(settings, engine) as worker:
        # When its servers' passwords are looked for
        logged = caplog.text + "".join(capfd.readouterr())
        counted = worker.container.meter.exposition().decode()
        processes = [" ".join(child.cmdline()) for child in psutil.Process().children(recursive=True)]
    passwords = [f"{password(user)!r}" if user == "service" else password(user) for user in USERS]
    # Then there is much to read, and none of them is in it
    assert "worker_configured" in logged
    assert any("nats-server" in process for process in processes)
    assert any("valkey" in process for process in processes)
    for place in (logged, counted, *processes):
        assert [each for each in (*passwords, "service-redis", "reader-redis") if each in place] == []
    assert [process for process in processes if password("service") in process.split()] == []

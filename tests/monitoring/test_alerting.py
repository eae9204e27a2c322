"""A stopped worker ends as an alert: Prometheus, Alertmanager and a receiver, for real."""

import asyncio
import json
import os
import signal
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import running, servers
from tests.monitoring.stack import alertmanager, prometheus, serving
from tests.waiting import eventually

SPEED = float(os.environ.get("ALERTS_SPEED", "15"))  # times as fast as deployed; 1 measures what operators have
WITHIN = 90.0  # seconds, as deployed
Part = dict[str, Any]  # of a conversation in ASGI


class Pager:
    """A pager: an ASGI application that stores the alerts it receives."""

    def __init__(self) -> None:
        self.alerts: dict[str, dict[str, Any]] = {}

    async def __call__(
        self, _: Part, receive: Callable[[], Awaitable[Part]], send: Callable[[Part], Awaitable[None]]
    ) -> None:
        body, more = b"", True
        while more:
            part = await receive()
            body, more = body + part["body"], part["more_body"]
        for alert in json.loads(body)["alerts"]:
            self.alerts[alert["labels"]["alertname"]] = alert
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body"})

    async def alert(self, name: str, status: str, *, within: float) -> dict[str, Any]:
        async def received() -> dict[str, Any] | None:
            alert = self.alerts.get(name)
            return alert if alert and alert["status"] == status else None

        return await eventually(received, within=within)


@pytest.mark.timeout(240)
async def test_a_stopped_worker_ends_as_an_alert(tmp_path: Path) -> None:
    pager_app = Pager()
    # Given a worker that is watched
    async with (
        servers(tmp_path) as settings,
        running(settings, tmp_path / "worker.log") as worker,
        serving(pager_app) as pager,
        alertmanager(tmp_path / "alertmanager", f"http://127.0.0.1:{pager}/", speed=SPEED) as manager,
        prometheus(tmp_path / "prometheus", worker.port, alertmanager=manager, speed=SPEED) as watching,
    ):

        async def watched() -> bool:
            return await watching.has('up{job="natscribe"} == 1')

        await eventually(watched)
        await pager_app.alert("Watchdog", "firing", within=WITHIN)
        assert "NoWorker" not in pager_app.alerts
        # When it is killed
        stopped = time.monotonic()
        os.killpg(worker.process.pid, signal.SIGKILL)
        await asyncio.wait_for(worker.process.wait(), 10)
        # Then the alert says what that means, and where to read on
        alert = await pager_app.alert("NoWorker", "firing", within=WITHIN)
        passed = time.monotonic() - stopped
    assert alert["labels"]["severity"] == "critical"
    assert alert["annotations"]["summary"] == "No worker answers: nothing is transcribed, and tasks wait."
    assert alert["annotations"]["runbook_url"] == "docs/runbook.md#noworker"
    # And consequences of a missing worker are not reported as well
    assert set(pager_app.alerts) == {"Watchdog", "NoWorker"}
    print(f"from the stopped worker to the alert: {passed:.1f} s, where all takes 1/{SPEED:g} of its time")

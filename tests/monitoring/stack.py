"""Prometheus and Alertmanager with the files of deploy/monitoring, on ports of their own and, where wanted, faster."""

import asyncio
import json
import re
import shutil
import urllib.parse
import urllib.request
from asyncio.subprocess import DEVNULL
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import uvicorn
import yaml

from app.command.embedded import free_port
from tests.waiting import eventually

ROOT = Path(__file__).parents[2]
DEPLOYED = ROOT / "deploy/monitoring"
RULES = ("records.yml", "alerts.yml")
SECONDS = {"s": 1, "m": 60, "h": 3600}
TIMES = {
    "scrape_interval",
    "scrape_timeout",
    "evaluation_interval",
    "for",
    "group_wait",
    "group_interval",
    "repeat_interval",
}


def program(*names: str) -> str:
    """Where a program is; skips the test where it is not installed."""
    path = next(filter(None, map(shutil.which, names)), None)
    if path is None:
        pytest.skip(f"{names[0]} is not installed")
    return path


def read(name: str) -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((DEPLOYED / name).read_text(encoding="utf-8"))
    return document


def rules() -> Iterator[dict[str, Any]]:
    """All rules, in their order."""
    for name in RULES:
        for group in read(name)["groups"]:
            yield from group["rules"]


def seconds(duration: str) -> float:
    """What a duration of one unit means."""
    return float(duration[:-1]) * SECONDS[duration[-1]]


def faster(node: Any, speed: float) -> Any:
    """The same configuration, where all takes a part of its time."""
    if isinstance(node, list):
        return [faster(value, speed) for value in node]
    if not isinstance(node, dict):
        return node
    return {
        key: f"{seconds(value) * 1000 / speed:.0f}ms" if key in TIMES else faster(value, speed)
        for key, value in node.items()
    }


class Prometheus:
    """A running Prometheus."""

    def __init__(self, port: int) -> None:
        self.port = port

    async def query_api(self, path: str, **parameters: str) -> dict[str, Any]:
        url = f"http://127.0.0.1:{self.port}{path}?{urllib.parse.urlencode(parameters)}"
        reply: dict[str, Any] = json.loads(await asyncio.to_thread(_get, url))
        return reply

    async def has(self, expr: str) -> bool:
        """Whether an expression returns data now."""
        result = (await self.query_api("/api/v1/query", query=expr))["data"]["result"]
        return any(sample["value"][1] != "NaN" for sample in result)


@asynccontextmanager
async def prometheus(
    folder: Path, worker: int, *, alertmanager: int = 1, speed: float = 1
) -> AsyncIterator[Prometheus]:
    """Prometheus, scraping the worker on this port and telling the Alertmanager on that one."""
    binary = program("prometheus")
    folder.mkdir()
    port = free_port()
    for name in RULES:
        _write(folder / name, faster(read(name), speed))
    config = faster(read("prometheus.yml"), speed)
    (job,) = config["scrape_configs"]
    del job["dns_sd_configs"]
    job["static_configs"] = [{"targets": [f"127.0.0.1:{worker}"]}]
    config["alerting"]["alertmanagers"] = [{"static_configs": [{"targets": [f"127.0.0.1:{alertmanager}"]}]}]
    _write(folder / "prometheus.yml", config)
    command = [
        binary,
        f"--config.file={folder}/prometheus.yml",
        f"--storage.tsdb.path={folder}/data",
        f"--web.listen-address=127.0.0.1:{port}",
        f"--rules.alert.resend-delay={60 / speed:.0f}s",  # what fires before Alertmanager is known is sent then
    ]
    async with _running(command, f"http://127.0.0.1:{port}/-/ready", folder):
        yield Prometheus(port)


@asynccontextmanager
async def alertmanager(folder: Path, hook: str, *, speed: float = 1) -> AsyncIterator[int]:
    """Alertmanager, which notifies this URL; yields its port."""
    binary = program("alertmanager", "prometheus-alertmanager")
    folder.mkdir()
    port = free_port()
    (folder / "webhook_url").write_text(hook, encoding="utf-8")
    config = json.dumps(faster(read("alertmanager.yml"), speed))
    config = re.sub(r"/run/secrets/\w+_webhook_url", f"{folder}/webhook_url", config)
    _write(folder / "alertmanager.yml", json.loads(config))
    command = [
        binary,
        f"--config.file={folder}/alertmanager.yml",
        f"--storage.path={folder}/data",
        f"--web.listen-address=127.0.0.1:{port}",
        "--cluster.listen-address=",
    ]
    async with _running(command, f"http://127.0.0.1:{port}/-/ready", folder):
        yield port


@asynccontextmanager
async def serving(app: object) -> AsyncIterator[int]:
    """An ASGI application over HTTP; yields its port."""
    port = free_port()
    config = uvicorn.Config(app, port=port, lifespan="off", log_config=None)  # type: ignore[arg-type]  # any ASGI application
    server = uvicorn.Server(config)
    serves = asyncio.create_task(server.serve())
    await eventually(lambda: server.started)
    try:
        yield port
    finally:
        server.should_exit = server.force_exit = True
        await serves


@asynccontextmanager
async def _running(command: list[str], ready: str, folder: Path) -> AsyncIterator[None]:
    with (folder / "log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(*command, stdin=DEVNULL, stdout=log, stderr=log)

    async def is_ready() -> bool:
        assert process.returncode is None, (folder / "log").read_text(encoding="utf-8")
        try:
            return bool(await asyncio.to_thread(_get, ready))
        except OSError:
            return False

    try:
        await eventually(is_ready)
        yield
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


def _get(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=5) as response:  # noqa: S310 -- our own server
        body: bytes = response.read()
        return body


def _write(path: Path, content: object) -> None:
    path.write_text(json.dumps(content), encoding="utf-8")  # YAML, too

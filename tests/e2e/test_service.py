"""The service as a process: its routes, its workers, its end."""

import asyncio
import json
import signal
import sys
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path

import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.e2e.conftest import ENDS_WITHIN, LIBRIVOX, ROOT, Running, alive, history, running, servers
from tests.e2e.test_recovery import progress_of
from tests.waiting import eventually

pytestmark = pytest.mark.xdist_group("service")

CLIP = LIBRIVOX / "sense_and_sensibility_01_austen_64kb-0930.flac"


@pytest.mark.parametrize(
    "path",
    [
        *("/", "/docs", "/docs/", "/asyncapi.json", "/asyncapi.yaml", "/metrics"),
        *("/health", "/health/live", "/health/ready", "/health/startup"),
    ],
)
async def test_http_accepts_and_reveals_nothing(service: Running, path: str) -> None:
    status, body = await service.get(path)
    assert (status, bool(body)) == (200, True)
    for method in ("POST", "PUT", "DELETE", "PATCH"):
        assert (await service.get(path, method=method))[0] in {404, 405}, method


@pytest.mark.parametrize("path", ["/docs/try", "/asyncapi/try", "/tasks", "/tasks/t1"])
async def test_there_is_nothing_else_on_http(service: Running, path: str) -> None:
    assert (await service.get(path))[0] == 404
    assert (await service.get(path, method="POST"))[0] == 404


async def test_http_answers_no_other_site_whose_name_leads_here(service: Running) -> None:
    for host, status in (("example.org", 421), (f"localhost:{service.port}", 200)):
        with closing(HTTPConnection("127.0.0.1", service.port)) as connection:
            await asyncio.to_thread(connection.request, "GET", "/metrics", headers={"Host": host})
            assert connection.getresponse().status == status


async def container_is_healthy(service: Running) -> bool:
    """What the health check of the Containerfile says of a worker."""
    containerfile = (ROOT / "Containerfile").read_text(encoding="utf-8")
    command = json.loads(containerfile.partition("HEALTHCHECK")[2].partition("CMD ")[2].splitlines()[0])
    arguments = [word.replace(":8000/", f":{service.port}/") for word in command]
    process = await asyncio.create_subprocess_exec(sys.executable, *arguments[1:], stderr=asyncio.subprocess.DEVNULL)
    return await process.wait() == 0


async def test_a_worker_is_healthy_if_it_can_do_tasks(service: Running, tmp_path: Path) -> None:
    # Given a worker that has a model, and one whose model cannot be loaded
    assert await container_is_healthy(service)
    log = tmp_path / "worker.log"
    async with servers(tmp_path) as settings:
        without = settings.model_copy(update={"transcription_model": str(tmp_path / "missing")})
        async with running(without, log, has_model=False) as broken:
            await eventually(lambda: "model_load_failed" in log.read_text(encoding="utf-8"))
            # Then the second is unhealthy, though it takes tasks, and it says why
            assert json.loads((await broken.get("/health/startup"))[1]) == {"ok": False, "model": False}
            assert not await container_is_healthy(broken)


async def counted(service: Running, name: str) -> float:
    text = (await service.get("/metrics"))[1].decode()
    families = {family.name: family for family in text_string_to_metric_families(text)}
    return sum(sample.value for sample in families[name.removesuffix("_total")].samples if sample.name == name)


async def test_two_workers_share_the_tasks(tmp_path: Path) -> None:
    # Given one service with two workers
    async with (
        servers(tmp_path) as settings,
        running(settings, tmp_path / "log", "--workers", "2") as service,
        service.client() as client,
    ):
        # When there is always more than one of them can do at a time
        # Then both work, as soon as both are there
        workers: set[str | None] = set()
        tasks = 0
        while len(workers) < 2:
            both = [await client.create_transcription_task(CLIP) for _ in range(2)]
            workers |= {progress_of(await history(client, task_id))[-1].worker for task_id in both}
            tasks += 2

        # And whichever of them is scraped, the figures are those of both
        async def all_counted() -> bool:
            counts = {await counted(service, "task_success_total") for _ in range(10)}
            return counts == {tasks}

        await eventually(all_counted)


async def test_no_engine_outlives_its_worker(tmp_path: Path) -> None:
    # Given a worker whose engine has loaded its model
    async with servers(tmp_path) as settings, running(settings, tmp_path / "log") as service:
        children = psutil.Process(service.process.pid).children(recursive=True)
        assert children
        # When it is stopped
        service.process.terminate()
        await asyncio.wait_for(service.process.wait(), ENDS_WITHIN)
        # Then the engine ends too
        await eventually(lambda: not alive(children))


async def test_a_frozen_worker_does_not_appear_alive(service: Running) -> None:
    service.process.send_signal(signal.SIGSTOP)
    try:
        assert (await service.get("/health/live", within=1))[0] == 0
    finally:
        service.process.send_signal(signal.SIGCONT)
    await eventually(service.takes_tasks)

"""The health routes distinguish one trouble from another."""

import asyncio
import json
from contextlib import suppress
from functools import partial

import nats
import pytest
from nats.aio.client import Client
from nats.js.api import DeliverPolicy
from natscribe.client.examination import examine
from natscribe.schemas.errors import ErrorCode
from structlog.testing import capture_logs

from app import main
from app.engines.messages import Loaded
from app.main import Worker
from app.runtime.errors import PermanentError
from app.settings import Settings
from tests.asgi import request
from tests.constants import Constants
from tests.fakes.engine import MODEL, FakeEngine
from tests.integration.conftest import StartWorker
from tests.integration.own_servers import nc, settings
from tests.servers import NatsServer, ValkeyServer
from tests.waiting import eventually

__all__ = ["nc", "settings"]  # fixtures

WELL = {"ok": True, "nats": True, "consumers": True, "redis": True, "task_consumer": True}


@pytest.fixture(autouse=True)
def _nothing_is_mended(constants: Constants) -> None:
    constants(CHECK_EVERY_S=3600)


async def ask(worker: Worker, path: str) -> tuple[int, dict[str, bool]]:
    """The response of the route to a request of an HTTP server."""
    status, _, body = await request(worker.app, path)
    return status, json.loads(body)


async def becomes(worker: Worker, expected: dict[str, bool]) -> None:
    async def look() -> bool:
        status, body = await ask(worker, "/health/ready")
        return body == expected and status == (200 if expected["ok"] else 503)

    await eventually(look)


async def test_the_overall_health_path_reports_readiness_and_its_parts(worker: Worker) -> None:
    await becomes(worker, WELL)
    see = {"see": ["/health/live", "/health/ready", "/health/startup"]}
    assert await ask(worker, "/health") == (200, WELL | see)
    # And a load balancer that requests it detects when the worker accepts no tasks
    await worker.container.slots.stop(grace=0)
    assert await ask(worker, "/health") == (503, WELL | see | {"ok": False, "task_consumer": False})


async def test_checking_a_hanging_nats_does_not_block_a_worker(
    worker: Worker, nats_server: NatsServer, nc: Client
) -> None:
    # Given a worker that was checked while NATS hung, which then replied
    nats_server.pause()
    await becomes(worker, WELL | {"ok": False, "nats": False})
    nats_server.resume()

    # When it receives a request, long before it would open another connection
    async def answered() -> bool:
        with suppress(nats.errors.Error):
            return bool((await nc.request("tasks.status", b'{"task_id": "t1"}', timeout=1)).data)
        return False

    # Then it receives the request, and is ready again
    await eventually(answered, within=8)
    await becomes(worker, WELL)


async def test_redis_that_is_gone_and_comes_back(worker: Worker, valkey: ValkeyServer) -> None:
    await becomes(worker, WELL)
    await valkey.stop()
    await becomes(worker, WELL | {"ok": False, "redis": False})
    await valkey.start()
    await becomes(worker, WELL)


async def test_each_warning_about_redis_ends_when_redis_is_back(
    start_worker: StartWorker, settings: Settings, valkey: ValkeyServer, constants: Constants
) -> None:
    # Given a worker that checks Redis often
    constants(CHECK_EVERY_S=0.1, MEASURE_EVERY_S=0.1, CLEAN_LISTS_EVERY_S=0.1, SHARED_FOR_S=0.1)
    with capture_logs() as lines:
        async with start_worker(FakeEngine()) as worker:

            async def told(event: str, works: set[str]) -> bool:
                return works <= {line["work"] for line in lines if line["event"] == event}

            async def warns() -> bool:
                return any("Redis" in problem.what for problem in (await examine(settings)).problems)

            async def is_well() -> bool:
                return not await warns()

            # When Redis is stopped for a while, then the log and `doctor` warn of it
            await valkey.stop()
            works = {"projection_restart", "redis_metrics", "task_list_cleaning"}
            await eventually(partial(told, "work_interrupted", works))
            await eventually(warns)
            # And when it is back, then each of these warnings ends
            await valkey.start()
            await eventually(partial(told, "work_resumed", works))
            await eventually(lambda: b"natscribe_redis_up 1.0" in worker.container.meter.exposition())
            await eventually(is_well)
            ended = len(lines)
            await asyncio.sleep(0.5)  # time in which a warning could come
    late = [line for line in lines[ended:] if line["log_level"] == "warning" and line.get("work") in works]
    assert late == []


async def test_a_consumer_that_was_deleted(worker: Worker, nc: Client) -> None:
    await becomes(worker, WELL)
    # Given a consumer that was deleted, and that the service cannot make again as it needs it
    js, stream, name = nc.jetstream(), "transcription_results", "transcription_worker_projection_results"

    async def is_another() -> bool:
        with suppress(nats.errors.Error):
            await js.delete_consumer(stream, name)
            await js.add_consumer(stream, durable_name=name, deliver_policy=DeliverPolicy.NEW)
        return bool((await js.consumer_info(stream, name)).config.deliver_policy == DeliverPolicy.NEW)

    await eventually(is_another)
    await becomes(worker, WELL | {"ok": False, "consumers": False})


class Forgetful(FakeEngine):
    """Has a model only after it has loaded one."""

    can_load = True

    async def load(self) -> None:
        if not self.can_load:
            raise PermanentError(ErrorCode.UNKNOWN_MODEL, "There is no such model.")
        self.loaded = Loaded(model=MODEL)


async def test_a_model_that_is_gone_is_loaded_again(start_worker: StartWorker, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given an idle worker
    monkeypatch.setattr(main, "LOAD_MODEL_EVERY_S", 0.05)
    engine = Forgetful()
    async with start_worker(engine) as worker:
        await becomes(worker, WELL)
        # When its engine's process is gone, as it is after a task was cancelled
        engine.loaded = None
        # Then it is ready again without a task
        await eventually(lambda: engine.loaded is not None)


async def test_a_worker_has_started_until_its_model_cannot_be_loaded(
    start_worker: StartWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a worker that has loaded its model, and whose engine was killed with a cancelled task
    engine = Forgetful()
    engine.loaded = None
    async with start_worker(engine) as worker:

        async def started() -> bool:
            return (await ask(worker, "/health/startup"))[0] == 200

        await eventually(started)
        engine.loaded = None
        # Then it counts as started, since the model is loaded again soon
        assert await started()
        # But no longer when that fails
        engine.can_load = False
        await worker._load_model()  # noqa: SLF001 -- otherwise 30 s pass before the next try
        assert await ask(worker, "/health/startup") == (503, {"ok": False, "model": False})


@pytest.mark.parametrize(
    ("address", "host", "status"),
    [
        *(("127.0.0.1", host, 200) for host in ("localhost:8000", "127.0.0.1", "[::1]:8000", None)),
        *((address, "example.org:8000", 421) for address in ("127.0.0.1", "127.0.0.2", "::1", "::ffff:127.0.0.1")),
        # Prometheus and Kubernetes' probes request pods and containers by address, or by the name of a service
        *(("10.0.0.2", host, 200) for host in ("10.0.0.2:8000", "worker.natscribe.svc:8000", "example.org")),
        (None, "example.org", 200),  # on a Unix socket, which no browser reaches
    ],
)
@pytest.mark.parametrize("path", ["/metrics", "/docs", "/health/live"])
async def test_a_name_of_another_site_gets_no_reply_on_loopback(
    worker: Worker, path: str, address: str | None, host: str | None, status: int
) -> None:
    # Given a request to an address of this machine, with the name that DNS has for it
    server, headers = address and (address, 8000), [(b"host", host.encode())] if host else []
    # Then no web page reads the worker's HTTP by DNS rebinding, and whoever reached it otherwise still does
    assert (await request(worker.app, path, server=server, headers=headers))[0] == status

"""This service as a child process, started as its users start it."""

import asyncio
import json
import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from app.command.embedded import free_port
from app.fleet.stream_guard import provisioning
from app.settings import Settings
from benchmarks.stack import READY_WITHIN, Child, Stack, python

REAL, NO_OP = "app.main:app", "benchmarks.no_op:app"
OF_CONSUMERS = {"ok", "consumers"}  # checks of readiness that fail while a consumer is changed


async def provision(stack: Stack, *, queue_limit: int = 10_000) -> None:
    """Make the streams, as a first start of the service does."""
    settings = Settings(_env_file=None, nats_url=stack.nats_url, nats_max_msgs_per_subject=queue_limit)
    await provisioning.provision(stack.nats.jetstream(), settings)


@asynccontextmanager
async def serving(
    stack: Stack,
    application: str = REAL,
    *,
    workers: int = 1,
    changed: bool = False,
    one_core: bool = False,
    **settings: object,
) -> AsyncIterator[Child]:
    """Run the service; the body begins when its model is loaded and it takes tasks.

    `changed`: a consumer is changed for the measurement, so readiness does not wait for consumers.
    A worker transcribes one window at a time unless set otherwise, as the bare engine does. With `one_core` all its
    processes share a core.
    """
    port, chosen = free_port(), {"engine_parallel": 1, **settings}
    command = python("faststream", "run", application, "--port", str(port), "--workers", str(workers))
    if one_core:
        command = ["taskset", "--cpu-list", "0", *command]
    async with stack.running(command, {name.upper(): str(value) for name, value in chosen.items()}) as child:

        async def is_ready() -> bool:
            failed = [await asyncio.to_thread(_failed_checks, port, route) for route in ("startup", "ready")]
            return set().union(*failed) <= (OF_CONSUMERS if changed else set())

        await child.until(is_ready, every=0.1, within=READY_WITHIN)
        yield child


def _failed_checks(port: int, route: str) -> set[str]:
    """Return the names of the checks of a health route that fail, and `ok` if any does."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health/{route}", timeout=5):
            return set()
    except urllib.error.HTTPError as error:
        checks: dict[str, bool] = json.loads(error.read())
        return {name for name, holds in checks.items() if not holds}
    except OSError:
        return {"reply"}

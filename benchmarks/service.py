"""This service as a child process, started as its users start it."""

import asyncio
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from app.embedded import free_port
from app.jetstream import provisioning
from app.settings import Settings
from benchmarks.stack import READY_WITHIN, Child, Stack, python

REAL, NO_OP = "app.main:app", "benchmarks.no_op:app"


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
    ready: bool = True,
    one_core: bool = False,
    **settings: object,
) -> AsyncIterator[Child]:
    """Run the service; with `ready`, the body begins when its model is loaded and it takes tasks.

    A worker transcribes one window at a time where nothing else is set, as the bare engine does. With `one_core` all
    its processes share a core.
    """
    port, chosen = free_port(), {"engine_parallel": 1, **settings}
    command = python("faststream", "run", application, "--port", str(port), "--workers", str(workers))
    if one_core:
        command = ["taskset", "--cpu-list", "0", *command]
    async with stack.running(command, {name.upper(): str(value) for name, value in chosen.items()}) as child:

        async def is_ready() -> bool:
            answers = [await asyncio.to_thread(_is_well, port, check) for check in ("startup", "ready")]
            return all(answers)

        if ready:
            await child.until(is_ready, every=0.1, within=READY_WITHIN)
        yield child


def _is_well(port: int, check: str) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health/{check}", timeout=5):
            return True
    except OSError:
        return False

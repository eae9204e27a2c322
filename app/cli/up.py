"""The command `up`: runs the service and its servers until Ctrl-C."""

import asyncio
import time
from collections import deque
from typing import NoReturn

from natscribe.cli.console import DATA, ENDPOINTS, err, out, run_and_exit
from natscribe.client import ClientError, command
from natscribe.settings import without_login

from app.cancellation import cancel_all
from app.cli.service import Service, service, stop_signals
from app.embedded import EmbeddedError, Endpoints
from app.settings import Settings

MOST_ENDS, WITHIN_S = 3, 60.0  # if 3 workers end within 60 s, no further worker is started


def run(workers: int, host: str, port: int | None) -> NoReturn:
    """Run the service, with embedded servers if NATS_URL and REDIS_URL name none, until Ctrl-C."""
    run_and_exit(_run(workers, host, port), expected=(ClientError, EmbeddedError))


async def _run(workers: int, host: str, port: int | None) -> int:
    stop = stop_signals()
    err.print("starting ...")
    async with service(DATA, workers=workers, host=host, port=port) as running:
        ENDPOINTS.write_text("".join(f"{name}={url}\n" for name, url in running.servers.items()), encoding="utf-8")
        try:
            return await _until(stop, running)
        finally:
            ENDPOINTS.unlink(missing_ok=True)


async def _until(stop: asyncio.Event, running: Service) -> int:
    """Run until the stop event, or until workers end too often; return the exit code.

    Raises:
        EmbeddedError: An embedded server does not start again.
    """
    stopped = asyncio.create_task(stop.wait())
    kept = [asyncio.create_task(_keep_working(running))]
    if running.embedded is not None:
        kept.append(asyncio.create_task(_keep_serving(running.embedded)))
    done, _ = await asyncio.wait({stopped, *kept}, return_when=asyncio.FIRST_COMPLETED)
    await cancel_all([stopped, *kept])
    for failed in done - {stopped}:
        return failed.result()
    await _stop(stop, running)
    return 0


async def _stop(stop: asyncio.Event, running: Service) -> None:
    """Stop the worker; kill it at once if a second stop signal arrives."""
    err.print(
        f"stopping: running tasks have {Settings().task_grace:g} s to end, then they are released; "
        "Ctrl-C again stops at once"
    )
    stop.clear()
    at_once = asyncio.create_task(stop.wait())
    stopping = asyncio.create_task(running.worker.stop())
    await asyncio.wait({at_once, stopping}, return_when=asyncio.FIRST_COMPLETED)
    if not stopping.done():
        running.worker.kill()
    await stopping
    await cancel_all([at_once])


async def _keep_serving(servers: Endpoints) -> int:
    """Restart embedded servers that end; their clients wait and connect again.

    Raises:
        EmbeddedError: A server does not start again.
    """
    await servers.keep(lambda server: err.print(f"{server} has ended: starting it again.", style="red"))
    return 0


async def _keep_working(running: Service) -> int:
    """Replace each worker that ends, until the first one fails to start or too many end; return the exit code."""
    if not await running.becomes_ready():
        err.print("The worker ended before it took tasks; its last lines say why.", style="red")
        return await running.worker.wait() or 1
    _print_addresses(running)
    ends = deque[float](maxlen=MOST_ENDS)
    while True:
        code = await running.worker.wait()
        ends.append(time.monotonic())
        if len(ends) == MOST_ENDS and ends[-1] - ends[0] < WITHIN_S:
            err.print(f"Workers end again and again (code {code}); their last lines say why.", style="red")
            return code or 1
        err.print(f"The worker has ended (code {code}): starting another one, which continues its task.", style="red")
        running.restart()


def _print_addresses(running: Service) -> None:
    settings = Settings(nats_url=running.servers["NATS_URL"])
    out.print(f"NATS   {settings.nats_place}")
    out.print(f"Redis  {without_login(running.servers['REDIS_URL'])}")
    out.print(f"Docs   {running.docs}")
    out.print(f"Try    {command()} transcribe FILE     (in another terminal; Ctrl-C here stops everything)")

"""`up`: everything that the service needs, until Ctrl-C."""

import asyncio
from typing import Annotated

import typer

from app.cli.console import DATA, ENDPOINTS, err, finish, out
from app.cli.service import Service, service, stop_signals


def up(
    *,
    workers: Annotated[int, typer.Option(min=1, help="How many tasks run at once.")] = 1,
    host: Annotated[str, typer.Option(help="Where the documentation page is served.")] = "127.0.0.1",
    port: Annotated[int | None, typer.Option(help="Its port.", show_default="8000 if free")] = None,
) -> None:
    """Run the service, with embedded servers where NATS_URL and REDIS_URL name none."""
    finish(_run(workers, host, port))


async def _run(workers: int, host: str, port: int | None) -> int:
    stop = stop_signals()
    async with service(DATA, workers=workers, host=host, port=port) as running:
        ENDPOINTS.write_text("".join(f"{name}={url}\n" for name, url in running.servers.items()), encoding="utf-8")
        try:
            _tell(running)
            code = await _until(stop, running)
        finally:
            ENDPOINTS.unlink(missing_ok=True)
    return code


async def _until(stop: asyncio.Event, running: Service) -> int:
    stopped, ended = asyncio.create_task(stop.wait()), asyncio.create_task(running.worker.wait())
    await asyncio.wait({stopped, ended}, return_when=asyncio.FIRST_COMPLETED)
    stopped.cancel()
    if ended.done():
        err.print("The worker has ended; its last lines say why.", style="red")
        return ended.result() or 1
    err.print("stopping: running tasks are given back to the queue")
    await running.worker.stop()
    await ended
    return 0


def _tell(running: Service) -> None:
    out.print(f"NATS   {running.servers['NATS_URL']}")
    out.print(f"Redis  {running.servers['REDIS_URL']}")
    out.print(f"Docs   {running.docs}")
    out.print("Try    natscribe transcribe FILE     (Ctrl-C stops everything)")

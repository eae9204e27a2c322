"""The command `up`: runs the service and its servers until Ctrl-C."""

import asyncio
import fcntl
import shlex
import time
from collections import deque
from collections.abc import Coroutine, Generator, Iterable
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import structlog
from natscribe.cli.console import DATA, ENDPOINTS, err, out, run_and_exit
from natscribe.cli.exit_codes import USAGE
from natscribe.client import ClientError
from natscribe.settings import without_login, wrong_setting
from pydantic import ValidationError

from app.cancellation import cancel_all
from app.cli.microphone_page import WebSocketOptions
from app.cli.next_steps import next_steps, settings_for_clients
from app.cli.service import LocalService, report_unwritable, run_service, stop_signals
from app.embedded import EmbeddedError, Server, keep_running
from app.settings import Settings
from app.telemetry import logs

MOST_ENDS, WITHIN_S = 3, 60.0  # if 3 workers end within 60 s, no further worker is started

log = structlog.get_logger()


def run(workers: int, host: str, port: int | None, websocket: WebSocketOptions | None) -> NoReturn:
    """Run the service, with an embedded server for each of NATS_URL and REDIS_URL that is not set, until Ctrl-C."""
    if not err.is_terminal:
        logs.configure()
    run_and_exit(_log_errors(_run(workers, host, port, websocket)), expected=(ClientError, EmbeddedError))


def _tell(event: str, words: str, *, failed: bool = False, **fields: object) -> None:
    """Print a sentence on a terminal; elsewhere write a line of the log."""
    if err.is_terminal:
        err.print(words, style="red" if failed else None)
    else:
        (log.error if failed else log.info)(event, **fields)


async def _log_errors(work: Coroutine[None, None, int]) -> int:
    """Return the exit code of `work`; without a terminal, log an expected error in place of raising it."""
    try:
        return await work
    except (ClientError, EmbeddedError) as error:
        if err.is_terminal:
            raise
        log.critical("service_start_failed", error=str(error))
        return 1
    except ValidationError as error:
        if err.is_terminal:
            raise
        log.critical("service_start_failed", error=wrong_setting(error))
        return USAGE


async def _run(workers: int, host: str, port: int | None, websocket: WebSocketOptions | None) -> int:
    stop = stop_signals()
    with report_unwritable(), _only_run(DATA):
        return await _serve(stop, workers, host, port, websocket)


@contextmanager
def _only_run(folder: Path) -> Generator[None]:
    """Lock the folder until the block ends, so that no other `natscribe up` changes files in it.

    Raises:
        EmbeddedError: Another `natscribe up` uses the folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "up.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            message = f"another run uses {folder.resolve()}: use that run, or stop it in its terminal"
            raise EmbeddedError(message) from None
        yield


async def _serve(
    stop: asyncio.Event, workers: int, host: str, port: int | None, websocket: WebSocketOptions | None
) -> int:
    if err.is_terminal:
        err.print("starting the servers and a worker, which loads its model ...")
    async with run_service(DATA, workers=workers, host=host, port=port, websocket=websocket) as running:
        if not err.is_terminal:
            log.info("service_configured", workers=workers, **logs.summary(_settings_of(running)))
        found = {**running.servers, **settings_for_clients()}
        ENDPOINTS.write_text(
            "".join(f"{name}={shlex.quote(value)}\n" for name, value in found.items()), encoding="utf-8"
        )
        try:
            return await _until(stop, running)
        finally:
            ENDPOINTS.unlink(missing_ok=True)


def _settings_of(running: LocalService) -> Settings:
    return Settings(nats_url=running.servers["NATS_URL"], redis_url=running.servers["REDIS_URL"])


async def _until(stop: asyncio.Event, running: LocalService) -> int:
    """Run until the stop event, or until workers end too often; return the exit code.

    Raises:
        EmbeddedError: An embedded server does not start again.
    """
    stopped = asyncio.create_task(stop.wait())
    kept = [asyncio.create_task(_keep_working(stop, running))]
    if running.embedded:
        kept.append(asyncio.create_task(_keep_serving(running.embedded)))
    await asyncio.wait({stopped, *kept}, return_when=asyncio.FIRST_COMPLETED)
    await asyncio.sleep(0)  # a failure that was held until the stop event has its own code
    ended = [task for task in kept if task.done()]
    await cancel_all([stopped, *kept])
    for failed in ended:
        return failed.result()
    await _stop(stop, running)
    return 0


async def _stop(stop: asyncio.Event, running: LocalService) -> None:
    """Stop the worker; kill it at once if a second stop signal arrives."""
    grace = Settings().task_grace
    words = f"stopping: running tasks have {grace:g} s to end, then they are released; Ctrl-C again stops at once"
    _tell("service_stopped", words, grace_s=grace)
    stop.clear()
    at_once = asyncio.create_task(stop.wait())
    stopping = asyncio.create_task(running.worker.stop())
    await asyncio.wait({at_once, stopping}, return_when=asyncio.FIRST_COMPLETED)
    if not stopping.done():
        running.worker.kill()
    await stopping
    await cancel_all([at_once])


async def _keep_serving(servers: Iterable[Server]) -> int:
    """Restart embedded servers that end; their clients wait and connect again.

    Raises:
        EmbeddedError: A server does not start again.
    """

    def tell(server: str) -> None:
        _tell("server_restarted", f"{server} has ended: starting it again.", failed=True, server=server)

    await keep_running(servers, tell)
    return 0


async def _hold(stop: asyncio.Event, running: LocalService) -> None:
    """On a terminal, keep an embedded NATS running until Ctrl-C, so that a person can mend its streams."""
    embedded = any(server.url == running.servers["NATS_URL"] for server in running.embedded)
    if embedded and err.is_terminal:
        url = running.servers["NATS_URL"]
        err.print(f"NATS still runs at {url}, for commands that mend it (NATS_URL={url}); Ctrl-C stops it.")
        await stop.wait()


async def _keep_working(stop: asyncio.Event, running: LocalService) -> int:
    """Replace each worker that ends; return the exit code if the first does not start, or MOST_ENDS end in WITHIN_S."""
    if not await running.becomes_ready():
        code = await running.worker.wait() or 1
        why = running.worker.refusal
        words = f"The worker ended before it took tasks: {why or 'its last lines say why'}."
        _tell("worker_not_started", words, failed=True, exit_code=code, error=why or None)
        await _hold(stop, running)
        return code
    _print_addresses(running)
    ends = deque[float](maxlen=MOST_ENDS)
    while True:
        code = await running.worker.wait()
        ends.append(time.monotonic())
        if len(ends) == MOST_ENDS and ends[-1] - ends[0] < WITHIN_S:
            why = running.worker.refusal
            words = f"Workers end again and again (code {code}): {why or 'their last lines say why'}."
            _tell("workers_given_up", words, failed=True, exit_code=code, error=why or None)
            return code or 1
        words = f"The worker has ended (code {code}): starting another one, which continues its task."
        _tell("worker_restarted", words, failed=True, exit_code=code)
        running.restart()


def _print_addresses(running: LocalService) -> None:
    settings = _settings_of(running)
    if not err.is_terminal:
        log.info("service_ready", docs=running.docs, page=running.page and running.page.url)
        return
    out.print(f"NATS   {settings.nats_addresses}")
    out.print(f"Redis  {without_login(settings.redis_url)}")
    out.print(f"Docs   {running.docs}")
    if running.page is not None:
        out.print(f"Live   {running.page.url} writes what you say; pages speak to NATS at {running.page.websocket}")
    for line in next_steps(running):
        out.print(line)

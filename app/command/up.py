"""The command `up`: runs the service and its servers until Ctrl-C."""

import asyncio
import fcntl
import shlex
import time
from collections import deque
from collections.abc import Callable, Collection, Coroutine, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import structlog
from natscribe.cli.console import DATA, ENDPOINTS, err, out, run_and_exit
from natscribe.cli.exit_codes import USAGE
from natscribe.client import ClientError
from natscribe.settings import describe_invalid_setting, without_login
from pydantic import ValidationError

from app.command.embedded import EmbeddedError, GuardedProcess
from app.command.next_steps import next_steps, settings_for_clients
from app.command.page import PageOptions
from app.command.service import LocalService, on_stop_signal, report_unwritable, run_service
from app.runtime.cancellation import cancel_all
from app.runtime.telemetry import logs
from app.settings import Settings

MAX_ENDS, WITHIN_S = 3, 60.0  # after 3 ends of workers within 60 s, no further worker is started

log = structlog.get_logger()


def run(workers: int, host: str, port: int | None, page: PageOptions | None, services: Collection[str]) -> NoReturn:
    """Run the command `up` until Ctrl-C, and exit the process."""
    if not err.is_terminal:
        logs.configure()
    run_and_exit(log_errors(serve(workers, host, port, page, services)), expected=(ClientError, EmbeddedError))


def _report(event: str, sentence: str, *, failed: bool = False, **fields: object) -> None:
    """Print `sentence` if standard error is a terminal; otherwise log `event` with `fields`.

    `failed`: print in red, or log an error.
    """
    if err.is_terminal:
        err.print(sentence, style="red" if failed else None)
    else:
        (log.error if failed else log.info)(event, **fields)


async def log_errors(work: Coroutine[None, None, int]) -> int:
    """Await `work` and return its exit code; without a terminal, log an expected error and return an exit code for it.

    On a terminal, expected errors are raised like all others, and the caller prints them.
    """
    try:
        return await work
    except (ClientError, EmbeddedError, ValidationError) as error:
        if err.is_terminal:
            raise
        if isinstance(error, ValidationError):
            log.critical("service_start_failed", error=describe_invalid_setting(error))
            return USAGE
        log.critical("service_start_failed", error=str(error))
        return 1


async def serve(
    workers: int, host: str, port: int | None, page: PageOptions | None, services: Collection[str] = ()
) -> int:
    """Run the service until a stop signal arrives or its workers end repeatedly; return the exit code.

    `host`, `port`: of the worker's HTTP server; `port` None: HTTP_PORT if that is free, otherwise any free port.
    `page`: the options of the web page; None: serve no page. `services`: the names of services on top of the events.

    Raises:
        ClientError: See `run_service`.
        EmbeddedError: Another run uses the folder, the folder is not writable, or an embedded server does not start.
    """
    stop = asyncio.Event()
    on_stop_signal(stop.set)
    with report_unwritable(), locked_folder(DATA):
        if err.is_terminal:
            err.print("starting the servers and a worker, which loads its model ...")
        async with run_service(DATA, workers=workers, host=host, port=port, page=page, services=services) as running:
            if not err.is_terminal:
                log.info("service_configured", workers=workers, **logs.summary(_settings_of(running)))
            settings = {**running.servers, **settings_for_clients()}
            lines = [f"{name}={shlex.quote(value)}\n" for name, value in settings.items()]
            ENDPOINTS.write_text("".join(lines), encoding="utf-8")
            try:
                return await run_until_stopped(stop, running)
            finally:
                ENDPOINTS.unlink(missing_ok=True)


@contextmanager
def locked_folder(folder: Path) -> Generator[None]:
    """Lock the folder until the block ends, so that no other `natscribe up` changes its files.

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


def _settings_of(running: LocalService) -> Settings:
    return Settings(nats_url=running.servers["NATS_URL"], redis_url=running.servers["REDIS_URL"])


async def run_until_stopped(stop: asyncio.Event, running: LocalService) -> int:
    """Supervise workers and servers until `stop` is set or the workers end too often; return the exit code.

    Raises:
        EmbeddedError: An embedded server does not start again.
    """
    stopped, ready = asyncio.create_task(stop.wait()), asyncio.Event()
    supervisors: list[asyncio.Task[int | None]] = [asyncio.create_task(_supervise_workers(stop, running, ready))]
    for name, start in running.services.items():
        supervisors.append(asyncio.create_task(_supervise_service(name, start, ready)))
    supervisors += [asyncio.create_task(server.keep_running(_report_restart)) for server in running.embedded]
    await asyncio.wait({stopped, *supervisors}, return_when=asyncio.FIRST_COMPLETED)
    await asyncio.sleep(0)  # `_hold` delays a failure until the stop event: the failure has its own exit code
    failed = [task for task in supervisors if task.done()]
    await cancel_all([stopped, *supervisors])
    if failed:
        return failed[0].result() or 0
    await _stop(stop, running)
    return 0


async def _stop(stop: asyncio.Event, running: LocalService) -> None:
    """Stop the worker gracefully; kill it if a second stop signal arrives in the meantime."""
    grace = Settings().task_grace
    sentence = f"stopping: running tasks have {grace:g} s to end, then they are released; Ctrl-C again stops at once"
    _report("service_stopped", sentence, grace_s=grace)
    stop.clear()
    second_signal = asyncio.create_task(stop.wait())
    stopping = asyncio.create_task(running.worker.stop())
    await asyncio.wait({second_signal, stopping}, return_when=asyncio.FIRST_COMPLETED)
    if not stopping.done():
        running.worker.kill()
    await stopping
    await cancel_all([second_signal])


def _report_restart(server: str) -> None:
    _report("server_restarted", f"{server} has ended: restarting it.", failed=True, server=server)


async def _hold(stop: asyncio.Event, running: LocalService) -> None:
    """After a failure, let the embedded NATS run until Ctrl-C, so that a person at the terminal can repair its streams.

    Do nothing without a terminal, or with an external NATS.
    """
    embedded = any(server.url == running.servers["NATS_URL"] for server in running.embedded)
    if embedded and err.is_terminal:
        url = running.servers["NATS_URL"]
        err.print(f"NATS is still running at {url}, for commands that repair it (NATS_URL={url}); Ctrl-C stops it.")
        await stop.wait()


async def _supervise_workers(stop: asyncio.Event, running: LocalService, ready: asyncio.Event) -> int:
    """Restart the worker process whenever it ends, until cancelled.

    Return the exit code of the worker if it ends before it was ever ready, or if workers end MAX_ENDS times within
    WITHIN_S seconds. In the first case, `_hold` is called first, which may wait for `stop`. `ready` is set when the
    worker is ready.
    """
    if not await running.wait_until_ready():
        code = await running.worker.wait() or 1
        why = running.worker.refusal
        sentence = f"The worker ended before it was ready: {why or 'its last lines say why'}."
        _report("worker_not_started", sentence, failed=True, exit_code=code, error=why or None)
        await _hold(stop, running)
        return code
    _print_addresses(running)
    ready.set()
    ends = deque[float](maxlen=MAX_ENDS)
    while True:
        code = await running.worker.wait()
        ends.append(time.monotonic())
        if len(ends) == MAX_ENDS and ends[-1] - ends[0] < WITHIN_S:
            why = running.worker.refusal
            sentence = f"Workers end repeatedly (code {code}): {why or 'their last lines say why'}."
            _report("workers_given_up", sentence, failed=True, exit_code=code, error=why or None)
            return code or 1
        sentence = f"The worker has ended (code {code}): starting another one, which continues its task."
        _report("worker_restarted", sentence, failed=True, exit_code=code)
        running.restart()


async def _supervise_service(name: str, start: Callable[[], GuardedProcess], ready: asyncio.Event) -> int:
    """Start a service once the worker is `ready`, and restart it whenever it ends, until cancelled; then stop it.

    Return its exit code if it ends MAX_ENDS times within WITHIN_S seconds.
    """
    await ready.wait()
    ends = deque[float](maxlen=MAX_ENDS)
    while True:
        process = start()
        try:
            code = await process.wait()
        except asyncio.CancelledError:
            await process.stop()
            raise
        ends.append(time.monotonic())
        if len(ends) == MAX_ENDS and ends[-1] - ends[0] < WITHIN_S:
            why = process.refusal or "its last lines say why"
            sentence = f"The service {name} ends repeatedly (code {code}): {why}."
            _report("service_given_up", sentence, failed=True, service=name, exit_code=code)
            return code or 1
        sentence = f"The service {name} has ended (code {code}): starting it again."
        _report("service_restarted", sentence, failed=True, service=name, exit_code=code)


def _print_addresses(running: LocalService) -> None:
    settings = _settings_of(running)
    if not err.is_terminal:
        if running.page is not None:
            out.print(f"Page   {running.page.url}")
        log.info("service_ready", docs=running.docs, page=running.page and running.page.url)
        return
    out.print(f"NATS   {settings.nats_addresses}")
    out.print(f"Redis  {without_login(settings.redis_url)}")
    out.print(f"Docs   {running.docs}")
    if running.page is not None:
        out.print(f"Page   {running.page.url} transcribes recordings and your microphone, and shows the messages")
    for line in next_steps(running):
        out.print(line)

"""Starts and stops a worker: `faststream run app.main:app`. Importing this module opens no connection."""

import asyncio
import gc
import sys
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from http import HTTPStatus

import structlog
from faststream.asgi import AsgiFastStream, AsgiResponse
from faststream.asgi.types import Receive, Scope, Send
from nats.aio.client import Client
from nats.errors import Error as NatsError
from natscribe.jetstream.nats_py_compat import close
from natscribe.settings import describe_invalid_setting
from opentelemetry.trace import TracerProvider
from pydantic import ValidationError
from uvicorn.config import LOGGING_CONFIG, STARTUP_FAILURE

from app import docs_page
from app.asyncapi import Document
from app.cancellation import cancel_all
from app.container import Container
from app.engines.engine import Engine
from app.engines.process.engine_processes import EngineProcesses
from app.errors import TaskError, TransientError
from app.http_host import is_misdirected
from app.jetstream import connection
from app.operations import health
from app.redis_store import projection_feed
from app.settings import VERSION, Settings
from app.supervision import run_forever
from app.telemetry import logs, tracing
from app.telemetry.metrics import metrics_route
from app.temporary import remove_stale_files

HEALTH_PATHS = ("/health/live", "/health/ready", "/health/startup")
LOAD_MODEL_EVERY_S = 30.0  # how often the worker checks whether a model is loaded
# A full garbage collection visits each word of a transcript, which takes 0.4 s for a day of speech: collect rarely.
GC_THRESHOLDS = (700, 10, 1000)

log = structlog.get_logger()


class _Application(AsgiFastStream):
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Respond to a request, unless a web page has made it by DNS rebinding."""
        address, _ = scope.get("server") or ("", None)
        hosts = [value.decode("latin-1") for name, value in scope.get("headers", ()) if name == b"host"]
        if any(is_misdirected(host, address) for host in hosts):
            await AsgiResponse(b"Misdirected Request", HTTPStatus.MISDIRECTED_REQUEST)(scope, receive, send)
        else:
            await super().__call__(scope, receive, send)


class Worker:
    """A worker of the service: its start, its shutdown and its HTTP routes."""

    def __init__(self, settings: Settings, engine: Engine, traces: TracerProvider = tracing.OFF) -> None:
        self.settings = settings
        self._traces = traces
        self.container = Container(settings, engine, traces=traces)
        self.broker = self.container.broker
        self.app: AsgiFastStream = self._application()

    def _application(self) -> AsgiFastStream:
        specification = Document(VERSION, self.settings)
        return _Application(
            self.broker,
            lifespan=self._lifespan,
            after_startup=[self._start_consumers],
            on_shutdown=[self._stop],
            specification=specification,
            asgi_routes=[
                *docs_page.routes(specification),
                ("/metrics", metrics_route(self.container.meter)),
                ("/health/live", health.route()),
                ("/health/ready", health.route(**self._needs())),
                ("/health/startup", health.route(model=self._model_available)),
                ("/health", health.route(HEALTH_PATHS, **self._needs())),
            ],
            logger=log,
        )

    def _needs(self) -> dict[str, health.Check]:
        """Return the health checks by name; the worker is ready for tasks if all of them succeed."""
        return {
            "nats": partial(health.nats_responds, self.broker, self.settings),
            "consumers": lambda: self.container.stream_guard.are_streams_whole,
            "redis": self.container.projection.reachable,
            "task_consumer": lambda: self.container.slots.running,
        }

    @asynccontextmanager
    async def _lifespan(self) -> AsyncIterator[None]:
        logs.adopt_libraries()
        log.info("worker_configured", worker=self.container.worker_name, **logs.summary(self.settings))
        try:
            async with self._opened():
                yield
        except connection.StartError as error:
            logs.end_with_start_error(str(error))
            raise

    @asynccontextmanager
    async def _opened(self) -> AsyncIterator[None]:
        gc.set_threshold(*GC_THRESHOLDS)
        await asyncio.to_thread(remove_stale_files)
        container = self.container
        async with AsyncExitStack() as closing:
            closing.push_async_callback(asyncio.to_thread, tracing.flush, self._traces)
            closing.push_async_callback(container.projection.close)
            closing.push_async_callback(container.redis_of_cache.aclose)
            closing.push_async_callback(container.engine.close)
            async with connection.stop_on_refusal(container.connection, self.settings):
                nats = await connection.connect(self.broker, self.settings)
                closing.push_async_callback(close, nats)
                closing.callback(container.connection.expect_close)
                container.join_fleet(nats)
                closing.push_async_callback(container.lease.release)
                ack_wait = await connection.retry_until_available(self._start_guard)
            container.connection.connected(self.broker)
            container.connect(nats, ack_wait=ack_wait)
            closing.callback(container.result_writer.close)
            closing.push_async_callback(container.worker_report.close)
            for name, part in vars(container).items():  # for handlers and middlewares
                self.app.context.set_global(name, part)
            closing.push_async_callback(container.windows.close)
            for work in self._background(nats):
                closing.push_async_callback(cancel_all, [asyncio.create_task(work)])
            with suppress(NatsError):  # until they can be read, the settings apply to all users
                await container.quotas.read()
            self._fleet_duties = asyncio.create_task(container.maintenance.run_for_fleet())
            closing.push_async_callback(cancel_all, [self._fleet_duties])
            try:
                yield
            except NatsError as error:
                if not container.connection.may_close:
                    raise
                log.warning("nats_drain_failed", error=str(error))  # NATS stopped before the worker

    def _background(self, nats: Client) -> Iterator[Coroutine[object, None, None]]:
        container = self.container
        share = container.sharing.update_subscription
        yield run_forever("model_loading", self._load_model, every_s=LOAD_MODEL_EVERY_S)
        yield container.maintenance.run()
        yield projection_feed.run(nats, container.names, container.projection)
        yield container.registration.run()
        yield container.quotas.run()
        yield container.retention.run()
        yield run_forever("work_sharing", share, every_s=0, retry_after_s=LOAD_MODEL_EVERY_S)

    async def _start_guard(self) -> float:
        """Wait until all streams, consumers and buckets exist; return the acknowledgement timeout of the task queues.

        If a worker sends no heartbeat for this number of seconds, JetStream redelivers its task.
        """
        projection = self.container.projection
        state, new = await self.container.stream_guard.start()
        if self.container.names.progress_projection in new:
            with suppress(TransientError):  # the new consumer projects everything anyway
                await projection.mark()
        projection.stream_created_at = state.progress_created_at or ""
        return state.ack_wait

    async def _start_consumers(self) -> None:
        nats = await self.broker.connect()
        # A reply shows that the server has received all subscriptions.
        await connection.retry_until_available(partial(nats.jetstream().stream_info, self.container.names.tasks))
        watching = run_forever("task_slots", partial(self.container.slots.run, nats), every_s=0)
        self._watching_slots = asyncio.create_task(watching)

    async def _stop(self) -> None:
        self.container.connection.expect_close()
        self.container.sharing.stop_sharing()
        await asyncio.gather(
            cancel_all([self._fleet_duties, self._watching_slots]),  # another worker continues at once
            self.container.slots.stop(grace=self.settings.task_grace),
        )

    async def _load_model(self) -> None:
        """Load the model if none is loaded: at the start, or after a cancellation that has killed the engine."""
        slots, engine = self.container.slots, self.container.engine
        if engine.loaded or slots.busy:
            return
        try:
            await engine.load()
            self.container.last_loaded = engine.loaded or self.container.last_loaded
            if engine.loaded is not None:
                log.info("model_loaded", model=engine.loaded.model.name, fingerprint=engine.loaded.fingerprint)
        except TaskError as error:
            self.container.last_loaded = None
            log.error("model_load_failed", error=error.detail.message)  # noqa: TRY400 -- the message is for operators, and needs no traceback

    def _model_available(self) -> bool:
        """Return whether a model is loaded, or will be loaded again after a task whose engine was killed."""
        return self.container.model is not None


def _read_settings() -> Settings:
    """Read the settings and configure logging; if a setting is invalid, log one line and exit."""
    try:
        settings = Settings()
    except ValidationError as error:
        logs.configure()
        logs.end_with_start_error(describe_invalid_setting(error))
        sys.exit(STARTUP_FAILURE)  # after any other code, the parent of `--workers N` would start a new process
    logs.configure(settings.log_level)
    # The HTTP server would configure its loggers again with this dictionary, also in the parent of `--workers N`.
    LOGGING_CONFIG.clear()
    LOGGING_CONFIG.update(version=1, incremental=True)
    return settings


_settings = _read_settings()
app = Worker(_settings, EngineProcesses(_settings), tracing.provider(_settings.otel_exporter_otlp_endpoint)).app

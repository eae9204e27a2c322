"""Starts and stops a worker: `faststream run app.main:app`. Importing this module opens no connection."""

import asyncio
import gc
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Coroutine, Iterator, MutableMapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from http import HTTPStatus
from uuid import uuid4

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

from app.container import Container
from app.document import Document, docs_page
from app.engines.engine import Engine
from app.engines.model_loader import ModelLoader
from app.engines.process.engine_processes import EngineProcesses
from app.fleet import health
from app.requests.discovery import ServiceInstance
from app.runtime.cancellation import cancel_all
from app.runtime.http_host import is_misdirected
from app.runtime.supervision import run_forever
from app.runtime.telemetry import logs, tracing
from app.runtime.telemetry.metrics import Meter, metrics_route
from app.runtime.temporary import remove_stale_files
from app.settings import VERSION, Settings
from app.storage.jetstream import connection
from app.storage.jetstream.connection_monitor import ConnectionMonitor
from app.storage.jetstream.publishers import Publishers
from app.tasks.projection import projection_feed
from handlers.channels import HANDLERS, subscribe
from handlers.dependencies import provide
from handlers.tasks import subscribe_to_grants

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

    async def lifespan(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Start and shut down the application for the HTTP server; end the server, too, if the start fails late.

        FastStream starts its subscribers when the server runs already, and their error would end the application alone.
        """
        stages = set[str]()

        async def received() -> MutableMapping[str, object]:
            message = await receive()
            stages.add(message["type"])
            return message

        async def sent(message: MutableMapping[str, object]) -> None:
            stages.add(str(message["type"]))
            await send(message)

        try:
            await super().lifespan(scope, received, sent)
        finally:
            if "lifespan.startup.complete" in stages and "lifespan.shutdown" not in stages:
                signal.raise_signal(signal.SIGTERM)


class NotStartedError(Exception):
    """A worker has no components before its start."""


class Worker:
    """A worker of the service: its start, its shutdown and its HTTP routes."""

    def __init__(self, settings: Settings, engine: Engine, traces: TracerProvider = tracing.OFF) -> None:
        self.settings = settings
        self._name = f"{socket.gethostname()}-{os.getpid()}-{uuid4().hex[:4]}"
        self._traces = traces
        self._models = ModelLoader(engine)
        self._meter = Meter()
        self._connection = ConnectionMonitor()
        self._container: Container | None = None
        self._has_started = False
        self._ended_first: list[asyncio.Task[None]] = []  # at the shutdown
        self.broker = connection.broker(settings, self._connection, traces=traces)
        self._publishers = Publishers(self.broker)
        self._shared_windows = subscribe(self.broker, settings, ServiceInstance(self._name))
        self.app: AsgiFastStream = self._application()

    @property
    def container(self) -> Container:
        """The components of the worker.

        Raises:
            NotStartedError: The worker is not connected to NATS yet.
        """
        if self._container is None:
            raise NotStartedError
        return self._container

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
                ("/metrics", metrics_route(self._meter)),
                ("/health/live", health.route()),
                ("/health/ready", health.route(**self._needs())),
                ("/health/startup", health.route(model=lambda: self._models.model is not None)),
                ("/health", health.route(HEALTH_PATHS, **self._needs())),
            ],
            logger=log,
        )

    def _needs(self) -> dict[str, health.Check]:
        """Return the health checks by name; the worker is ready for tasks if all of them succeed."""
        return {
            "nats": partial(health.nats_responds, self.broker, self.settings),
            "consumers": lambda: self.container.stream_guard.are_streams_whole,
            "redis": lambda: self.container.projection.reachable(),  # noqa: PLW0108 -- the container comes later
            "task_consumer": lambda: self.container.slots.running,
        }

    @asynccontextmanager
    async def _lifespan(self) -> AsyncIterator[None]:
        logs.adopt_libraries()
        log.info("worker_configured", worker=self._name, **logs.summary(self.settings))
        try:
            async with AsyncExitStack() as closing:
                await self._start(closing)
                try:
                    yield
                except NatsError as error:
                    if not (self._has_started and self._connection.may_close):
                        raise
                    log.warning("nats_drain_failed", error=str(error))  # NATS stopped before the worker
        except (connection.StartError, NatsError) as error:
            if not self._has_started:
                logs.end_with_start_error(str(error))
            raise

    async def _start(self, closing: AsyncExitStack) -> None:
        """Connect to NATS, create the container, and start the background work; `closing` ends and closes all of it."""
        gc.set_threshold(*GC_THRESHOLDS)
        await asyncio.to_thread(remove_stale_files)
        closing.push_async_callback(asyncio.to_thread, tracing.flush, self._traces)
        closing.push_async_callback(self._models.engine.close)
        async with connection.stop_on_refusal(self._connection, self.settings):
            nats = await connection.connect(self.broker, self.settings)
            closing.push_async_callback(close, nats)
            closing.callback(self._connection.expect_close)
            container = self._container = self._make_container(nats)
            container.close_with(closing)
            ack_wait = await connection.retry_until_available(container.start_guard)
        self._connection.connected(self.broker)
        provide(self.broker, container, HANDLERS)
        subscribe_to_grants(self.broker, container, ack_wait=ack_wait)
        closing.push_async_callback(self._stop_subscribers)
        for work in self._background(container):
            closing.push_async_callback(cancel_all, [asyncio.create_task(work)])
        with suppress(NatsError):  # until they can be read, the settings apply to all users
            await container.quotas.read()
        self._ended_first.append(asyncio.create_task(container.maintenance.run_for_fleet()))
        closing.push_async_callback(cancel_all, self._ended_first)

    def _make_container(self, nats: Client) -> Container:
        return Container(
            self._name,
            self.settings,
            nats,
            self._models,
            self._connection,
            self._publishers,
            self._shared_windows,
            self._meter,
            self._traces.get_tracer("natscribe"),
        )

    def _background(self, container: Container) -> Iterator[Coroutine[object, None, None]]:
        share = container.sharing.update_subscription
        yield run_forever("model_loading", self._load_model, every_s=LOAD_MODEL_EVERY_S)
        yield container.maintenance.run()
        yield projection_feed.run(container.nats, container.names, container.projection)
        yield container.registration.run()
        yield container.quotas.run()
        yield container.retention.run()
        yield run_forever("work_sharing", share, every_s=0, retry_after_s=LOAD_MODEL_EVERY_S)

    async def _load_model(self) -> None:
        if not self.container.slots.busy:
            await self._models.load()

    async def _start_consumers(self) -> None:
        nats, slots = self.container.nats, self.container.slots
        # A reply shows that the server has received all subscriptions.
        await connection.retry_until_available(partial(nats.jetstream().stream_info, self.container.names.tasks))
        watching = run_forever("task_slots", partial(slots.run, nats), every_s=0)
        self._ended_first.append(asyncio.create_task(watching))
        self._has_started = True

    async def _stop_subscribers(self) -> None:
        """Stop all subscribers before the connection is closed, because their pull loops would block the event loop.

        FastStream has stopped them already, unless its start has failed.
        """
        for subscriber in self.broker.subscribers:
            await subscriber.stop()

    async def _stop(self) -> None:
        self._connection.expect_close()
        self.container.sharing.stop_sharing()
        await asyncio.gather(
            cancel_all(self._ended_first),  # another worker continues at once
            self.container.slots.stop(grace=self.settings.task_grace),
        )


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

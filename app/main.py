"""Natscribe: `faststream run app.main:app`. How a worker starts and ends; connects to nothing at import."""

import asyncio
import atexit
import gc
import os
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from importlib.metadata import version
from uuid import uuid4

import structlog
from faststream.asgi import AsgiFastStream
from faststream.nats import NatsRouter
from nats.errors import Error as NatsError
from nats.js import JetStreamContext
from opentelemetry.trace import TracerProvider
from redis.asyncio import Redis

from app.cancellation import cancel_all
from app.delivery.middleware import DeliveryMiddleware
from app.docs_page import DocsPage
from app.engines.engine import Engine
from app.engines.processes import EngineProcesses
from app.errors import TaskError, TransientError
from app.jetstream import connection, provisioning, streams
from app.jetstream.closing import close
from app.jetstream.outages import Outages
from app.keys import cache
from app.keys.projection import RedisProjection
from app.operating.health import Readiness, route
from app.parts import Parts, WorkerTools
from app.queue.consumer import TaskConsumer
from app.settings import Settings, read_settings
from app.specification import document
from app.telemetry import logs, tracing
from app.telemetry.metrics import Meter, metrics_route
from app.temporary import sweep
from handlers import channels

MODEL_EVERY = 30.0  # seconds: so often it is looked whether there is a model
REDIS_WITHIN = 3.0  # seconds: clients wait for five
SELDOM = (700, 10, 1000)  # of the garbage collector: full rounds look at each word of a day's transcript, for .4 s each

log = structlog.get_logger()


def end_process() -> None:
    """Stop as if told to, but with exit code 1: whoever runs the service starts it again.

    uvicorn raises the signal once more at its end. SIGTERM would end the process then, which counts as success.
    """
    atexit.register(os._exit, 1)  # nothing else tells FastStream's command that the end is a failure
    signal.raise_signal(signal.SIGINT)


class Worker:
    """One worker: its parts, and the order in which they start and end."""

    parts: Parts  # once there is a connection

    def __init__(self, settings: Settings, engine: Engine, traces: TracerProvider = tracing.OFF) -> None:
        self._ending = False
        self._ack_wait = settings.task_ack_wait
        self.settings = settings
        self.names = streams.names(settings)
        self.name = f"{socket.gethostname()}-{os.getpid()}-{uuid4().hex[:4]}"
        self.meter = Meter()
        self.outages = Outages()
        self.engine = engine
        self.traces = traces
        redis = Redis.from_url(settings.redis_url, socket_timeout=REDIS_WITHIN, socket_connect_timeout=REDIS_WITHIN)
        self.projection = RedisProjection(redis)
        self.cache = cache.connected(settings.redis_url)
        self.broker = connection.broker(
            settings, disconnected=self._disconnected, reconnected=self._reconnected, closed=self._closed, traces=traces
        )
        self.readiness = Readiness(self.broker, settings)
        lanes = NatsRouter(middlewares=[partial(DeliveryMiddleware, tools=lambda: self.parts.delivery_tools)])
        self.consumer = TaskConsumer(
            channels.task_queues(lanes, self.names),
            self.names,
            broken=end_process,
            reached=self.outages.end,
            lookahead=settings.priority_lookahead,
        )
        self.broker.include_routers(lanes, channels.accepted_tasks(), channels.offered_windows(), channels.answers())
        channels.published_messages(self.broker)
        self._tools = WorkerTools(
            settings=settings,
            worker=self.name,
            engine=engine,
            projection=self.projection,
            cache=self.cache,
            meter=self.meter,
            outages=self.outages,
            tracer=traces.get_tracer("natscribe"),
            consumer=self.consumer,
        )
        self.app: AsgiFastStream = self._application()

    def _application(self) -> AsgiFastStream:
        specification = document(version("natscribe"), self.settings)
        return AsgiFastStream(
            self.broker,
            lifespan=self._lifespan,
            after_startup=[self._begin],
            on_shutdown=[self._stop],
            specification=specification,
            asgi_routes=[
                *DocsPage(specification).routes(),
                ("/metrics", metrics_route(self.meter)),
                ("/health/live", route()),
                (
                    "/health/ready",
                    route(
                        nats=self.readiness.nats,
                        consumers=self.readiness.consumers,
                        redis=self.projection.reachable,
                        task_consumer=lambda: self.consumer.running,
                    ),
                ),
                ("/health/startup", route(model=lambda: self.engine.ready)),
            ],
            logger=log,
        )

    @asynccontextmanager
    async def _lifespan(self) -> AsyncIterator[None]:
        logs.adopt_libraries()
        gc.set_threshold(*SELDOM)
        await asyncio.to_thread(sweep)
        async with AsyncExitStack() as closing:
            closing.push_async_callback(asyncio.to_thread, tracing.flush, self.traces)
            closing.push_async_callback(self.projection.close)
            closing.push_async_callback(self.cache.aclose)
            closing.push_async_callback(self.engine.close)
            nats = await connection.reach(self.broker, self.settings)
            closing.push_async_callback(close, nats)
            closing.callback(self._end)
            await connection.insist(partial(self._provision, nats.jetstream()))
            self.outages.begin()
            self.parts = parts = Parts(nats, self._tools, ack_wait=self._ack_wait)
            for name, part in parts.for_handlers._asdict().items():
                self.app.context.set_global(name, part)
            await closing.enter_async_context(parts.sharing.open())
            self.consumer.replace_pull_loops()
            beside = (parts.watch.run(), parts.projector.run(), parts.accepted_tasks.run(), parts.missed.run())
            for work in (self._keep_model(), *beside):
                closing.push_async_callback(cancel_all, [asyncio.create_task(work)])
            try:
                yield
            except NatsError as error:
                if not self._ending:
                    raise
                log.warning("nats_away_at_the_end", error=str(error))  # to drain an absent server is an error

    async def _provision(self, js: JetStreamContext) -> None:
        made, self._ack_wait = await provisioning.provision(js, self.settings)
        if self.names.progress_projection in made:
            with suppress(TransientError):  # a consumer that is new shows everything anyway
                await self.projection.mark()
        self.projection.made_at = await provisioning.events_made_at(js, self.settings)

    async def _begin(self) -> None:
        nats = await self.broker.connect()
        answered = partial(nats.jetstream().stream_info, self.names.tasks)
        await connection.insist(answered)  # started is who is heard: the server knows by then what is subscribed to
        await self.consumer.start(nats)

    def _end(self) -> None:
        self._ending = True

    async def _stop(self) -> None:
        self._end()
        await self.parts.sharing.stop_helping()
        await self.consumer.stop(grace=self.settings.task_grace)

    async def _disconnected(self) -> None:
        if not self._ending:
            log.warning("nats_disconnected")

    async def _reconnected(self) -> None:
        self.outages.end()
        log.info("nats_reconnected")

    async def _closed(self) -> None:
        """End at once: the library opens no closed connection again, and FastStream's pull loops freeze the process."""
        if not self._ending:
            log.critical("nats_closed")
            os._exit(1)

    async def _keep_model(self) -> None:
        """Load the model, and once more when its process is gone, with a task that was cancelled, say."""
        while True:
            busy = self.consumer.started and not self.consumer.idle
            if not (self.engine.ready or busy):
                await self._load_model()
            await asyncio.sleep(MODEL_EVERY)

    async def _load_model(self) -> None:
        try:
            await self.engine.load()
        except TaskError as error:
            log.error("model_not_loaded", error=error.detail.message)  # noqa: TRY400 -- the sentence says all
        except Exception:
            log.exception("model_not_loaded")  # a task tries again, and says what is wrong


_settings = read_settings()
logs.configure(_settings.log_level)
app = Worker(_settings, EngineProcesses(_settings), tracing.provider(_settings.otel_exporter_otlp_endpoint)).app

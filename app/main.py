"""Natscribe: `faststream run app.main:app`. The one place where all parts are joined; connects to nothing at import."""

import asyncio
import atexit
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
from nats.aio.client import Client
from nats.errors import Error as NatsError
from nats.js import JetStreamContext
from opentelemetry.trace import TracerProvider
from redis.asyncio import Redis

from app import cache, connection, logs, streams, tracing
from app.cache import Cache
from app.dead_letters import DeadLetterBox
from app.delivery import Desk
from app.delivery_middleware import DeliveryMiddleware
from app.diarizer import EngineDiarizer
from app.docs_page import DocsPage
from app.engines.engine import Engine
from app.engines.processes import EngineProcesses
from app.expiry import Expiry
from app.health import Readiness, route
from app.lanes import LaneReader
from app.metrics import Meter, metrics_route
from app.opening import Opener
from app.projection import RedisProjection
from app.projector import Projector
from app.queue import TaskQueue
from app.recall import Recall
from app.recordings import Recordings
from app.requests import TaskRequests
from app.results import ResultStore
from app.settings import Settings
from app.settling import Settler
from app.sharing.sharing import Sharing
from app.slot import Slot
from app.specification import document
from app.stretches import Stretches
from app.task_log import TaskLog
from app.temporary import sweep
from app.transcriber import EngineTranscriber
from app.vitals import Vitals
from app.waiting import WaitingTasks
from app.watch import Watch
from handlers import channels
from handlers.errors import PassingError
from handlers.ports import World

REDIS_WITHIN = 5.0  # seconds

log = structlog.get_logger()


def end_process() -> None:
    """Stop as if told to, but with exit code 1: whoever runs the service starts it again."""
    atexit.register(os._exit, 1)  # nothing else tells FastStream's command that the end is a failure
    signal.raise_signal(signal.SIGTERM)


class Service:
    """One worker: its parts, and the order in which they start and end."""

    def __init__(self, settings: Settings, engine: Engine, traces: TracerProvider = tracing.OFF) -> None:
        self._ending = False
        self.settings = settings
        self.names = streams.names(settings)
        self.worker = f"{socket.gethostname()}-{os.getpid()}-{uuid4().hex[:4]}"
        self.meter = Meter()
        self.engine = engine
        self.traces = traces
        redis = Redis.from_url(settings.redis_url, socket_timeout=REDIS_WITHIN, socket_connect_timeout=REDIS_WITHIN)
        self.redis = RedisProjection(redis)
        self.memory = cache.connected(settings.redis_url)
        self.cache = Cache(self.memory, keep=settings.cache_ttl)
        self.broker = connection.broker(
            settings, graceful_timeout=settings.task_grace, closed=self._closed, traces=traces
        )
        self.readiness = Readiness(self.broker, settings)
        lanes = NatsRouter(middlewares=[partial(DeliveryMiddleware, desk=lambda: self.desk)])
        self.slot: Slot = Slot(
            channels.task_lanes(lanes, self.names), self.names, broken=end_process, lookahead=settings.lane_lookahead
        )
        self.broker.include_routers(
            lanes,
            channels.accepted_tasks(),
            channels.offered_windows(),
            channels.answers(),
        )
        channels.announcements(self.broker)
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
                        redis=self.redis.reachable,
                        slot=lambda: self.slot.running,
                    ),
                ),
                ("/health/startup", route(model=lambda: self.engine.ready)),
            ],
            logger=log,
        )

    @asynccontextmanager
    async def _lifespan(self) -> AsyncIterator[None]:
        logs.adopt_libraries()
        await asyncio.to_thread(sweep)
        async with AsyncExitStack() as closing:
            closing.push_async_callback(asyncio.to_thread, tracing.flush, self.traces)
            closing.push_async_callback(self.redis.close)
            closing.push_async_callback(self.memory.aclose)
            closing.push_async_callback(self.engine.close)
            nats = await connection.reach(self.broker, self.settings)
            closing.push_async_callback(_close, nats)
            closing.callback(self._end)
            await connection.insist(partial(self._provision, nats.jetstream()))
            self._join(nats)
            await closing.enter_async_context(self.sharing.open())
            self.slot.take_lanes()
            for work in (self._load_model(), self.watch.run(), self.projector.run(), self.opener.run()):
                closing.push_async_callback(_cancel, asyncio.create_task(work))
            try:
                yield
            except NatsError as error:
                if not self._ending:
                    raise
                log.warning("nats_away_at_the_end", error=str(error))  # to drain an absent server is an error

    async def _provision(self, js: JetStreamContext) -> None:
        if self.names.progress_projection in await streams.provision(js, self.settings):
            with suppress(PassingError):  # a consumer that is new shows everything anyway
                await self.redis.mark()

    def _join(self, nats: Client) -> None:
        settings, names, js = self.settings, self.names, nats.jetstream()
        task_log = TaskLog(nats, names, self.worker)
        results = ResultStore(js, task_log, max_payload=nats.max_payload)
        letters = DeadLetterBox(js, task_log, names, self.meter, max_payload=nats.max_payload)
        recordings = Recordings(settings, js)
        recall = Recall(self.engine, self.cache, Stretches(self.memory))
        self.sharing = Sharing(nats, self.engine, settings)
        lanes = LaneReader(nats, names)
        waiting = WaitingTasks(nats, names, lanes, idle=lambda: self.slot.idle)
        queue = TaskQueue(task_log, waiting, max_attempts=settings.max_attempts)
        self.opener = Opener(task_log, queue, waiting)
        expiry = Expiry(js, names, task_log, queue, letters, after=streams.EXPIRES_AFTER)
        vitals = Vitals(nats, self.redis, self.engine, self.meter, attempt_limit=settings.task_timeout)
        self.watch = Watch(
            js, settings, lanes=lanes, projection=self.redis, expiry=expiry, meter=self.meter, vitals=vitals
        )
        self.projector = Projector(nats, names, self.redis)
        self.desk = Desk(
            nats=nats,
            log=task_log,
            queue=queue,
            results=results,
            settler=Settler(task_log, letters, settings.max_attempts, settings.task_retry_delay),
            meter=self.meter,
            heartbeat=settings.task_heartbeat,
            timeout=settings.task_timeout,
            tracer=self.traces.get_tracer("natscribe"),
            found=self.slot.found,
        )
        World(
            transcriber=EngineTranscriber(recordings, self.engine, recall, self.sharing, settings),
            diarizer=EngineDiarizer(recordings, recall, self.sharing),
            queue=self.opener,
            tasks=TaskRequests(
                task_log,
                results,
                waiting=waiting,
                dead_letters=letters,
                recordings=recordings,
                projection=self.redis,
                cache=self.cache,
                max_payload=nats.max_payload,
            ),
            dead_letters=letters,
            sharing=self.sharing,
        ).provide(self.app.context)

    async def _begin(self) -> None:
        nats = await self.broker.connect()
        await connection.insist(nats.flush)  # started is who is heard: the server knows by then what is subscribed to
        await self.slot.start(nats)

    def _end(self) -> None:
        self._ending = True

    async def _stop(self) -> None:
        self._end()
        await self.sharing.stop_helping()
        await self.slot.stop(grace=self.settings.task_grace)

    async def _closed(self) -> None:
        """End at once: the library opens no closed connection again, and FastStream's pull loops freeze the process."""
        if not self._ending:
            log.critical("nats_closed")
            os._exit(1)

    async def _load_model(self) -> None:
        try:
            await self.engine.load()
        except Exception:
            log.exception("model_not_loaded")  # a task tries again, and says what is wrong


async def _close(nats: Client) -> None:
    with suppress(OSError):  # what was still to be sent, to a server that has gone
        await nats.close()


async def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


_settings = Settings()
logs.configure(_settings.log_level)
app = Service(_settings, EngineProcesses(_settings), tracing.provider(_settings.otel_exporter_otlp_endpoint)).app

"""The parts that work on tasks, joined as soon as there is a connection to NATS."""

from dataclasses import dataclass
from typing import NamedTuple

from nats.aio.client import Client
from opentelemetry.trace import Tracer
from redis.asyncio import Redis

from app.delivery.dead_letters import DeadLetterBox
from app.delivery.replaying import Replayer
from app.delivery.settling import Settler
from app.delivery.tools import DeliveryTools
from app.engines.engine import Engine
from app.jetstream import streams
from app.jetstream.outages import Outages
from app.keys.cache import Cache
from app.keys.projection import RedisProjection
from app.keys.projector import Projector
from app.keys.stretches import Stretches
from app.log.results import ResultStore
from app.log.task_log import TaskLog
from app.operating.expiry import Expiry
from app.operating.vitals import Vitals
from app.operating.watch import Watch
from app.queue.accepted_tasks import AcceptedTasks
from app.queue.consumer import TaskConsumer
from app.queue.lanes import LaneReader
from app.queue.log_opener import LogOpener
from app.queue.missed import MissedTasks
from app.queue.waiting import WaitingTasks
from app.requests import TaskRequests
from app.settings import Settings
from app.speech.diarizer import EngineDiarizer
from app.speech.recall import Recall
from app.speech.recordings import Recordings
from app.speech.transcriber import EngineTranscriber
from app.telemetry.metrics import Meter
from app.work_sharing.work_sharing import Sharing


@dataclass(frozen=True, slots=True)
class WorkerTools:
    """What a worker has before it is connected."""

    settings: Settings
    worker: str  # its name in events
    engine: Engine
    projection: RedisProjection
    cache: Redis
    meter: Meter
    outages: Outages
    tracer: Tracer
    consumer: TaskConsumer


class ForHandlers(NamedTuple):
    """What handlers find in their context, by these names."""

    transcriber: EngineTranscriber
    diarizer: EngineDiarizer
    accepted_tasks: AcceptedTasks
    tasks: TaskRequests
    dead_letters: DeadLetterBox
    replayer: Replayer
    sharing: Sharing


class Parts:
    """All that works on tasks: what handlers are given, what deliveries stand on, what runs beside them."""

    def __init__(self, nats: Client, tools: WorkerTools, *, ack_wait: float) -> None:
        """`ack_wait`: seconds that the lanes give a worker for a sign of life."""
        settings, consumer = tools.settings, tools.consumer
        names, js = streams.names(settings), nats.jetstream()
        self._nats, self._tools = nats, tools
        self._log = log = TaskLog(nats, names, tools.worker)
        self._results = ResultStore(js, log, max_payload=nats.max_payload)
        self._letters = letters = DeadLetterBox(nats, log, names, tools.meter, max_payload=nats.max_payload)
        self._lanes = LaneReader(nats, names)
        self._waiting = WaitingTasks(nats, names, self._lanes, idle=lambda: consumer.idle)
        opener = LogOpener(log, self._waiting, max_attempts=settings.max_attempts)
        self.delivery_tools = self._delivery_tools(opener, ack_wait)
        self.accepted_tasks = AcceptedTasks(log, opener, self._waiting)
        self.missed = MissedTasks(
            nats, names, self._lanes, self.accepted_tasks, tools.outages, must_wait=lambda: consumer.keeps_waiting
        )
        self.projector = Projector(nats, names, tools.projection)
        self.sharing = Sharing(nats, tools.engine, settings)
        self.watch = self._watch(Expiry(nats, names, log, opener, letters, after=streams.EXPIRES_AFTER))
        self.for_handlers = self._for_handlers(Recordings(settings, js), Cache(tools.cache, keep=settings.cache_ttl))

    def _delivery_tools(self, opener: LogOpener, ack_wait: float) -> DeliveryTools:
        tools, settings = self._tools, self._tools.settings
        return DeliveryTools(
            nats=self._nats,
            log=self._log,
            opener=opener,
            results=self._results,
            projection=tools.projection,
            settler=Settler(self._log, self._letters, settings.max_attempts, settings.task_retry_delay),
            meter=tools.meter,
            outages=tools.outages,
            heartbeat=settings.task_heartbeat * ack_wait / settings.task_ack_wait,
            ack_wait=ack_wait,
            timeout=settings.task_timeout,
            tracer=tools.tracer,
        )

    def _watch(self, expiry: Expiry) -> Watch:
        tools, settings = self._tools, self._tools.settings
        return Watch(
            self._nats.jetstream(),
            settings,
            lanes=self._lanes,
            projection=tools.projection,
            expiry=expiry,
            meter=tools.meter,
            vitals=Vitals(self._nats, tools.projection, tools.engine, tools.meter, attempt_limit=settings.task_timeout),
        )

    def _for_handlers(self, recordings: Recordings, cache: Cache) -> ForHandlers:
        tools = self._tools
        recall = Recall(tools.engine, cache, Stretches(tools.cache))
        return ForHandlers(
            transcriber=EngineTranscriber(recordings, tools.engine, recall, self.sharing, tools.settings),
            diarizer=EngineDiarizer(recordings, recall, self.sharing),
            accepted_tasks=self.accepted_tasks,
            tasks=TaskRequests(
                self._log,
                self._results,
                waiting=self._waiting,
                dead_letters=self._letters,
                recordings=recordings,
                projection=tools.projection,
                cache=cache,
                max_payload=self._nats.max_payload,
            ),
            dead_letters=self._letters,
            replayer=Replayer(self._nats, self._letters, self._log, streams.names(tools.settings)),
            sharing=self.sharing,
        )

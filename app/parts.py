"""The parts that work on tasks, joined as soon as there is a connection to NATS."""

from dataclasses import dataclass

from nats.aio.client import Client
from opentelemetry.trace import Tracer
from redis.asyncio import Redis

from app.delivery.dead_letters import DeadLetterBox
from app.delivery.desk import Desk
from app.delivery.replaying import Replayer
from app.delivery.settling import Settler
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
from app.queue.lanes import LaneReader
from app.queue.log_opener import LogOpener
from app.queue.missed import MissedTasks
from app.queue.slot import Slot
from app.queue.waiting import WaitingTasks
from app.requests import TaskRequests
from app.settings import Settings
from app.sharing.sharing import Sharing
from app.speech.diarizer import EngineDiarizer
from app.speech.recall import Recall
from app.speech.recordings import Recordings
from app.speech.transcriber import EngineTranscriber
from app.telemetry.metrics import Meter
from handlers.given import World


@dataclass(frozen=True, slots=True)
class Means:
    """What a worker has before it is connected."""

    settings: Settings
    worker: str  # its name in events
    engine: Engine
    projection: RedisProjection
    cache: Redis
    meter: Meter
    outages: Outages
    tracer: Tracer
    slot: Slot


class Parts:
    """All that works on tasks: what handlers are given, what deliveries stand on, what runs beside them."""

    def __init__(self, nats: Client, means: Means, *, heartbeat: float) -> None:
        """`heartbeat`: seconds between a task's signs of life."""
        settings, slot = means.settings, means.slot
        names, js = streams.names(settings), nats.jetstream()
        self._nats, self._means = nats, means
        self._log = log = TaskLog(nats, names, means.worker)
        self._results = ResultStore(js, log, max_payload=nats.max_payload)
        self._letters = letters = DeadLetterBox(nats, log, names, means.meter, max_payload=nats.max_payload)
        self._lanes = LaneReader(nats, names)
        self._waiting = WaitingTasks(nats, names, self._lanes, idle=lambda: slot.idle)
        opener = LogOpener(log, self._waiting, max_attempts=settings.max_attempts)
        self.desk = self._desk(opener, heartbeat)
        self.accepted_tasks = AcceptedTasks(log, opener, self._waiting)
        self.missed = MissedTasks(nats, names, self._lanes, self.accepted_tasks, means.outages)
        self.projector = Projector(nats, names, means.projection)
        self.sharing = Sharing(nats, means.engine, settings)
        self.watch = self._watch(Expiry(nats, names, log, opener, letters, after=streams.EXPIRES_AFTER))
        self.world = self._world(Recordings(settings, js), Cache(means.cache, keep=settings.cache_ttl))

    def _desk(self, opener: LogOpener, heartbeat: float) -> Desk:
        means, settings = self._means, self._means.settings
        return Desk(
            nats=self._nats,
            log=self._log,
            opener=opener,
            results=self._results,
            projection=means.projection,
            settler=Settler(self._log, self._letters, settings.max_attempts, settings.task_retry_delay),
            meter=means.meter,
            outages=means.outages,
            heartbeat=heartbeat,
            timeout=settings.task_timeout,
            tracer=means.tracer,
            deliveries=means.slot.deliveries,
        )

    def _watch(self, expiry: Expiry) -> Watch:
        means, settings = self._means, self._means.settings
        return Watch(
            self._nats.jetstream(),
            settings,
            lanes=self._lanes,
            projection=means.projection,
            expiry=expiry,
            meter=means.meter,
            vitals=Vitals(self._nats, means.projection, means.engine, means.meter, attempt_limit=settings.task_timeout),
        )

    def _world(self, recordings: Recordings, cache: Cache) -> World:
        means = self._means
        recall = Recall(means.engine, cache, Stretches(means.cache))
        return World(
            transcriber=EngineTranscriber(recordings, means.engine, recall, self.sharing, means.settings),
            diarizer=EngineDiarizer(recordings, recall, self.sharing),
            accepted_tasks=self.accepted_tasks,
            tasks=TaskRequests(
                self._log,
                self._results,
                waiting=self._waiting,
                dead_letters=self._letters,
                recordings=recordings,
                projection=means.projection,
                cache=cache,
                max_payload=self._nats.max_payload,
            ),
            dead_letters=Replayer(self._nats, self._letters, self._log, streams.names(means.settings)),
            sharing=self.sharing,
        )

"""The parts that work on tasks, joined as soon as there is a connection to NATS."""

from dataclasses import dataclass

from nats.aio.client import Client
from opentelemetry.trace import Tracer
from redis.asyncio import Redis

from app.delivery.dead_letters import DeadLetterBox
from app.delivery.delivery import Desk
from app.delivery.settling import Settler
from app.engines.engine import Engine
from app.jetstream import streams
from app.keys.cache import Cache
from app.keys.projection import RedisProjection
from app.keys.projector import Projector
from app.keys.stretches import Stretches
from app.log.results import ResultStore
from app.log.task_log import TaskLog
from app.operating.expiry import Expiry
from app.operating.vitals import Vitals
from app.operating.watch import Watch
from app.queue.lanes import LaneReader
from app.queue.opening import Opener
from app.queue.slot import Slot
from app.queue.task_queue import TaskQueue
from app.queue.waiting import WaitingTasks
from app.requests import TaskRequests
from app.settings import Settings
from app.sharing.sharing import Sharing
from app.speech.diarizer import EngineDiarizer
from app.speech.recall import Recall
from app.speech.recordings import Recordings
from app.speech.transcriber import EngineTranscriber
from app.telemetry.metrics import Meter
from handlers.ports import World


@dataclass(frozen=True, slots=True)
class Means:
    """What a worker has before it is connected."""

    settings: Settings
    worker: str  # its name in events
    engine: Engine
    projection: RedisProjection
    memory: Redis  # what was found before
    meter: Meter
    tracer: Tracer
    slot: Slot


class Parts:
    """All that works on tasks: what handlers are given, what deliveries stand on, what runs beside them."""

    def __init__(self, nats: Client, means: Means) -> None:
        settings, meter, slot = means.settings, means.meter, means.slot
        names, js = streams.names(settings), nats.jetstream()
        log = TaskLog(nats, names, means.worker)
        results = ResultStore(js, log, max_payload=nats.max_payload)
        letters = DeadLetterBox(js, log, names, meter, max_payload=nats.max_payload)
        lanes = LaneReader(nats, names)
        waiting = WaitingTasks(nats, names, lanes, idle=lambda: slot.idle)
        queue = TaskQueue(log, waiting, max_attempts=settings.max_attempts)
        self.desk = Desk(
            nats=nats,
            log=log,
            queue=queue,
            results=results,
            settler=Settler(log, letters, settings.max_attempts, settings.task_retry_delay),
            meter=meter,
            heartbeat=settings.task_heartbeat,
            timeout=settings.task_timeout,
            tracer=means.tracer,
            found=slot.found,
        )
        self.opener = Opener(log, queue, waiting)
        self.projector = Projector(nats, names, means.projection)
        self.sharing = Sharing(nats, means.engine, settings)
        self.watch = Watch(
            js,
            settings,
            lanes=lanes,
            projection=means.projection,
            expiry=Expiry(js, names, log, queue, letters, after=streams.EXPIRES_AFTER),
            meter=meter,
            vitals=Vitals(nats, means.projection, means.engine, meter, attempt_limit=settings.task_timeout),
        )
        recordings, cache = Recordings(settings, js), Cache(means.memory, keep=settings.cache_ttl)
        recall = Recall(means.engine, cache, Stretches(means.memory))
        self.world = World(
            transcriber=EngineTranscriber(recordings, means.engine, recall, self.sharing, settings),
            diarizer=EngineDiarizer(recordings, recall, self.sharing),
            queue=self.opener,
            tasks=TaskRequests(
                log,
                results,
                waiting=waiting,
                dead_letters=letters,
                recordings=recordings,
                projection=means.projection,
                cache=cache,
                max_payload=nats.max_payload,
            ),
            dead_letters=letters,
            sharing=self.sharing,
        )

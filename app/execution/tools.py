"""What every delivery is worked on with."""

from dataclasses import dataclass

from nats.aio.client import Client
from opentelemetry.trace import Tracer

from app.execution.settlement import Settler
from app.jetstream.connection_monitor import ConnectionMonitor
from app.queue.registration import Registration
from app.redis_store.projection import RedisProjection
from app.task_log.log import TaskLog
from app.task_log.results import ResultStore
from app.telemetry.metrics import Meter


@dataclass(frozen=True, slots=True)
class DeliveryTools:
    """What every delivery is worked on with."""

    nats: Client
    log: TaskLog
    registration: Registration
    results: ResultStore
    projection: RedisProjection
    settler: Settler
    meter: Meter
    connection: ConnectionMonitor
    heartbeat: float  # seconds
    ack_wait: float  # seconds
    timeout: float  # seconds
    tracer: Tracer

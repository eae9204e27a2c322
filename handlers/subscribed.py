"""The subscribers of a worker: declares all channels on its broker, and returns what other parts use of them."""

from typing import NamedTuple

from faststream.nats import NatsBroker, NatsRouter
from faststream.nats.subscriber.usecases import LogicSubscriber
from nats.aio.msg import Msg

from app.execution.task_run import LiveTaskRunMiddleware, TaskRunMiddleware
from app.queue.consumer import Consume, QueueKey
from app.settings import Settings
from app.work_sharing.helping import engine_of
from handlers import channels
from handlers.task_queues import queues_of_live_tasks, queues_of_recordings


class Subscribed(NamedTuple):
    """The functions that handle the messages of the task queues, and the subscriber to windows of other workers."""

    recordings: dict[QueueKey, Consume]
    live_tasks: dict[QueueKey, Consume]
    windows_of_others: LogicSubscriber[Msg]


def subscribe(broker: NatsBroker, settings: Settings) -> Subscribed:
    """Declare all channels of a worker on a broker that is not connected yet; return what other parts use of them."""
    tasks = NatsRouter(middlewares=[TaskRunMiddleware])
    live_tasks = NatsRouter(middlewares=[LiveTaskRunMiddleware])
    others = channels.router_of_requests()
    subscribed = Subscribed(
        queues_of_recordings(tasks, settings.stream_names),
        queues_of_live_tasks(live_tasks, settings.stream_names),
        channels.windows_of_others(others, engine_of(settings)),
    )
    broker.include_routers(tasks, live_tasks, channels.stored_tasks(), channels.answers(), others)
    channels.published_messages(broker)
    return subscribed

"""The nine task queues: declared with FastStream, and pulled by the task consumers.

Each pull subscriber of FastStream fetches on its own: nine of them would hold nine messages for one worker, in no order
of priorities. So they are declared for the AsyncAPI document, the middlewares and the dependency injection, and pull
nothing: `app/queue/consumer.py` asks the queues in the order of their priorities, and hands each message to the public
method `consume` of the queue's subscriber. FastStream 0.7.8 begins to pull only if `subscription` is unset, so a
placeholder is set there. `tests/integration/test_pull_loops.py` fails if another version behaves differently.
"""

from collections.abc import Sequence

from faststream import AckPolicy
from faststream.nats import JStream, NatsRouter, PullSub
from faststream.nats.subscriber.usecases import PullStreamSubscriber
from natscribe.schemas import subjects
from natscribe.schemas.stream_names import StreamNames
from natscribe.schemas.wire import Priority

from app.queue.consumer import Consume, QueueKey
from handlers import diarization, live, transcription
from handlers.routes import Route


class _PullsNothing:
    """The placeholder for a pull subscription."""

    async def unsubscribe(self) -> None:
        """Do nothing: there is no subscription to end."""


def queues_of_recordings(router: NatsRouter, names: StreamNames) -> dict[QueueKey, Consume]:
    """Declare the queues of tasks with recordings; return for each queue the function that handles its messages."""
    return _task_queues(router, names, [*transcription.router, *diarization.router])


def queues_of_live_tasks(router: NatsRouter, names: StreamNames) -> dict[QueueKey, Consume]:
    """Declare the queues of live tasks; return for each queue the function that handles its messages."""
    return _task_queues(router, names, [*live.router])


def _task_queues(router: NatsRouter, names: StreamNames, routes: Sequence[Route]) -> dict[QueueKey, Consume]:
    """Declare task queues, from high to low priority; return for each the function that handles its messages."""
    handlers: dict[QueueKey, Consume] = {}
    for priority in Priority:
        for route in routes:
            subject = route.subject.format(priority=priority)
            queue, _ = subjects.queue_of(subject)
            subscriber = router.subscriber(
                subject,
                stream=JStream(names.tasks, declare=False),
                durable=names.queue_consumer(queue, priority),
                pull_sub=PullSub(batch_size=1),
                ack_policy=AckPolicy.MANUAL,
                no_reply=route.options.get("no_reply", False),
            )
            subscriber(route.handler)
            handlers[queue, priority] = without_pulling(subscriber).consume
    return handlers


def without_pulling(subscriber: PullStreamSubscriber) -> PullStreamSubscriber:
    """Keep a subscriber from pulling by itself when its broker starts."""
    subscriber.subscription = _PullsNothing()  # type: ignore[assignment]  # only unsubscribe() is called
    return subscriber

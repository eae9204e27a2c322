"""The nine task queues: declared with FastStream, and pulled by the task consumers.

Each pull subscriber of FastStream fetches on its own: nine of them would hold nine messages for one worker, in no order
of priorities. So they are declared for the AsyncAPI document, the middlewares and the dependency injection, and pull
nothing: `app/queue/consumer.py` asks the queues in the order of their priorities, and hands each message to the public
method `consume` of the queue's subscriber. FastStream 0.7.8 begins to pull only if `subscription` is unset, so a
placeholder is set there. `tests/integration/queue/test_pull_loops.py` fails if another version behaves differently.
"""

from faststream import AckPolicy
from faststream.nats import JStream, NatsRouter, PullSub
from faststream.nats.subscriber.usecases import PullStreamSubscriber
from natscribe.schemas import subjects
from natscribe.schemas.stream_names import StreamNames
from natscribe.schemas.wire import Lane, Priority

from app.queue.consumer import HandleMessage
from app.queue.priorities import QueueKey
from handlers.tasks import HANDLERS


class _PullsNothing:
    """The placeholder for a pull subscription."""

    async def unsubscribe(self) -> None:
        """Do nothing: there is no subscription to end."""


def declare_queues(router: NatsRouter, names: StreamNames) -> dict[QueueKey, HandleMessage]:
    """Declare the task queues, from high to low priority; return for each the function that handles its messages."""
    return {
        (queue, priority): _subscriber(router, names, queue, priority).consume
        for priority in Priority
        for queue in HANDLERS
    }


def _subscriber(router: NatsRouter, names: StreamNames, queue: Lane, priority: Priority) -> PullStreamSubscriber:
    subscriber = router.subscriber(
        subjects.tasks(queue, priority),
        stream=JStream(names.tasks, declare=False),
        durable=names.queue_consumer(queue, priority),
        pull_sub=PullSub(batch_size=1),
        ack_policy=AckPolicy.MANUAL,
        no_reply=True,
    )
    subscriber(HANDLERS[queue])
    return without_pulling(subscriber)


def without_pulling(subscriber: PullStreamSubscriber) -> PullStreamSubscriber:
    """Keep a subscriber from pulling by itself when its broker starts."""
    subscriber.subscription = _PullsNothing()  # type: ignore[assignment]  # only unsubscribe() is called
    return subscriber

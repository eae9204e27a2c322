"""Declares the task queues, one for each lane (type of task) and priority, with FastStream, without pulling from them.

The subscribers of the task queues are declared for the AsyncAPI document, the middlewares and the dependency injection,
and pull nothing: a task starts when a worker gets a grant, i.e. a message that lets it start the task.
`app/queue/consumer.py` pulls the grants, reads the task message of each, and passes it to the public method `consume`
of its queue's subscriber. FastStream 0.7.8 begins to pull only if `subscription` is unset, so a placeholder is set
there. `tests/integration/queue/test_pull_loops.py` fails if another version behaves differently.
"""

from faststream import AckPolicy
from faststream.nats import JStream, NatsRouter, PullSub
from faststream.nats.subscriber.usecases import PullStreamSubscriber
from natscribe.schemas import subjects
from natscribe.schemas.stream_names import StreamNames
from natscribe.schemas.wire import Lane, Priority

from app.jetstream.slots import Slots
from app.queue.consumer import HandleMessage
from app.queue.queue_reader import QueueKey
from handlers.tasks import HANDLERS

PUBLISHING = (
    "There is a task queue for each priority. Publish with JetStream and wait for its acknowledgement: only an "
    "acknowledged task is stored. A full queue refuses the task with an error (err_code 10077); a misspelt priority is "
    "an error, too (no responders; in nats-py `NoStreamResponseError`). A message that is no valid task ends as a "
    "`failed` task if it has a new task id, else it becomes a dead letter."
)


class _NoPullSubscription:
    """A placeholder for the pull subscription of a subscriber, so that FastStream starts none."""

    async def unsubscribe(self) -> None:
        """Do nothing when the broker stops: there is no subscription to end."""


def declare_queues(router: NatsRouter, names: StreamNames) -> dict[QueueKey, HandleMessage]:
    """Declare all task queues on a router; return for each of them the function that handles its messages."""
    return {
        (lane, priority): _subscriber(router, names, lane, priority).consume
        for priority in Priority
        for lane in HANDLERS
    }


def _subscriber(router: NatsRouter, names: StreamNames, lane: Lane, priority: Priority) -> PullStreamSubscriber:
    subscriber = router.subscriber(
        subjects.tasks(lane, priority),
        stream=JStream(names.tasks, declare=False),
        durable=names.slot_consumer(Slots.of(lane)),
        pull_sub=PullSub(batch_size=1),
        ack_policy=AckPolicy.MANUAL,
        no_reply=True,
        title=f"Submit a {lane.task} task ({priority})",
        description=f"{HANDLERS[lane].__doc__}\n\n{PUBLISHING}",
    )
    subscriber(HANDLERS[lane])
    return without_pulling(subscriber)


def without_pulling(subscriber: PullStreamSubscriber) -> PullStreamSubscriber:
    """Prevent a subscriber from pulling messages when its broker starts; return the subscriber."""
    subscriber.subscription = _NoPullSubscription()  # type: ignore[assignment]  # only unsubscribe() is called
    return subscriber

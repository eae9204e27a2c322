"""Declares the task queues for the AsyncAPI document: one for each lane (type of task) and priority.

Clients publish there, and the task stream stores it; workers subscribe to the grants instead (`handlers/tasks.py`). So
the broker on which the task queues are declared is never started.
"""

from faststream.nats import NatsBroker
from natscribe.schemas import subjects
from natscribe.schemas.wire import Priority

from app.jetstream.decoding import decode
from handlers.tasks import HANDLERS

PUBLISHING = (
    "There is a task queue for each priority. Publish with JetStream and wait for its acknowledgement: only an "
    "acknowledged task is stored. A full queue refuses the task with an error (err_code 10077); a misspelt priority is "
    "an error, too (no responders; in nats-py `NoStreamResponseError`). A message that is no valid task ends as a "
    "`failed` task if it has a new task id, else it becomes a dead letter."
)


def declared_queues() -> NatsBroker:
    """Return a broker on which the task queues are declared, with the handlers of their tasks; it is never started."""
    broker = NatsBroker(decoder=decode)
    for lane, handler in HANDLERS.items():
        for priority in Priority:
            broker.subscriber(
                subjects.tasks(lane, priority),
                no_reply=True,
                title=f"Submit a {lane.task} task ({priority})",
                description=f"{handler.__doc__}\n\n{PUBLISHING}",
            )(handler)
    return broker

"""A FastStream application that prints the events of all tasks: `faststream run faststream_events:app`.

It also receives the events of times when it was down, and at its first start all that are stored: each subscriber has a
durable consumer of a stream.
"""

from faststream import AckPolicy, FastStream
from faststream.nats import NatsMessage, NatsRouter
from natscribe.faststream import (
    DEAD_LETTERS,
    PROGRESS,
    RESULTS,
    SEGMENTS,
    DeadLetter,
    ProgressEvent,
    Result,
    SegmentsEvent,
    broker,
    pull_inbox,
)

# MANUAL: after an error or a crash, NATS delivers the message again, 30 s after the last delivery.
events = NatsRouter(ack_policy=AckPolicy.MANUAL)
INBOX = pull_inbox()


@events.subscriber("progress.*", stream=PROGRESS, durable="printed_progress", pull_sub=True, inbox_prefix=INBOX)
async def progress(event: ProgressEvent, message: NatsMessage) -> None:
    """Print the state and the progress of a task, and why it has failed."""
    print(event.task_id, event.state, event.error.message if event.error else f"{event.progress} %")
    await message.ack()


@events.subscriber("segments.*", stream=SEGMENTS, durable="printed_segments", pull_sub=True, inbox_prefix=INBOX)
async def segments(event: SegmentsEvent, message: NatsMessage) -> None:
    """Print text as soon as it is transcribed."""
    for segment in event.segments:
        print(event.task_id, f"{segment.start:.1f} s:", segment.text)
    await message.ack()


@events.subscriber("results.*", stream=RESULTS, durable="printed_results", pull_sub=True, inbox_prefix=INBOX)
async def results(result: Result, message: NatsMessage) -> None:
    """Print that a task has a result; one too large for a message is in the bucket that `object` names."""
    print(result.task_id, "result:", result.object or f"{result.duration:.0f} s")
    await message.ack()


@events.subscriber("dead_letters.*", stream=DEAD_LETTERS, durable="printed_letters", pull_sub=True, inbox_prefix=INBOX)
async def dead_letters(letter: DeadLetter, message: NatsMessage) -> None:
    """Print which task needs an operator."""
    print(letter.task_id, "dead letter:", letter.error.message)
    await message.ack()


natscribe = broker()  # NATS_URL, and the login if there is one
natscribe.include_router(events)
app = FastStream(natscribe)

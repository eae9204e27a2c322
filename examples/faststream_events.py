"""A FastStream application that prints the events of all tasks: `faststream run faststream_events:app`.

It also receives the events of times when it was down: each subscriber has a durable consumer of a stream.
"""

from faststream import FastStream
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

natscribe = broker()  # NATS_URL, and the login if there is one
app = FastStream(natscribe)
INBOX = pull_inbox()


@natscribe.subscriber("progress.*", stream=PROGRESS, durable="printed_progress", pull_sub=True, inbox_prefix=INBOX)
async def progress(event: ProgressEvent) -> None:
    """Print the state and the progress of a task."""
    print(event.task_id, event.state, f"{event.progress} %")


@natscribe.subscriber("segments.*", stream=SEGMENTS, durable="printed_segments", pull_sub=True, inbox_prefix=INBOX)
async def segments(event: SegmentsEvent) -> None:
    """Print text as soon as it is transcribed."""
    for segment in event.segments:
        print(event.task_id, f"{segment.start:.1f} s:", segment.text)


@natscribe.subscriber("results.*", stream=RESULTS, durable="printed_results", pull_sub=True, inbox_prefix=INBOX)
async def results(result: Result) -> None:
    """Print that a task has a result; one too large for a message is in the bucket that `object` names."""
    print(result.task_id, "result:", result.object or f"{result.duration:.0f} s")


@natscribe.subscriber(
    "dead_letters.*", stream=DEAD_LETTERS, durable="printed_letters", pull_sub=True, inbox_prefix=INBOX
)
async def dead_letters(letter: DeadLetter) -> None:
    """Print why a task has failed for good."""
    print(letter.task_id, "failed:", letter.error.message)
